"""Tables 4 and 5 of the paper at small scale: pbrec-mt-small's encoder trained eight ways, with several seeds.

    python scripts/paper/trends.py --data DATA --out RUN [--seeds 1 2 3] [--bf16] \
        [--json docs/trends/small.json --page docs/trends.md]

DATA is what `small/pool.py` reads. RUN keeps a pool of scenes with their features, made once; the weights of each
training; and its figures, a JSON file each. What is there is never made again, so an interrupted command goes on.
`--at_hand` trains nothing: it writes JSON and page of the runs that there are. Nothing is chosen by these figures: k
and ranking are the paper's.
"""

import argparse
import json
import logging
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ...configuration_pbrec import PbrecConfig
from ...hub.bundled import bundled_checkpoint
from ...hub.configs import shipped_folder
from ...hub.writing import replaced_file, replaced_folder
from ...modeling_pbrec import PbrecForReferringExpression
from ...processing_pbrec import PbrecProcessor
from ..small import pool as pools
from ..small.pool_batches import Pool
from ..small.recipe import Recipe, read_recipe
from ..small.train import neck_channels
from ..small.words import Words
from .trends_data import KINDS, Picture, pictures_of
from .trends_page import page
from .trends_scores import score_model
from .trends_train import Trained, starting_model, train_variant
from .variants import TABLE_4, Variant, variant_named

logger = logging.getLogger(__name__)


class Trends:
    """
    The trainings and their figures in a folder.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.recipe: Recipe = read_recipe(args.recipe)
        self.checkpoint = args.checkpoint
        self.pool = args.out / "pool"
        self._held: tuple[Pool, dict[str, list[Picture]]] | None = None
        recipe = {name: value for name, value in vars(self.recipe).items() if name not in ("phases", "seed")}
        recipe |= {"phase": vars(self.recipe.phases[0]), "chunks": args.chunks}
        strides, self.levels = _levels(args.checkpoint, args.levels)
        self.settings = {"recipe": recipe, "levels": self.levels, "pictures": args.pictures, "bf16": args.bf16}
        self.settings["strides"] = strides

    def require_same_settings(self) -> None:
        """
        Bind the folder to the settings of its first run, so that no page mixes runs of several.

        Raises:
            ValueError: its runs have other settings.
        """
        path = self.args.out / "settings.json"
        if not path.exists():
            with replaced_file(path) as partial:
                partial.write_text(json.dumps(self.settings, indent=1), encoding="utf-8")
        known = json.loads(path.read_text(encoding="utf-8"))
        if differing := [name for name, value in self.settings.items() if known.get(name) != value]:
            raise ValueError(
                f"The runs in {self.args.out} were made with other settings ({', '.join(differing)}; see {path}): "
                "give the same, or another --out."
            )

    def figures(self, variant: Variant, seed: int) -> Path:
        """The file of a training's figures."""
        return self.args.out / "runs" / f"{variant.name}_seed{seed}.json"

    def run(self, variant: Variant, seed: int) -> dict[str, Any]:
        """The figures of one training, made if they are missing."""
        figures = self.figures(variant, seed)
        if figures.exists():
            known: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
            return known
        pool, pictures = self._data()
        weights = figures.with_suffix(".safetensors")
        model, _ = starting_model(self.checkpoint, seed, self.recipe.model)
        if weights.exists():
            trained = _load(weights, model)
        else:
            trained = train_variant(model, pool, self.recipe, variant, seed, self.args.bf16)
            _save(weights, model, trained)
        scores = {kind: score_model(model, some, variant, self.levels) for kind, some in pictures.items()}
        row: dict[str, Any] = {"variant": variant.name, "center": variant.center, "mass": variant.mass, "seed": seed}
        row |= {"seconds": round(trained.seconds, 1), "losses": trained.losses, "scores": scores}
        with replaced_file(figures) as partial:
            partial.write_text(json.dumps(row, indent=1), encoding="utf-8")
        logger.info("%s: %s", figures.stem, json.dumps(scores))
        return row

    def _data(self) -> tuple[Pool, dict[str, list[Picture]]]:
        """What all runs share, made at the first one that is missing."""
        if self._held is None:
            phase = self.recipe.phases[0]
            made = dict.fromkeys(phase.kinds, self.args.chunks) | dict.fromkeys(KINDS.values(), 1)
            processor = PbrecProcessor.from_pretrained(self.checkpoint)
            if not (detector := self.args.out / "detector").is_dir():
                with replaced_folder(detector) as folder:
                    processor.box_detector.save_pretrained(folder)
            for kind, chunks in made.items():
                pools.make(self.args.data, detector, self.pool, kind, chunks)
            files = [file for kind in phase.kinds for file in pools.chunks_of(self.pool, kind)[: self.args.chunks]]
            model, tokenizer = starting_model(self.checkpoint, 0, self.recipe.model)
            words = Words(tokenizer, model.model.text_model.eval())
            if (kept := self.args.out / "words.safetensors").exists():
                words.load(kept)
            pool = Pool(files, words, neck_channels(model), single=True)
            words.save(kept)
            held_out = pools.split_photographs(self.args.data)[1]
            pictures = {
                kind: pictures_of(held_out, self.pool, kind, processor, words, self.args.pictures) for kind in KINDS
            }
            self._held = pool, pictures
        return self._held

    def report(self, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """All figures, and how they were made."""
        machine = f"{platform.machine()}, {torch.get_num_threads()} thread"
        versions = {name: version(name) for name in ("pbrec_hf", "torch", "transformers")}
        return self.settings | {"machine": machine, "versions": versions, "runs": list(runs)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and write what was asked for."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    (args.out / "runs").mkdir(parents=True, exist_ok=True)
    trends = Trends(args)
    trends.require_same_settings()
    runs = []
    for seed in args.seeds:
        for variant in map(variant_named, args.variants):
            if not args.at_hand or trends.figures(variant, seed).exists():
                runs.append(trends.run(variant, seed))
    if not runs:
        raise ValueError(f"{args.out / 'runs'} has no figures of these seeds: leave --at_hand out, and they are made.")
    report = trends.report(runs)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(args.json) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.page is not None:
        with replaced_file(args.page) as partial:
            partial.write_text(page(report), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    names = [variant.name for variant in TABLE_4]
    recipe = shipped_folder("hub_configs") / "pbrec-mt-small" / "trends.yaml"
    parser.add_argument("--recipe", type=Path, default=recipe, help="(default: %(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=Path(bundled_checkpoint()), help="for its frozen parts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=names, default=names, help="default: all of Table 4")
    parser.add_argument("--chunks", type=int, default=3, help="of 500 scenes, of each kind in the pool")
    parser.add_argument("--pictures", type=int, default=60, help="to measure on, of each kind at most")
    # As in the paper, whose boxes are those of P5: proposals of one grid, the one that the network's points have, too.
    parser.add_argument(
        "--levels",
        type=float,
        nargs="+",
        help="weights of the detector's grids, fine to coarse; default: that one alone",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="on a processor with units for it")
    parser.add_argument("--at_hand", action="store_true", help="train nothing")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--page", type=Path, help="write the tables here")
    return parser


def _levels(checkpoint: Path, levels: list[float] | None) -> tuple[list[int], list[float] | None]:
    """
    The strides of a checkpoint's detector, and the weights of its grids; by default, that of its own stride alone.

    A detector that sees the canvas at another size, or whose points are no centres of cells, has no grids there.

    Raises:
        ValueError: there are not as many weights as grids.
    """
    config = PbrecConfig.from_pretrained(checkpoint)
    detector = config.backbone_config.detector
    strides = list(detector.trunk.strides)
    grids = strides if list(detector.scales) == [1.0] and detector.points == "center" else []
    if levels is None:
        return strides, [float(stride == config.stride) for stride in grids] or None
    if len(levels) != len(grids):
        raise ValueError(
            f"--levels {levels}: the detector has {len(grids)} grids on the canvas: give as many weights."
        )
    return strides, levels


def _save(path: Path, model: PbrecForReferringExpression, trained: Trained) -> None:
    """Write the weights that trained, with what the training reports."""
    tensors = {name: value.detach().contiguous() for name, value in model.named_parameters() if value.requires_grad}
    with replaced_file(path) as partial:
        save_file(tensors, partial, metadata={"trained": json.dumps(trained._asdict())})


def _load(path: Path, model: PbrecForReferringExpression) -> Trained:
    """Restore what `_save` wrote."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        trained = Trained(**json.loads(file.metadata()["trained"]))
    model.load_state_dict(tensors, strict=False)
    return trained
