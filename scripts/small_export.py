"""Last stage of training pbrec-mt-small: packs the mean of trained models with half-precision weights.

    python scripts/small_export.py --models RUN/phase2 RUN/phase3 --out pbrec_hf/checkpoints/pbrec-mt-small

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
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="folders of the same architecture")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = PbrecForReferringExpression.from_pretrained(args.models[-1], dtype=torch.float32)
    model.save_pretrained(args.out)
    AutoTokenizer.from_pretrained(args.models[-1]).save_pretrained(args.out)
    states = [load_file(folder / "model.safetensors") for folder in args.models]
    mean = {name: torch.stack([state[name] for state in states]).mean(0).half() for name in states[0]}
    save_file(mean, args.out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((args.out / "config.json").read_text())
    config["dtype"] = "float32"
    config["backbone_config"]["detector_config"]["_name_or_path"] = ""  # a path of the machine it was trained on
    (args.out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
