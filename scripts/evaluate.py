"""Evaluate a checkpoint on splits of a data set, or on a file of one's own; or score a predictions file again.

    1 GPU      python scripts/evaluate.py CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --output_dir OUT
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/evaluate.py CHECKPOINT …
    CPU        python scripts/evaluate.py CHECKPOINT --cpu --data held_out.jsonl --output_dir OUT
    again      python scripts/evaluate.py --rescore OUT/predictions-val.jsonl --dataset refcoco --splits val …

Writes OUT/predictions-SPLIT.jsonl (ids, box, run-length mask, score) and OUT/scores.json (scores, SHA-256 of the
predictions, what they were made with), and prints a table by split. box_oracle and mask_oracle say what the best box,
and the best of the 1,000 masks of the highest quality, would reach.
"""

import argparse
import json
import logging
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose evaluate.py would hide the library `evaluate`

import datasets
from accelerate import Accelerator

from pbrec_hf.data.own_data import BBOX_FORMATS
from pbrec_hf.data.refer.refcoco import published_counts
from pbrec_hf.inference.folding import prepare_to_answer
from pbrec_hf.modeling_pbrec import PbrecForReferringExpression
from pbrec_hf.processing_pbrec import PbrecProcessor
from pbrec_hf.training.build import add_detectors, load_rows
from pbrec_hf.training.evaluation import filled_caches, predict
from pbrec_hf.training.predictions import read_predictions, score, write_predictions
from pbrec_hf.training.run import require_joined


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", nargs="?", help="folder or Hub id")
    parser.add_argument("--data", help="own data: JSONL, CSV or Parquet")
    parser.add_argument("--bbox_format", default="xyxy", choices=BBOX_FORMATS, help="of own data")
    parser.add_argument("--instances", help="COCO instances file that own expressions name their objects in")
    parser.add_argument("--dataset", help="refcoco, refcoco+, refcocog, referit or grefcoco")
    parser.add_argument("--split_by", help="unc, google, umd or berkeley")
    parser.add_argument("--splits", nargs="+", help="default: all but train")
    parser.add_argument("--refer_dir", help="folder of the REFER annotations")
    parser.add_argument("--image_dir", help="folder of the images")
    parser.add_argument("--no_check_counts", action="store_true", help="accept a partial copy of a data set")
    parser.add_argument("--box_detector", help="instead of the checkpoint's own: folder or Hub id")
    parser.add_argument("--mask_detector", help="instead of the checkpoint's own: folder or Hub id")
    parser.add_argument("--proposals", help="cache written by scripts/precompute_proposals.py")
    parser.add_argument("--top_k", type=int, help="proposals that vote, where the processor lets them vote")
    parser.add_argument("--threshold", type=float, default=0.0, help="answers that score less are none")
    # Several pictures at once do not fit into the caches of a CPU, where one after the other is a sixth faster.
    parser.add_argument("--batch_size", type=int, help="pictures per process and pass (default: 8; 1 on a CPU)")
    parser.add_argument("--num_workers", type=int, default=4, help="loader processes per process")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16", "fp16"))
    parser.add_argument("--output_dir", type=Path, default=Path("evaluation"))
    parser.add_argument("--rescore", type=Path, help="predictions file to score again; nothing is predicted")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    if (options.checkpoint is None) == (options.rescore is None):
        parser.error("give a checkpoint, or --rescore with a predictions file")
    if (options.data is None) == (options.dataset is None):
        parser.error("give --data or --dataset")
    if not 0 <= options.threshold <= 1:
        parser.error(f"--threshold {options.threshold}: give a number from 0 to 1")
    if options.batch_size is not None and options.batch_size < 1:
        parser.error(f"--batch_size {options.batch_size}: give a number of at least 1")
    return options


def splits_of(options: argparse.Namespace) -> list[str]:
    """The splits to evaluate; a file of one's own is one split."""
    if options.data is not None:
        return [Path(options.data).stem]
    return options.splits or [
        split for split in published_counts(options.dataset, options.split_by) if split != "train"
    ]


def rows_of(options: argparse.Namespace, split: str) -> datasets.Dataset:
    return load_rows(
        options.data,
        options.dataset,
        split,
        options.split_by,
        options.refer_dir,
        options.image_dir,
        not options.no_check_counts,
        options.bbox_format,
        options.instances,
    )


def evaluate(options: argparse.Namespace) -> dict[str, dict]:
    """Scores by split; none in all processes but the first."""
    accelerator = Accelerator(cpu=options.cpu, mixed_precision=options.mixed_precision)
    require_joined(accelerator)
    model = PbrecForReferringExpression.from_pretrained(options.checkpoint, dtype="float32").to(accelerator.device)
    processor = PbrecProcessor.from_pretrained(options.checkpoint)
    processor = add_detectors(processor, options.box_detector, options.mask_detector)
    if options.top_k is not None:
        processor.settings = replace(processor.settings, top_k=options.top_k)
    batch_size = options.batch_size or (1 if accelerator.device.type == "cpu" else 8)
    caches = filled_caches(options.proposals, processor) if options.proposals else None
    prepare_to_answer(model.eval(), processor)  # after the caches, which know a detector by its weights
    scores, digests = {}, {}
    for split in splits_of(options):
        rows = rows_of(options, split)
        with accelerator.autocast():
            predictions = predict(
                model, processor, rows, accelerator, batch_size, options.threshold, caches,
                options.num_workers, progress=True,
            )  # fmt: skip
        if accelerator.is_main_process:
            options.output_dir.mkdir(parents=True, exist_ok=True)
            digests[split] = write_predictions(options.output_dir / f"predictions-{split}.jsonl", predictions)
            scores[split] = score(predictions, rows)
    if accelerator.is_main_process:
        report = {
            "scores": scores,
            "sha256": digests,
            "config": {name: str(value) for name, value in vars(options).items()},
            "model": model.config.to_dict(),
            "versions": {name: version(name) for name in ("pbrec_hf", "torch", "transformers", "torchvision")},
        }
        (options.output_dir / "scores.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return scores


def table(scores: dict[str, dict]) -> str:
    """Markdown: a row per score, a column per split."""
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    lines = ["| score | " + " | ".join(scores) + " |", "|---" * (len(scores) + 1) + "|"]
    for name in names:
        cells = [values.get(name) for values in scores.values()]
        shown = ["" if cell is None else str(cell) if name == "count" else f"{cell:.4f}" for cell in cells]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.rescore is not None:
        split = splits_of(options)[0]
        scores = {split: score(read_predictions(options.rescore), rows_of(options, split))}
    else:
        scores = evaluate(options)
    if scores:
        print(table(scores))


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
