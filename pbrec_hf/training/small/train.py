"""Second stage of training pbrec-mt-small: the fusion encoder on stored maps. Resumable; prints figures as it goes.

    python scripts/train_small.py --recipe hub_configs/pbrec-mt-small/train.yaml --pool POOL --detector DIR \
        --texts refcoco_expressions.txt --out RUN [--phases 0] [--threads 1] [--bf16]

Runs the recipe's phases one after the other, or those that are named; each step reads a fifth of the points. `kinds`
are the parts of the pool that a phase sees, `start` the phases whose mean it goes on from: phases with the same start
can run at the same time, a program on a core each; one of 0 steps is the mean itself. The trunk stays frozen. Every
phase ends in a folder for `from_pretrained` (RUN/phase0 …); small_export.py packs them. A phase draws anew after every
evaluation and is saved there, so that a broken run goes on from its last evaluation as if nothing had happened.
RUN/words.safetensors keeps the expressions as the frozen text encoder reads them: delete it together with the phases
if the recipe changes.
"""

import argparse
import contextlib
import itertools
import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...comprehension.positions import sine_positions_2d
from ...geometry.points import grid_points
from ...modeling_pbrec import PbrecForReferringExpression, PbrecImageFeatures
from .model import build, mean_state
from .pool_data import NECK, Batch, Pool, Words

logger = logging.getLogger("train_small")


def forward(model: PbrecForReferringExpression, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (E, P') of both heads at the batch's points."""
    inner = model.model
    weight = inner.image_projection.weight[:, :, 0, 0]
    features = batch.features.transpose(1, 2) @ weight.T + inner.image_projection.bias
    middles = grid_points(*model.config.grid, model.config.stride)
    shift = (batch.stand - middles) / model.config.stride
    positions = sine_positions_2d(batch.masks.view(-1, *model.config.grid), model.config.d_model, shift)
    positions = positions.gather(1, batch.points[..., None].expand(-1, -1, positions.shape[-1]))
    encoded = PbrecImageFeatures(features, positions, batch.present, attended=batch.attended).gather(batch.index)
    fused = inner.fuse(batch.words, batch.attention_mask, encoded).last_hidden_state[:, : batch.points.shape[1]]
    return model.center_head(fused), model.mass_head(fused)


def loss_of(logits: Tensor, targets: Tensor, present: Tensor, ranking: float) -> Tensor:
    """Binary cross-entropy summed over the points (per expression), and cross-entropy over them as a distribution."""
    logits = logits.float()
    binary = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * present).sum(1).mean()
    total = targets.sum(1)
    named = total > 0
    log_share = logits.masked_fill(~present, -1e4).log_softmax(1)
    among = -(targets / total.clamp(min=1e-6)[:, None] * log_share).sum(1)
    return binary + ranking * (among * named).sum() / named.sum().clamp(min=1)


@torch.no_grad()
def peak_accuracy(model: PbrecForReferringExpression, batches: list[Batch]) -> tuple[float, float]:
    """Share of expressions whose best point lies in the middle of the target, and mean best probability of them."""
    model.eval()
    hits, count, best = 0.0, 0, 0.0
    for batch in batches:
        logits = forward(model, batch)[0]
        logits = logits.masked_fill(~batch.present[batch.index], -1e4)
        hits += (batch.centerness.gather(1, logits.argmax(1, keepdim=True)) > 0).float().sum().item()
        best += logits.amax(1).sigmoid().sum().item()
        count += len(logits)
    model.train()
    return hits / max(count, 1), best / max(count, 1)


def train(args: argparse.Namespace) -> None:
    recipe = yaml.safe_load(args.recipe.read_text())
    numbers = range(len(recipe["phases"])) if args.phases is None else args.phases
    if unknown := set(numbers) - set(range(len(recipe["phases"]))):
        raise ValueError(f"--phases {sorted(unknown)}: {args.recipe} has phases 0 to {len(recipe['phases']) - 1}")
    torch.manual_seed(recipe["seed"])
    model, tokenizer = build(args.detector, args.texts.read_text().splitlines(), **recipe["model"])
    model.model.backbone.requires_grad_(False)
    model.model.text_model.requires_grad_(False).eval()
    words = Words(tokenizer, model.model.text_model)
    if (words_file := args.out / "words.safetensors").exists():
        words.load(words_file)
    else:
        for kinds in sorted({tuple(phase["kinds"]) for phase in recipe["phases"] if phase["steps"]}):
            Pool(_chunks(args.pool, kinds), words, fillers=recipe["fillers"])
        words.save(words_file)
    held_out = {
        kind: list(itertools.islice(Pool(sorted(args.pool.glob(f"{kind}_*")), words).batches(1, 10, 12, None, 0), 6))
        for kind in ("heldout", "composed_heldout")
    }
    logger.info("%d trained parameters", sum(parameter.numel() for parameter in _trained(model)))
    for number in numbers:
        phase, done = recipe["phases"][number], args.out / f"phase{number}"
        if (done / "model.safetensors").exists():
            continue
        if "start" in phase:
            model.load_state_dict(mean_state([args.out / f"phase{earlier}" for earlier in phase["start"]]))
        if phase["steps"]:
            pool = Pool(_chunks(args.pool, phase["kinds"]), words, fillers=recipe["fillers"])
            logger.info("phase %d: %d scenes in %d chunks", number, len(pool.scenes), len(pool.chunks))
            _run_phase(model, pool, held_out, phase, recipe, number, args)
        _save(model, tokenizer, done)
        (args.out / f"phase{number}.partial.safetensors").unlink(missing_ok=True)


def _chunks(pool: Path, kinds: Iterable[str]) -> list[Path]:
    return [file for kind in kinds for file in sorted(pool.glob(f"{kind}_[0-9]*"))]


def _trained(model: PbrecForReferringExpression) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _run_phase(model, pool, held_out, phase, recipe, number, args) -> None:
    optimizer = torch.optim.AdamW(_trained(model), weight_decay=recipe["weight_decay"], betas=(0.9, 0.98))
    for layer in model.model.fusion.layers:
        layer.dropout.p = phase.get("dropout", 0.0)
    saved = args.out / f"phase{number}.partial.safetensors"
    done = _load_state(saved, model, optimizer) if saved.exists() else 0
    while done < phase["steps"]:
        steps = range(done, min(done + phase["evaluate"], phase["steps"]))
        _run_steps(model, optimizer, pool, steps, phase, recipe, number, args.bf16)
        figures = {kind: peak_accuracy(model, batches) for kind, batches in held_out.items()}
        done = steps.stop
        logger.info("phase %d step %d peak accuracy %s", number, done, json.dumps(figures))
        _save_state(saved, model, optimizer, done)


@contextlib.contextmanager
def _half_precision():
    """Matrix products in bfloat16; attention written out, since sdpa's fast path goes backward slower in it."""
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield


def _run_steps(model, optimizer, pool, steps: range, phase, recipe, number: int, bf16: bool) -> None:
    """Some steps of a phase, by draws that depend on the seed, the phase and the first of them alone."""
    seed = recipe["seed"] + number + 1000 * steps.start
    torch.manual_seed(seed)
    batches = pool.batches(seed, phase["images"], phase["expressions"], phase["points"], recipe["negatives"])
    began, mean, seen, trained = time.time(), {}, 0, _trained(model)
    for step, batch in zip(steps, batches):  # noqa: B905 (the batches have no end)
        share = 0.5 * (1 + math.cos(math.pi * step / phase["steps"]))
        rate = phase["final_rate"] + (phase["rate"] - phase["final_rate"]) * share
        rate *= min(1, (step + 1) / phase["warmup"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch.features = _disturb(batch.features, recipe["neck_dropout"], phase.get("channel_noise", 0.0))
        with _half_precision() if bf16 else contextlib.nullcontext():
            center, mass = forward(model, batch)
        present = batch.present[batch.index]
        losses = {
            "center": loss_of(center, batch.centerness, present, recipe["ranking"]),
            "mass": loss_of(mass, batch.massness, present, recipe["ranking"]),
        }
        optimizer.zero_grad()
        (losses["center"] + recipe["mass_weight"] * losses["mass"]).backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe["clip"])
        optimizer.step()
        seen += len(batch.index)
        for name, loss in losses.items():
            mean[name] = 0.98 * mean.get(name, loss.item()) + 0.02 * loss.item()
        if step % 100 == 0:
            hits = batch.centerness.gather(1, center.float().masked_fill(~present, -1e4).argmax(1, keepdim=True)) > 0
            named = batch.centerness.sum(1) > 0
            mean["hit"] = hits[named].float().mean().item()
            logger.info("phase %d step %d: %s; %.0f expressions/s", number, step,
                        {k: round(v, 3) for k, v in mean.items()}, seen / (time.time() - began))  # fmt: skip


def _save_state(path: Path, model, optimizer, done: int) -> None:
    """Weights, the optimiser's moments and the steps done; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"done": str(done)})
    part.replace(path)


def _load_state(path: Path, model, optimizer) -> int:
    """Puts back what `_save_state` wrote; the steps done."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        done = int(file.metadata()["done"])
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    state = defaultdict(dict)
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, field = rest.split(".")
            state[int(index)][field] = value
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
    logger.info("going on from %s after %d steps", path, done)
    return done


def _disturb(features: Tensor, neck_dropout: float, noise: float) -> Tensor:
    """The map (I, C, P') as another camera or detector might have made it, so that no photograph is learnt by heart.

    Args:
        neck_dropout: share of the scenes whose channels of the neck are set to 0.
        noise: each channel of a scene is multiplied by exp(noise · N(0, 1)), and a fifth of `noise` of them set to 0.
    """
    keep = (torch.rand(len(features), 1, 1) >= neck_dropout).float()
    features = torch.cat((features[:, :NECK] * keep, features[:, NECK:]), dim=1)
    if noise > 0:
        size = (*features.shape[:2], 1)
        features = features * (noise * torch.randn(size)).exp() * (torch.rand(size) >= noise / 5)
    return features


def _save(model, tokenizer, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("recipe", "pool", "detector", "texts", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--phases", type=int, nargs="+", help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="on a processor with units for it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
