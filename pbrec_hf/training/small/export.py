"""The folder of pbrec-mt-small: the mean of trained models, and the detectors, in half precision.

    python scripts/small/export.py --models RUN/phase1 RUN/phase2 --words RUN/words.safetensors \\
        --box_detector RUN/nanodet --mask_detector RUN/masks --out pbrec_hf/checkpoints/pbrec-mt-small

Writes model, tokenizer, detectors and a processor with the selection that measured best on half of the held-out
generated expressions (selection.py, several.py). The configs keep float32, so that `from_pretrained` computes in
float32.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, PreTrainedTokenizerFast
from transformers.utils import PROCESSOR_NAME

from ...detectors.references import DetectorReference
from ...hub.writing import replaced_folder
from ...image_processing_pbrec import PbrecImageProcessor
from ...inference.sharing import same_network
from ...modeling_pbrec import PbrecForReferringExpression
from ...processing_pbrec import PbrecProcessor
from .model import mean_state
from .words import saved_texts, spelled_words

SELECTION = {
    "choose": "fit",
    "candidates_only": True,
    "quality_power": 0.4,
    "masks_follow_boxes": True,
    "mask_threshold": 0.4,
    "several_quality_power": 1.0,
    "part_covered": 0.5,
    "part_value": 0.8,
    "least_share": 0.3,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="folders of the same architecture")
    parser.add_argument("--box_detector", type=Path, required=True)
    parser.add_argument("--mask_detector", type=Path)
    parser.add_argument("--words", type=Path, required=True, help="words.safetensors of the run that trained them")
    parser.add_argument("--start", type=Path, help="checkpoint that the training went on from: it keeps its words")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = PbrecForReferringExpression.from_pretrained(args.models[-1], dtype=torch.float32)
    given = {"box_detector": args.box_detector, "mask_detector": args.mask_detector}
    detectors = {name: AutoModel.from_pretrained(path, dtype=torch.float32) for name, path in given.items() if path}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.models[-1])
    known = set(spelled_words(tokenizer, saved_texts(args.words)))
    if args.start is not None:
        known |= set(json.loads((args.start / PROCESSOR_NAME).read_text())["known_words"].split())
    processor = PbrecProcessor(
        PbrecImageProcessor(size={"longest_edge": model.config.image_size}),
        tokenizer,
        max_text_length=model.config.max_text_length,
        selection=SELECTION,
        known_words=" ".join(sorted(known)),
        **detectors,
    )
    inside = getattr(processor.mask_detector, "source", None)
    if inside is not None and same_network(inside, processor.box_detector):
        processor.replace_detector("boxes", inside, DetectorReference(part_of="masks"))  # saved once
    with replaced_folder(args.out) as folder:
        model.save_pretrained(folder)
        save_file(mean_state(args.models), folder / "model.safetensors", metadata={"format": "pt"})
        processor.save_pretrained(folder)
        for weights in sorted(folder.rglob("model.safetensors")):
            _halve(weights)


def _halve(weights: Path) -> None:
    """Store weights in half precision under a config that says float32 and names no path of this machine."""
    tensors = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    path = weights.with_name("config.json")
    config = _without_paths(json.loads(path.read_text()))
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n")


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "" if key == "_name_or_path" else _without_paths(inner) for key, inner in value.items()}
    return value
