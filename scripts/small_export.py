"""Last stage of training pbrec-mt-small: packs the trained model with half-precision weights.

    python scripts/small_export.py --model RUN/phase4 --out pbrec_hf/checkpoints/pbrec-mt-small

The config keeps float32, so that `from_pretrained` computes in float32. Writes the model and its tokenizer; the box
detector and the processor's settings are added by whoever assembles the folder.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from pbrec_hf.modeling_pbrec import PbrecForReferringExpression


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = PbrecForReferringExpression.from_pretrained(args.model, dtype=torch.float32)
    model.save_pretrained(args.out)
    AutoTokenizer.from_pretrained(args.model).save_pretrained(args.out)
    weights = args.out / "model.safetensors"
    tensors = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    config = json.loads((args.out / "config.json").read_text())
    config["dtype"] = "float32"
    config["backbone_config"]["detector_config"]["_name_or_path"] = ""  # a path of the machine it was trained on
    (args.out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
