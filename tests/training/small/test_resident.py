"""The pool on a device: its batches hold what the files say, and its draws are those that are asked for."""

import pytest
import torch

from pbrec_hf.small.objects import SHAPE
from pbrec_hf.training.small.pool import save_chunk
from pbrec_hf.training.small.pool_data import Pool
from pbrec_hf.training.small.resident import ResidentPool

CLASSES, NECK, POINTS = 4, 3, 12
CPU = torch.device("cpu")


class NumberedWords:
    """Reads a text as its length, as many times as it has words."""

    def __init__(self):
        self.known = {}

    def read(self, texts):
        for text in texts:
            self.known[text] = torch.full((len(text.split()), 2), float(len(text))).half()


def scene(seed, objects, neck):
    """A scene of the pool with random values and its one expression for each object, one for all, and one for none."""
    draw = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.rand(size, generator=draw).half()

    at_points = random(CLASSES + 2 + len(SHAPE), POINTS)
    tensors = {
        "at_points": at_points,
        "described": random(objects, CLASSES + 5),
        "index": torch.randint(-1, objects, (POINTS,), generator=draw).short(),
        "points": random(POINTS, 2),
        "mask": torch.arange(POINTS) < POINTS - seed % 3,
        "boxes": random(objects, 4),
        "vague": torch.zeros(objects, dtype=torch.bool),
        "centerness": random(objects, POINTS),
        "massness": random(objects, POINTS),
    }
    if neck:
        tensors["neck"] = random(NECK, POINTS)
    said = [("word " * (index + seed + 1), (index,), "noun") for index in range(objects)]
    return tensors, [*said, ("all of them", tuple(range(objects)), "plural"), (f"none {seed}", (), "absent")]


@pytest.fixture
def pool(tmp_path):
    for number, (neck, counts) in enumerate(((True, (2, 1)), (False, (3, 1, 2)))):
        made = (scene(10 * number + index, objects, neck) for index, objects in enumerate(counts))
        save_chunk(tmp_path / f"kind_{number:03d}.safetensors", made)
    return Pool(sorted(tmp_path.glob("*.safetensors")), NumberedWords(), NECK, CLASSES)


def test_every_scene_is_the_one_of_its_file(pool):
    resident = ResidentPool(pool, CPU)
    batch = next(resident.batches(0, 5, 100, None, 0.0))
    assert len(resident) == 5 and len(batch.index) == sum(
        len(chunk.expressions[s]) for chunk in pool.chunks for s in range(len(chunk))
    )
    seen = set()
    for place in range(5):
        ours = batch.index == place
        number = next(
            n
            for n, (c, s) in enumerate(pool.scenes)
            if torch.equal(pool.chunks[c].tensors["points"][s].float(), batch.stand[place])
        )
        c, s = pool.scenes[number]
        chunk, points = pool.chunks[c], batch.points[place]
        seen.add(number)
        assert torch.equal(batch.features[place], chunk.features(s, points))
        assert torch.equal(batch.present[place], chunk.tensors["mask"][s][points])
        assert torch.equal(batch.attended[place], batch.present[place] & (chunk.central(s)[points] > 0.45))
        wanted = sorted(
            (len(text.split()), *(round(x.sum().item(), 3) for x in (t[points] for t in chunk.targets(s, means))))
            for text, means, _ in chunk.expressions[s]
        )
        told = zip(
            batch.attention_mask[ours].sum(1), batch.centerness[ours].sum(1), batch.massness[ours].sum(1), strict=True
        )
        assert sorted((int(n), round(a.item(), 3), round(b.item(), 3)) for n, a, b in told) == wanted
    assert seen == set(range(5))


def test_words_of_a_batch_are_the_ones_of_its_texts(pool):
    batch = next(ResidentPool(pool, CPU).batches(0, 5, 100, None, 0.0))
    for states, mask in zip(batch.words, batch.attention_mask.bool(), strict=True):
        assert len(set(states[mask].flatten().tolist())) == 1 and not states[~mask].any()
    assert {row[0, 0].item() for row in batch.words} == {float(len(text)) for text in pool.words.known}


def test_draws_are_repeated_by_their_seed_and_have_their_sizes(pool):
    resident = ResidentPool(pool, CPU)
    one, same, other = (next(resident.batches(seed, 2, 2, 6, 0.5)) for seed in (3, 3, 4))
    assert all(torch.equal(value, getattr(same, name)) for name, value in vars(one).items())
    assert not torch.equal(one.points, other.points)
    assert one.points.shape == (2, 6) and one.features.shape[2] == 6
    assert (torch.bincount(one.index) <= 2).all()
    for points in one.points:
        assert len(set(points.tolist())) == 6


def test_what_the_detector_is_sure_of_is_absent_elsewhere(pool):
    for chunk in pool.chunks:  # the first two classes are seen by turns, and nothing else
        chunk.tensors["at_points"][:, :CLASSES] = 0
        chunk.tensors["described"][:, :CLASSES] = 0
        chunk.tensors["index"][:] = 0
        for s in range(len(chunk)):
            chunk.tensors["at_points"][s, s % 2] = 1
            chunk.tensors["described"][chunk.described_start[s], s % 2] = 1
    resident = ResidentPool(pool, CPU)
    batch = next(resident.batches(0, 5, 100, None, 1.0))
    assert (batch.centerness.amax(1) == 0).float().mean() > 0.8  # four tries in five scenes hardly ever all fail
    assert set(resident.label.tolist()) == {-1, 0, 1}


def test_more_scenes_than_there_are_is_told(pool):
    with pytest.raises(ValueError, match="more than the pool's 5"):
        next(ResidentPool(pool, CPU).batches(0, 6, 2, 6, 0.0))
