"""The order of an epoch, and the rows that the loader makes of it."""

import datasets
import pytest

from pbrec_hf.training.batches import EpochPlan, training_loader

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


class Noting:
    """Stands for the collator: what it is called with."""

    def __init__(self):
        self.epoch, self.rows = None, []

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __call__(self, rows):
        self.rows += rows
        return {"input_ids": [sentence for row in rows for sentence in row["expressions"]]}


def test_the_loader_gives_rows_of_the_image_view_with_the_chosen_expressions():
    pictures = [
        {"image_id": str(row), "expressions": [{"expression": f"{row} {index}"} for index in range(count)]}
        for row, count in enumerate(COUNTS)
    ]
    plan, collator = EpochPlan(COUNTS, 2, batch_size=4), Noting()
    batches = list(training_loader(datasets.Dataset.from_list(pictures), plan, collator, epoch=3, start=1))
    groups = plan.groups(3)[4:]
    assert collator.epoch == 3
    assert [(row["image_id"], [one["expression"] for one in row["expressions"]]) for row in collator.rows] == [
        (str(group.row), [f"{group.row} {index}" for index in group.expressions]) for group in groups
    ]
    assert sum(batch["count"] for batch in batches) == sum(len(group.expressions) for group in groups)


def test_a_stand_in_counts_nothing():
    rows = datasets.Dataset.from_list([{"image_id": "0", "expressions": [{"expression": "dog"}]}])
    plans = [EpochPlan([1], 1, batch_size=2, process=(index, 2)) for index in (0, 1)]
    counts = [batch["count"] for plan in plans for batch in training_loader(rows, plan, Noting(), epoch=0)]
    assert sorted(counts) == [0, 1]
