#!/usr/bin/env python
"""Train a detector on photographs with COCO-format instance annotations.

    1 GPU, CPU   python scripts/train_detector.py --model DETECTOR_FOLDER --images PHOTOS \
                     --annotations instances.json --out RUN
    N GPUs       accelerate launch --multi_gpu --num_processes N scripts/train_detector.py …
    N CPUs       torchrun --nproc_per_node N scripts/train_detector.py --cpu …

`--help` explains the arguments. To go on after an interruption, run the same command again. RUN/last is a folder for
`from_pretrained`.
"""

from pbrec_hf.app.ending import run_program

if __name__ == "__main__":
    run_program("training.detection.run", "to resume from the last epoch")
