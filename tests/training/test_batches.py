import pytest

from pbrec_hf.training.batches import EpochPlan

COUNTS = [3, 1, 2, 7, 1]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_epoch_holds_every_expression_once(size):
    plan = EpochPlan(COUNTS, size, batch_size=4)
    groups = plan.groups(epoch=3)
    assert len(groups) == plan.num_groups
    assert all(1 <= len(group.expressions) <= size for group in groups)
    found = sorted((group.row, index) for group in groups for index in group.expressions)
    assert found == [(row, index) for row, count in enumerate(COUNTS) for index in range(count)]


def test_the_order_depends_on_seed_and_epoch_alone():
    plan = EpochPlan(COUNTS, 2, batch_size=4, seed=1)
    assert plan.groups(0) == EpochPlan(COUNTS, 2, batch_size=9, process=(1, 2), seed=1).groups(0)
    assert plan.groups(0) != plan.groups(1)
    assert plan.groups(0) != EpochPlan(COUNTS, 2, batch_size=4, seed=2).groups(0)


@pytest.mark.parametrize("batch_size", [3, 4, 5])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2])
def test_processes_and_parts_share_the_same_batches(batch_size, processes, parts):
    whole = EpochPlan(COUNTS, 2, batch_size)
    plans = [EpochPlan(COUNTS, 2, batch_size, parts, (index, processes)) for index in range(processes)]
    pieces = [list(plan.parts_of(epoch=1)) for plan in plans]
    assert {len(piece) for piece in pieces} == {len(whole) * parts}  # processes wait for each other in each
    for batch, (expected,) in enumerate(zip(whole.parts_of(epoch=1), strict=True)):
        found = [
            group
            for part in range(batch * parts, (batch + 1) * parts)
            for piece in pieces
            for group in piece[part]
            if group.counts
        ]
        assert found == expected


def test_an_epoch_goes_on_in_the_middle():
    plan = EpochPlan(COUNTS, 1, batch_size=4, parts=2)
    assert list(plan.parts_of(epoch=0, start=2)) == list(plan.parts_of(epoch=0))[4:]
