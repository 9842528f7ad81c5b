"""The collator and the targets in loops that are not this package's: a plain DataLoader, and transformers' Trainer."""

from dataclasses import replace

import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from torch.utils.data import DataLoader
from training_data import write_data
from transformers import Trainer, TrainingArguments

from pbrec_hf import PbrecCollator, load_own_data, with_soft_targets


@pytest.fixture
def model():
    return tiny_model(dropout=0.0, attention_dropout=0.0).train()


@pytest.fixture
def rows(tmp_path):
    return load_own_data(write_data(tmp_path, pictures=4, expressions=2, masks=True))


@pytest.fixture
def collator(model):
    processor = tiny_processor()
    return PbrecCollator.for_model(model.config, processor.image_processor, processor.tokenizer)


def losses_of(model, loader, epochs):
    torch.manual_seed(0)  # of the text encoder's dropout
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(epochs):
        for batch in loader:
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def test_a_plain_loader_trains(model, rows, collator):
    losses = losses_of(model, DataLoader(rows, batch_size=4, collate_fn=collator), epochs=6)
    assert len(losses) == 12 and losses[-1] < 0.8 * losses[0]


def test_columns_of_targets_train_as_the_collator_does(model, rows, collator):
    """Whoever writes a collator of their own takes the targets from the columns."""
    names = ("centerness_labels", "massness_labels")
    unlabelled = replace(collator, targets=False)

    def own(entries):
        labels = {name: torch.tensor([entry[name] for entry in entries]) for name in names}
        return unlabelled(entries) | labels

    start = {name: value.clone() for name, value in model.state_dict().items()}
    labelled = with_soft_targets(rows, model.config)
    theirs = losses_of(model, DataLoader(labelled, batch_size=4, collate_fn=own), epochs=1)
    model.load_state_dict(start)
    ours = losses_of(model, DataLoader(rows, batch_size=4, collate_fn=collator), epochs=1)
    assert theirs == pytest.approx(ours, rel=1e-6)


def test_transformers_trainer_trains_evaluates_and_saves(model, rows, collator, tmp_path):
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=4,
        num_train_epochs=6,
        learning_rate=3e-3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        remove_unused_columns=False,  # the collator reads columns that the model does not
        label_names=["centerness_labels", "massness_labels"],
    )
    trainer = Trainer(model, arguments, data_collator=collator, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < 0.9 * before
    trainer.save_model(tmp_path / "saved")
    saved = type(model).from_pretrained(tmp_path / "saved").state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
