"""Last stage of training pbrec-mt-small: packs the mean of trained models, and the detectors, in half precision.

    python scripts/small_export.py --models RUN/phase1 RUN/phase2 --box_detector RUN/nanodet \\
        --mask_detector RUN/masks --out pbrec_hf/checkpoints/pbrec-mt-small

Writes the whole folder: model, tokenizer, processor with the selection that measured best on held-out generated
expressions, detectors. The configs keep float32, so that `from_pretrained` computes in float32.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from ... import PbrecForReferringExpression, PbrecImageProcessor, PbrecProcessor
from .model import mean_state

SELECTION = {
    "choose": "fit",
    "candidates_only": True,
    "quality_power": 0.4,
    "masks_follow_boxes": True,
    "mask_threshold": 0.6,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="folders of the same architecture")
    parser.add_argument("--box_detector", type=Path, required=True)
    parser.add_argument("--mask_detector", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = PbrecForReferringExpression.from_pretrained(args.models[-1], dtype=torch.float32)
    model.save_pretrained(args.out)
    save_file(mean_state(args.models), args.out / "model.safetensors", metadata={"format": "pt"})

    detectors = {"box_detector": args.box_detector, "mask_detector": args.mask_detector}
    detectors = {
        name: AutoModel.from_pretrained(path, dtype=torch.float32) for name, path in detectors.items() if path
    }
    processor = PbrecProcessor(
        PbrecImageProcessor(size={"longest_edge": model.config.image_size}),
        AutoTokenizer.from_pretrained(args.models[-1]),
        max_text_length=model.config.max_text_length,
        selection=SELECTION,
        **detectors,
    )
    processor.save_pretrained(args.out)
    for weights in sorted(args.out.rglob("model.safetensors")):
        _halve(weights)


def _halve(weights: Path) -> None:
    """Half-precision weights under a config that says float32, and without the paths of this machine."""
    tensors = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    path = weights.with_name("config.json")
    config = _without_paths(json.loads(path.read_text()))
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n")


def _without_paths(value):
    if isinstance(value, dict):
        return {key: "" if key == "_name_or_path" else _without_paths(inner) for key, inner in value.items()}
    return value


if __name__ == "__main__":
    main()
