"""Reads the pool that small_pool.py wrote and draws training batches from it: some scenes, several expressions each.

A batch holds a subset of each scene's points: those at the middle of an object and random others. The fusion encoder
takes any number of points, and a step costs a quarter. Imported by train_small.py.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ...small.backbone import centrality
from ...small.objects import SHAPE
from .pool import BACKBONE

MAX_TOKENS = 20
NECK = 96  # channels of the neck, empty in scenes without a picture
# Roots of class probabilities (see objects_pbrec.visible): surely there, surely not there.
SURE, UNSEEN = 0.63, 0.28
# Said of persons and things without being annotated anywhere: to be passed over.
FILLERS = (
    "standing", "standing", "sitting", "walking", "looking at camera", "facing us", "in the picture", "you can see",
    "smiling", "with hat", "with glasses", "in photo", "half cut off", "partially visible", "that we can see",
    "by itself", "looking down", "in the image", "facing away", "eating", "playing", "looking at the camera",
    "laying down", "in striped shirt", "with his arm out", "talking", "parked", "wooden", "in the air",
    "facing left", "facing right", "doing a trick", "with long hair", "wearing a hat", "whose head is down",
    "just the edge", "in the photo", "blurry", "in pic", "getting ready to play", "near the wall", "by the window",
    "on the grass", "in the water", "on the street", "looking away", "running", "jumping", "wearing glasses",
    "open", "empty", "with stripes", "partially hidden",
)  # fmt: skip


@dataclass
class Batch:
    """`features` (I, C, P') of the chosen `points` (I, P'), whether each is `present` and `attended`, where all P of a
    scene `stand` (I, P, 2) and their `masks` (I, P), `index` (E,) of the images, targets (E, P'), `words` (E, L, D)
    as the frozen text encoder reads them.
    """

    features: Tensor
    points: Tensor
    present: Tensor
    attended: Tensor
    stand: Tensor
    masks: Tensor
    index: Tensor
    words: Tensor
    attention_mask: Tensor
    centerness: Tensor
    massness: Tensor


class Chunk:
    """One file of the pool in memory."""

    def __init__(self, path: Path, classes: int):
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.expressions = json.loads(file.metadata()["expressions"])
        self.described_start = _starts(self.tensors["described_count"])
        self.objects_start = _starts(self.tensors["objects_count"])
        # Highest probability of each class anywhere in the scene.
        self.seen = self.tensors["at_points"][:, :classes].amax(2).float()

    def __len__(self) -> int:
        return len(self.expressions)

    def features(self, scene: int, points: Tensor) -> Tensor:
        """The backbone's map of a scene at some of its points: (C, n); see `backbone_grounding.assemble`."""
        start, stop = self.described_start[scene], self.described_start[scene + 1]
        described = self.tensors["described"][start:stop]
        described = torch.cat((described, described.new_zeros(1, described.shape[1])))
        copied = described[self.tensors["index"][scene, points].long()].T
        at_points = self.tensors["at_points"][scene][:, points]
        first, shape = at_points.split((len(at_points) - len(SHAPE), len(SHAPE)))
        neck = self.tensors["neck"][scene][:, points] if "neck" in self.tensors else first.new_zeros(NECK, len(points))
        return torch.cat((neck, first, copied, shape)).float()

    def central(self, scene: int) -> Tensor:
        """How near each point (P,) lies to the middle of its object."""
        return centrality(self.tensors["at_points"][scene][None])[0].float()

    def targets(self, scene: int, target: int) -> tuple[Tensor, Tensor]:
        """Centre-ness and mass-ness (P,) of an object."""
        row = self.objects_start[scene] + target
        return self.tensors["centerness"][row].float(), self.tensors["massness"][row].float()

    def class_of(self, scene: int, target: int, classes: int) -> int | None:
        """The class the detector sees at the middle of an object, if it is sure of it."""
        point = self.targets(scene, target)[0].argmax()
        found = self.tensors["index"][scene, point]
        if found < 0:
            return None
        score, label = self.tensors["described"][self.described_start[scene] + found, :classes].float().max(0)
        return int(label) if score > SURE else None


def _starts(counts: Tensor) -> list[int]:
    return [0, *counts.cumsum(0).tolist()]


class Words:
    """Texts as a frozen encoder reads them, each read once and kept in half precision."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, encoder: PreTrainedModel):
        self.tokenizer, self.encoder = tokenizer, encoder
        self.known: dict[str, Tensor] = {}

    @torch.inference_mode()
    def read(self, texts: Sequence[str], batch: int = 512) -> None:
        """Read the new ones among `texts`, short ones together."""
        new = sorted({text for text in texts if text not in self.known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), batch):
            chosen = new[start : start + batch]
            tokens = self.tokenizer(
                chosen, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt",
                return_token_type_ids=False,
            )  # fmt: skip
            states = self.encoder(**tokens).last_hidden_state.half()
            for text, state, length in zip(chosen, states, tokens["attention_mask"].sum(1).tolist(), strict=True):
                self.known[text] = state[:length].clone()

    def save(self, path: Path) -> None:
        """Everything read so far, for `load`; the file appears when it is whole."""
        lengths = torch.tensor([len(state) for state in self.known.values()])
        tensors = {"states": torch.cat(list(self.known.values())), "lengths": lengths}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata={"texts": json.dumps(list(self.known))})
        part.replace(path)

    def load(self, path: Path) -> None:
        """What `save` wrote, by the same encoder."""
        with safe_open(path, "pt") as file:
            states, lengths = file.get_tensor("states"), file.get_tensor("lengths").tolist()
            self.known |= dict(zip(json.loads(file.metadata()["texts"]), states.split(lengths), strict=True))

    def batch(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(E, L, D) and the attention mask (E, L)."""
        states = [self.known[text] for text in texts]
        words = torch.nn.utils.rnn.pad_sequence(states, batch_first=True).float()
        lengths = torch.tensor([len(state) for state in states])
        return words, (torch.arange(words.shape[1]) < lengths[:, None]).long()


class Pool:
    """All chunks of some kinds; `batches` draws without end."""

    def __init__(self, files: Sequence[Path], words: Words, classes: int = 80, fillers: float = 0.0):
        """
        Args:
            files: chunks of the pool.
            words: reads their expressions.
            classes: of the detector.
            fillers: share of generated expressions with words added that say nothing.
        """
        if not files:
            raise ValueError("the pool is empty; run small_pool.py first")
        self.chunks = [Chunk(path, classes) for path in files]
        self.words, self.classes = words, classes
        self.scenes = [(c, s) for c, chunk in enumerate(self.chunks) for s in range(len(chunk))]
        rng = np.random.default_rng(len(files))
        for chunk in self.chunks:
            for said in chunk.expressions:
                for expression in said:
                    if expression[2] != "human" and rng.random() < fillers:
                        expression[0] = _with_filler(expression[0], FILLERS[rng.integers(len(FILLERS))], rng)
            words.read([text for said in chunk.expressions for text, _, _ in said])

    def batches(
        self, seed: int, images: int, expressions: int, points: int | None, negatives: float
    ) -> Iterator[Batch]:
        """
        Args:
            seed: of every draw.
            images: scenes per batch.
            expressions: per scene.
            points: points kept per scene; None = all.
            negatives: share of expressions that name something the scene does not hold.
        """
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.scenes))
            for start in range(0, len(order) - images + 1, images):
                chosen = [self.scenes[number] for number in order[start : start + images]]
                yield self._batch(chosen, rng, expressions, points, negatives)

    def _batch(self, chosen, rng, expressions, points, negatives) -> Batch:
        features, kept, present, attended, stand, masks, index, texts, center, mass = ([] for _ in range(10))
        for image, (c, scene) in enumerate(chosen):
            chunk = self.chunks[c]
            mask, central = chunk.tensors["mask"][scene], chunk.central(scene)
            every = torch.arange(mask.numel())
            subset = every if points is None else _subset(central, mask, points, rng)
            features.append(chunk.features(scene, subset))
            kept.append(subset)
            present.append(mask[subset])
            attended.append(mask[subset] & (central[subset] > BACKBONE["min_central"]))
            stand.append(chunk.tensors["points"][scene].float())
            masks.append(mask)
            available = chunk.expressions[scene]
            picks = rng.permutation(len(available))[:expressions]
            for pick in picks:
                text, target, _ = available[pick]
                center_target, mass_target = chunk.targets(scene, target)
                if rng.random() < negatives:
                    other = self._absent(chunk, scene, rng)
                    if other is not None:
                        text, center_target, mass_target = other, torch.zeros(mask.numel()), torch.zeros(mask.numel())
                index.append(image)
                texts.append(text)
                center.append(center_target[subset])
                mass.append(mass_target[subset])
        words, attention_mask = self.words.batch(texts)
        return Batch(
            torch.stack(features), torch.stack(kept), torch.stack(present), torch.stack(attended),
            torch.stack(stand), torch.stack(masks), torch.tensor(index), words, attention_mask, torch.stack(center),
            torch.stack(mass),
        )  # fmt: skip

    def _absent(self, chunk: Chunk, scene: int, rng) -> str | None:
        """An expression of another scene for something that the detector does not see in this one."""
        for _ in range(4):
            c, other = self.scenes[rng.integers(len(self.scenes))]
            donor = self.chunks[c]
            text, target, _ = donor.expressions[other][rng.integers(len(donor.expressions[other]))]
            label = donor.class_of(other, target, self.classes)
            if label is not None and chunk.seen[scene, label] < UNSEEN:
                return text
        return None


def _with_filler(text: str, filler: str, rng) -> str:
    """`filler` at the end of `text`, or after the first words of it, where a preposition follows."""
    match = re.search(r" (?=(on|in|with|to|at|wearing|next|behind|near) )", text)
    if match is not None and rng.random() < 0.6:
        return f"{text[: match.start()]} {filler} {text[match.end() :]}"
    return f"{text} {filler}"


def _subset(central: Tensor, mask: Tensor, points: int, rng) -> Tensor:
    """`points` random points of the picture, those near the middle of a detected object before nearly all others."""
    order = torch.from_numpy(rng.random(len(mask))).float() + (central > BACKBONE["min_central"]) * 0.7 + mask * 4.0
    return order.topk(min(points, len(mask))).indices.sort().values
