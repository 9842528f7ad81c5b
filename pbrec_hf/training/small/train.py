"""Training of pbrec-mt-small's fusion encoder on the stored maps of the pool. Resumable; logs figures as it goes.

    python scripts/small/train.py --recipe hub_configs/pbrec-mt-small/train.yaml --pool POOL --detector DIR \
        --texts refcoco_expressions.txt --out RUN [--phases 0] [--threads 1] [--bf16] [--device cuda]

Runs the recipe's phases one after the other, or those that are named. Phases with the same start can run at the same
time, a program on a core each. The trunk stays frozen. Every phase ends in a folder for `from_pretrained` (RUN/phase0
…); export.py packs them. A phase draws new batches after every evaluation and is saved there, so that an interrupted
run resumes from its last evaluation as if nothing had happened. RUN/words.safetensors keeps the expressions as the
frozen text encoder reads them: delete it together with the phases if the recipe changes. The pool lies on the device
as a whole (pool_batches.py); a GPU draws other batches than the CPU.
"""

import argparse
import contextlib
import copy
import itertools
import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW
from transformers import PreTrainedTokenizerFast

from ...hub.writing import replaced_file, replaced_folder
from ...modeling_pbrec import HIDDEN, PbrecForReferringExpression
from .model import build, mean_state
from .pool import chunks_of
from .pool_batches import CPU, Pool
from .pool_data import Batch
from .recipe import Phase, Recipe, read_recipe
from .steps import disturb, forward, loss_of, peak_accuracy, peaks_hit
from .words import Words

HELD_OUT = ("heldout", "composed_heldout")
WORDS = "words.safetensors"
logger = logging.getLogger(__name__)


@dataclass
class Training:
    """
    A recipe and what it trains.

    Attributes:
        model, tokenizer: of pbrec-mt-small; the trunk and the text encoder are frozen.
        words: reads expressions.
        held_out: batches to evaluate on, by kind.
        pool: folder of the scenes.
        out: folder of the phases.
        bf16: compute matrix products in bfloat16.
        device: of the model and of the scenes.
        teacher: the model as training began with it, if the recipe keeps its answers.
    """

    recipe: Recipe
    model: PbrecForReferringExpression
    tokenizer: PreTrainedTokenizerFast
    words: Words
    held_out: dict[str, list[Batch]]
    pool: Path
    out: Path
    bf16: bool = False
    device: torch.device = CPU
    teacher: PbrecForReferringExpression | None = None

    @property
    def trained(self) -> list[Tensor]:
        """The parameters that train."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    @property
    def neck(self) -> int:
        """Channels of the detector's neck."""
        return neck_channels(self.model)

    def run(self, number: int) -> None:
        """Run phase `number`, from its last evaluation on, unless it is done."""
        phase, done = self.recipe.phases[number], self.out / f"phase{number}"
        if (done / "model.safetensors").exists():
            return
        if phase.start:
            self.model.load_state_dict(mean_state([self.out / f"phase{earlier}" for earlier in phase.start]))
        unfinished = self.out / f"phase{number}.partial.safetensors"
        if phase.steps:
            known = len(self.words.known)
            files = chunks_of(self.pool, *phase.kinds)
            fillers, rare = self.recipe.fillers, self.recipe.keep
            pool = Pool(files, self.words, self.neck, fillers=fillers, rare=rare, device=self.device)
            if len(self.words.known) > known:
                self.words.save(self.out / WORDS)
            logger.info("phase %d: %d scenes in %d chunks", number, len(pool), len(files))
            self._train(number, phase, pool, unfinished)
        with replaced_folder(done) as folder:
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        unfinished.unlink(missing_ok=True)

    def _train(self, number: int, phase: Phase, pool: Pool, saved: Path) -> None:
        optimizer = AdamW(self.trained, weight_decay=self.recipe.weight_decay, betas=(0.9, 0.98))
        for layer in self.model.model.fusion.layers:
            layer.dropout.p = phase.dropout
        done = _load_state(saved, self.model, optimizer) if saved.exists() else 0
        while done < phase.steps:
            steps = range(done, min(done + phase.evaluate, phase.steps))
            self._run_steps(number, phase, pool, optimizer, steps)
            figures = {kind: peak_accuracy(self.model, batches) for kind, batches in self.held_out.items()}
            done = steps.stop
            logger.info("phase %d step %d peak accuracy %s", number, done, json.dumps(figures))
            _save_state(saved, self.model, optimizer, done)

    def _run_steps(self, number: int, phase: Phase, pool: Pool, optimizer: AdamW, steps: range) -> None:
        """Some steps of a phase, with draws that depend on the seed, the phase and the first of these steps alone."""
        recipe = self.recipe
        seed = recipe.seed + number + 1000 * steps.start
        torch.manual_seed(seed)
        neck_dropout = recipe.neck_dropout if phase.neck_dropout is None else phase.neck_dropout
        batches = pool.batches(seed, phase.images, phase.expressions, phase.points, recipe.negatives)
        began, seen, trained = time.time(), 0, self.trained
        mean: dict[str, Tensor] = {}
        for step, batch in zip(steps, batches):  # noqa: B905 (the batches have no end)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(phase, step)
            batch.features = disturb(batch.features, self.neck, neck_dropout, phase.channel_noise)
            with half_precision(self.device) if self.bf16 else contextlib.nullcontext():
                center, mass = forward(self.model, batch)
            present = batch.present[batch.index]
            wanted = (batch.centerness, batch.massness)
            if self.teacher is not None:
                wanted = kept_answers(self.teacher, batch)
            losses = {
                name: loss_of(logits, targets, present, recipe.ranking)
                for name, logits, targets in zip(("center", "mass"), (center, mass), wanted, strict=True)
            }
            optimizer.zero_grad()
            (losses["center"] + recipe.mass_weight * losses["mass"]).backward()
            torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
            optimizer.step()
            seen += len(batch.index)
            for name, loss in losses.items():
                mean[name] = 0.98 * mean.get(name, loss.detach()) + 0.02 * loss.detach()
            if step % 100 == 0:
                hits = peaks_hit(center.float().masked_fill(~present, HIDDEN), batch)
                mean["hit"] = hits[batch.centerness.sum(1) > 0].float().mean()
                shown = {name: round(value.item(), 3) for name, value in mean.items()}
                speed = seen / (time.time() - began)
                logger.info("phase %d step %d: %s; %.0f expressions/s", number, step, shown, speed)


def prepare(
    recipe: Recipe,
    detector: Path | None,
    texts: Path | None,
    pool: Path,
    out: Path,
    bf16: bool = False,
    init: Path | None = None,
    device: torch.device = CPU,
) -> Training:
    """
    Build or load the model and read the expressions of all phases.

    Args:
        detector: folder of a saved NanoDet; as `texts`, for a model that is not trained yet.
        texts: file with a human expression per line, whose words the vocabulary keeps.
        pool: folder of the scenes.
        out: folder of the run.
        init: folder of a model to go on from.
        bf16, device: of `Training`.

    Raises:
        ValueError: there is neither `init` nor what an untrained model is built from.
    """
    torch.manual_seed(recipe.seed)
    if init is not None:
        model = PbrecForReferringExpression.from_pretrained(init, dtype=torch.float32)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(init)
    elif detector is not None and texts is not None:
        model, tokenizer = build(detector, texts.read_text().splitlines(), **recipe.model)
    else:
        raise ValueError("Give --init, a model to go on from, or --detector and --texts, to build one.")
    model.to(device).model.backbone.requires_grad_(False)
    model.model.text_model.requires_grad_(False).eval()
    words = Words(tokenizer, model.model.text_model)
    if (file := out / WORDS).exists():
        words.load(file)
    held_out = {
        kind: [batch.to(device) for batch in itertools.islice(_whole(pool, kind, words, neck_channels(model)), 6)]
        for kind in HELD_OUT
    }
    teacher = copy.deepcopy(model).eval().requires_grad_(False) if recipe.keep else None
    return Training(recipe, model, tokenizer, words, held_out, pool, out, bf16, device, teacher)


@torch.no_grad()
def kept_answers(teacher: PbrecForReferringExpression, batch: Batch) -> tuple[Tensor, Tensor]:
    """Center-ness and mass-ness (E, P') to train with: the teacher's, but for rare expressions."""
    center, mass = (logits.float().sigmoid() for logits in forward(teacher, batch))
    rare = batch.rare[:, None]
    return torch.where(rare, batch.centerness.float(), center), torch.where(rare, batch.massness.float(), mass)


def _whole(pool: Path, kind: str, words: Words, neck: int) -> Iterator[Batch]:
    """Batches of a kind of scenes with all of their points."""
    return Pool(chunks_of(pool, kind), words, neck).batches(1, 10, 12, None, 0)


def neck_channels(model: PbrecForReferringExpression) -> int:
    """Channels of the neck of the detector in the backbone, the first ones of its map."""
    return int(model.model.backbone.config.detector.trunk.neck_channels)


def rate_at(phase: Phase, step: int) -> float:
    """The learning rate of a step: linear warm-up of a cosine."""
    share = 0.5 * (1 + math.cos(math.pi * step / phase.steps))
    rate = phase.final_rate + (phase.rate - phase.final_rate) * share
    return rate * min(1, (step + 1) / phase.warmup)


@contextlib.contextmanager
def half_precision(device: torch.device = CPU) -> Iterator[None]:
    """Matrix products in bfloat16; on a CPU, attention is written out: its backward pass is faster than sdpa's."""
    with (
        torch.autocast(device.type, torch.bfloat16),
        sdpa_kernel(SDPBackend.MATH) if device == CPU else contextlib.nullcontext(),
    ):
        yield


def _save_state(path: Path, model: PbrecForReferringExpression, optimizer: AdamW, done: int) -> None:
    """Write weights, the optimiser's moments and the number of steps done."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    with replaced_file(path) as partial:
        save_file(tensors, partial, metadata={"done": str(done)})


def _load_state(path: Path, model: PbrecForReferringExpression, optimizer: AdamW) -> int:
    """Restore what `_save_state` wrote; returns the number of steps done."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        done = int(file.metadata()["done"])
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, field = rest.split(".")
            state[int(index)][field] = value
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
    logger.info("resuming from %s after %d steps", path, done)
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the phases that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("recipe", "pool", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("detector", "texts"):
        parser.add_argument(f"--{name}", type=Path, help="for a model from nothing")
    parser.add_argument("--init", type=Path, help="folder of a model to go on from")
    parser.add_argument("--phases", type=int, nargs="+", help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="on a processor with units for it")
    parser.add_argument("--device", type=torch.device, default=CPU, help="cpu or cuda; default: %(default)s")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    recipe = read_recipe(args.recipe)
    numbers = range(len(recipe.phases)) if args.phases is None else args.phases
    if unknown := sorted(set(numbers) - set(range(len(recipe.phases)))):
        raise ValueError(
            f"--phases {unknown}: give some of 0 to {len(recipe.phases) - 1}, the phases of {args.recipe}."
        )
    training = prepare(recipe, args.detector, args.texts, args.pool, args.out, args.bf16, args.init, args.device)
    logger.info("%d trained parameters", sum(parameter.numel() for parameter in training.trained))
    for number in numbers:
        training.run(number)
