"""Batches of the pool hold what its files say, and its draws are those that are asked for."""

import numpy as np
import pytest
import torch

from pbrec_hf.small.objects import SHAPE
from pbrec_hf.training.small.pool import save_chunk
from pbrec_hf.training.small.pool_batches import Pool
from pbrec_hf.training.small.pool_data import FILLERS, Chunk
from pbrec_hf.training.small.words import Words

CLASSES, NECK, POINTS = 4, 3, 12


class NumberedWords(Words):
    """Reads a text as its length, as many times as it has words."""

    def __init__(self):
        super().__init__(tokenizer=None, encoder=None)

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


def test_of_scenes_with_rare_expressions_these_stay(tmp_path):
    tensors, _ = scene(0, 3, neck=False)
    plain = [(f"thing {number}", (0,), "noun+side") for number in range(30)]
    rare = [(f"sitting {number}", (1,), "noun+posture") for number in range(4)]
    save_chunk(tmp_path / "chunk.safetensors", [(tensors, [*plain, *rare]), (tensors, plain)])
    chunk = Chunk(tmp_path / "chunk.safetensors", NECK)
    chunk.keep_rare(np.random.default_rng(0))
    few, all_ = chunk.expressions
    assert [one[0] for one in few[:4]] == [one[0] for one in rare] and len(few) == 14
    assert {one[0] for one in few[4:]} < {one[0] for one in plain} and len(all_) == 30


def sure(seed, objects, neck):
    """The same, where the detector sees one of the first two classes, by turns, and nothing else."""
    tensors, said = scene(seed, objects, neck)
    tensors["at_points"][:CLASSES] = 0
    tensors["described"][:, :CLASSES] = 0
    tensors["index"][:] = 0
    tensors["at_points"][seed % 2] = 1
    tensors["described"][0, seed % 2] = 1
    return tensors, said


def write(folder, scene=scene):
    """Two files of five scenes, the second without pictures."""
    for number, (neck, counts) in enumerate(((True, (2, 1)), (False, (3, 1, 2)))):
        made = (scene(10 * number + index, objects, neck) for index, objects in enumerate(counts))
        save_chunk(folder / f"kind_{number:03d}.safetensors", made)
    return sorted(folder.glob("*.safetensors"))


@pytest.fixture
def files(tmp_path):
    return write(tmp_path)


def pool_of(files, words=None, **options):
    return Pool(files, NumberedWords() if words is None else words, NECK, CLASSES, **options)


def test_every_scene_is_the_one_of_its_file(files):
    chunks = [Chunk(path, NECK) for path in files]
    scenes = [(chunk, s) for chunk in chunks for s in range(len(chunk))]
    pool = pool_of(files)
    batch = next(pool.batches(0, 5, 100, None, 0.0))
    assert len(pool) == 5 and len(batch.index) == sum(len(chunk.expressions[s]) for chunk, s in scenes)
    seen = set()
    for place in range(5):
        ours = batch.index == place
        number = next(
            number
            for number, (chunk, s) in enumerate(scenes)
            if torch.equal(chunk.tensors["points"][s].float(), batch.stand[place])
        )
        (chunk, s), points = scenes[number], batch.points[place]
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


def test_a_batch_tells_which_expressions_have_rare_words(tmp_path):
    tensors, _ = scene(0, 2, neck=False)
    texts = {"dog on the left": False, "standing man there": True, "man seated": True, "a hot dog stand": False}
    said = [(text, (0,), "noun") for text in texts]
    save_chunk(tmp_path / "chunk.safetensors", [(tensors, said)])
    batch = next(pool_of([tmp_path / "chunk.safetensors"]).batches(0, 1, 4, None, 0.0))
    lengths = {len(text): rare for text, rare in texts.items()}
    assert [lengths[int(row[0, 0])] for row in batch.words] == batch.rare.tolist()


def test_words_of_a_batch_are_the_ones_of_its_texts(files):
    words = NumberedWords()
    batch = next(pool_of(files, words).batches(0, 5, 100, None, 0.0))
    for states, mask in zip(batch.words, batch.attention_mask.bool(), strict=True):
        assert len(set(states[mask].flatten().tolist())) == 1 and not states[~mask].any()
    assert {row[0, 0].item() for row in batch.words} == {float(len(text)) for text in words.known}


def test_nothing_is_held_twice(files, monkeypatch):
    chunks, words = [Chunk(path, NECK) for path in files], NumberedWords()
    waiting = iter(chunks)
    monkeypatch.setattr("pbrec_hf.training.small.pool_batches.Chunk", lambda path, neck: next(waiting))
    pool = pool_of(files, words)
    left = {"boxes", "vague", "described_count", "objects_count"}
    assert all(set(chunk.tensors) == left for chunk in chunks)
    held = pool.states.untyped_storage().data_ptr()
    assert all(state.untyped_storage().data_ptr() == held for state in words.known.values())


def test_draws_are_repeated_by_their_seed_and_have_their_sizes(files):
    pools = pool_of(files), pool_of(files), pool_of(files)
    one, same, other = (next(pool.batches(s, 2, 2, 6, 0.5)) for pool, s in zip(pools, (3, 3, 4), strict=True))
    assert all(torch.equal(value, getattr(same, name)) for name, value in vars(one).items())
    assert not torch.equal(one.points, other.points)
    assert one.points.shape == (2, 6) and one.features.shape[2] == 6
    assert (torch.bincount(one.index) <= 2).all()
    for points in one.points:
        assert len(set(points.tolist())) == 6


def test_what_the_detector_is_sure_of_is_absent_elsewhere(tmp_path):
    pool = pool_of(write(tmp_path, sure))
    batch = next(pool.batches(0, 5, 100, None, 1.0))
    assert (batch.centerness.amax(1) == 0).float().mean() > 0.8  # four tries in five scenes hardly ever all fail
    assert set(pool.label.tolist()) == {-1, 0, 1}


def test_expressions_for_several_objects_and_for_none_can_be_left_out(files):
    chunks = [Chunk(path, NECK) for path in files]
    means = [means for chunk in chunks for said in chunk.expressions for _, means, _ in said]
    batch = next(pool_of(files, single=True).batches(0, 5, 100, None, 0.0))
    assert len(batch.index) == sum(len(each) == 1 for each in means) < len(means)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_expressions_says_nothing_more(files, share):
    words = NumberedWords()
    pool_of(files, words, fillers=share)
    assert all(any(filler in text for filler in FILLERS) == bool(share) for text in words.known)


def test_more_scenes_than_there_are_is_told(files):
    with pytest.raises(ValueError, match="more than the pool's 5"):
        next(pool_of(files).batches(0, 6, 2, 6, 0.0))
