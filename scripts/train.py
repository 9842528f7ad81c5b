"""Train the comprehension stage: the published recipes, or a checkpoint on data of one's own.

    1 GPU      python scripts/train.py --config hub_configs/pbrec-mt-refcoco/training.yaml --refer_dir R --image_dir I
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/train.py --config …
    CPU        python scripts/train.py --cpu --init CHECKPOINT --data my.jsonl --validation_data held_out.jsonl \
                   --output_dir runs/mine --batch_size 8
    N CPUs     ACCELERATE_USE_CPU=1 torchrun --nproc_per_node N scripts/train.py --cpu …

Every field of `TrainingConfig` is a flag (`--help`) and may stand in the YAML file; flags win. Run the same command
again to go on after an interruption. OUTPUT_DIR/last and OUTPUT_DIR/best are folders for `from_pretrained`.
"""

import logging
import os
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose evaluate.py would hide the library `evaluate`

from pbrec_hf.training.config import parse_arguments
from pbrec_hf.training.run import train

if __name__ == "__main__":
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format="%(asctime)s %(message)s", level="INFO" if first else "ERROR")
    for library in ("accelerate", "httpx", "datasets"):
        logging.getLogger(library).setLevel("WARNING")
    try:
        train(parse_arguments())
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
