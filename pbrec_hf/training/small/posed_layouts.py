"""Layouts in which persons differ by who sits and who stands, so that a posture decides what an expression means.

    python scripts/small/posed_layouts.py --data DATA --detector MODEL --out POOL --chunks 2

Photographs that show both are few, and most of what is said of them is clear without the posture. MODEL is a
pbrec-mt-small whose backbone sees postures (`postures.py`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from torch import Tensor

from ...data.scenes.scene import Scene, vary
from ...small.backbone import GroundingBackbone
from ...small.postures import POSTURES
from .layouts import Layouts, Placed, parse, write_missing
from .pool import Sayings, human_expressions
from .views import View, Views, look

FIRST = 10**7  # number of the first layout
VARIATIONS = 3  # of each photograph, besides itself
KEPT = 14  # expressions of a layout, those that name a posture first
LIKELY = 25  # views of about the right size, of which one is taken


def photographs_to_view(train: Sequence[Scene]) -> Iterator[Scene]:
    """The training photographs with persons of known posture, and variations of them."""
    posed = [scene for scene in train if any(item.posture is not None for item in scene.objects)]
    rng = np.random.default_rng(3)
    yield from posed
    for _ in range(VARIATIONS):
        yield from (vary(scene, rng) for scene in posed)


class PosedViews(Views):
    """Views whose persons are all found and of known posture; as many sit as stand, whichever there are more of."""

    def pick(self, category: str, side: float, rng: Generator) -> View:
        """As of `Views`."""
        if category != "person":
            return super().pick(category, side, rng)
        wanted = POSTURES[rng.integers(len(POSTURES))]
        distance = np.abs(np.log(self.sides[category] / side))
        distance[self.postures[category] != wanted] = np.inf
        return self.of[category][rng.choice(np.argsort(distance)[:LIKELY])]


def posed_views(views: Views) -> PosedViews:
    """`views` without the persons that are missed or of unknown posture."""
    kept = [view for of_category in views.of.values() for view in of_category if _usable(view)]
    return PosedViews(kept, views.strays, views.pixels)


def _usable(view: View) -> bool:
    return view.item.category != "person" or (view.item.posture is not None and view.found is not None)


class PosedLayouts(Layouts):
    """Layouts of two to four persons, and up to two other things."""

    def sample(self, seed: int, expressions: int) -> tuple[dict[str, Tensor], Sayings]:
        """As of `Layouts`, with at most `KEPT` expressions."""
        tensors, said = super().sample(FIRST + seed, expressions)
        return tensors, sorted(said, key=lambda one: "posture" not in one[2])[:KEPT]

    def _place(self, source: Scene, rng: Generator) -> list[Placed]:
        common = np.exp(rng.uniform(np.log(60), np.log(220)))
        cast = ["person"] * int(rng.integers(2, 5))
        cast += [self.categories[rng.integers(len(self.categories))] for _ in range(rng.integers(0, 3))]
        placed: list[Placed] = []
        for category in cast:
            self._add(placed, category, common, source.size, rng, spread=0.2, most=0.2)
        return placed


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the chunks that are missing."""
    args = parse(__doc__, arguments)
    human = human_expressions(args.data)

    def make(train: Sequence[Scene], backbone: GroundingBackbone) -> PosedLayouts:
        return PosedLayouts(train, posed_views(look(photographs_to_view(train), backbone)), backbone, human)

    write_missing(args, "posed", make)
