"""Whole runs: resumed after a kill, in several processes, with accumulation, with sharded weights."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_box_detector, tiny_model, tiny_processor
from filelock import FileLock
from safetensors.torch import load_file
from training_data import tiny_config, write_data
from training_runs import kill_when, losses, run, start, train_and_record
from training_sharded import train_sharded

from pbrec_hf.training.run import train

WEIGHTS = "last/model.safetensors"


@pytest.fixture(autouse=True)
def one_thread():
    """As in the processes that `training_runs` starts; with two, oneDNN crashes on convolutions as tiny as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a checkpoint with dropout and one without."""
    folder = tmp_path_factory.mktemp("runs")
    write_data(folder / "data", pictures=5, expressions=3)
    save_tiny_checkpoint(folder / "dropout")
    model = tiny_model(dropout=0.0, attention_dropout=0.0)
    model.config.text_config.hidden_dropout_prob = model.config.text_config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(folder / "plain")
    tiny_processor(box_detector=tiny_box_detector()).save_pretrained(folder / "plain")
    return folder


def config_of(folder, checkpoint, name, **fields):
    return tiny_config(folder / checkpoint, folder / "data/data.jsonl", folder / name, batch_size=3, **fields)


def dropping(folder, name, **fields):
    """With dropout, augmentation, averaging and validation."""
    fields = {"ema_decay": 0.9, "validation_data": str(folder / "data/data.jsonl")} | fields
    return config_of(folder, "dropout", name, **fields)


@pytest.fixture(scope="module")
def unbroken(folder):
    """The weights of a run with dropout, augmentation, averaging and validation that nothing interrupts."""
    run(train_and_record, dropping(folder, "unbroken"))
    return (folder / "unbroken" / WEIGHTS).read_bytes()


@pytest.mark.parametrize("moment", ["step-00000003.partial", "step-00000004", "step-00000007.partial"])
def test_a_killed_run_goes_on_bit_by_bit(folder, unbroken, moment):
    name = f"killed-{moment}"
    config = dropping(folder, name)
    (process,) = start(train_and_record, config)
    kill_when((folder / name / "checkpoints" / moment).exists, process)
    assert not (folder / name / "scores.json").exists()
    run(train_and_record, config)
    assert (folder / name / WEIGHTS).read_bytes() == unbroken


def test_a_damaged_checkpoint_costs_only_its_own_steps(folder, unbroken):
    config = dropping(folder, "damaged")
    shutil.copytree(folder / "unbroken/checkpoints", folder / "damaged/checkpoints")
    newest = sorted((folder / "damaged/checkpoints").iterdir())[-1]
    (newest / "optimizer.bin").write_bytes(b"")
    run(train_and_record, config)
    assert (folder / "damaged" / WEIGHTS).read_bytes() == unbroken


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 4}, "batch_size 3 → 4"),
        ({"learning_rate": 1e-9}, "learning_rate 0.0001 → 1e-09"),
        ({"ema_decay": None}, "ema_decay 0.9 → None"),
        ({"tasks": ["segmentation"]}, "tasks"),
        ({"data": "other/data.jsonl"}, "rows"),
        ({"validation_data": "other/data.jsonl"}, "validation rows"),
        ({"metric": "box_mean_iou"}, "metric"),
    ],
)
def test_a_run_with_other_settings_does_not_go_on(folder, unbroken, changes, told):
    write_data(folder / "other", pictures=5, expressions=3, texts=("cat", "dog"), masks=True)
    config = replace(dropping(folder, "unbroken"), **changes)
    config.data, config.validation_data = str(folder / config.data), str(folder / config.validation_data)
    if config.tasks == ["segmentation"]:
        config.data = config.validation_data = str(folder / "other/data.jsonl")
    with pytest.raises(ValueError, match=f"other settings.*{told}.*another output_dir"):
        train(config)
    assert (folder / "unbroken" / WEIGHTS).read_bytes() == unbroken


def test_what_matters_not_may_change(folder, unbroken):
    shutil.copytree(folder / "unbroken", folder / "moved")
    shutil.copytree(folder / "data", folder / "moved data")
    moved = str(folder / "moved data/data.jsonl")
    train(replace(dropping(folder, "moved"), log_steps=5, save_steps=0, data=moved, validation_data=moved))
    assert (folder / "moved" / WEIGHTS).read_bytes() == unbroken


def test_a_failed_validation_costs_no_step(folder, unbroken, monkeypatch):
    config = dropping(folder, "failed", save_steps=0)
    with monkeypatch.context() as patched, pytest.raises(ValueError, match="no scores today"):
        patched.setattr("pbrec_hf.training.validation.score", _fail)
        train(config)
    (saved,) = (folder / "failed/checkpoints").iterdir()
    assert saved.name == "step-00000005"
    config.metric = "box_mean_iou"  # may still change, since nothing was measured
    run(train_and_record, config)
    assert (folder / "failed" / WEIGHTS).read_bytes() == unbroken
    assert len(losses(folder / "failed")) == 5


def _fail(*_):
    raise ValueError("no scores today")


def test_a_checkpoint_of_an_older_version_is_told(folder, unbroken):
    shutil.copytree(folder / "unbroken", folder / "older")
    for path in (folder / "older/checkpoints").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        del manifest["position"]["settings"]
        path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="older version"):
        train(dropping(folder, "older"))


def test_weights_that_are_no_numbers_replace_nothing(folder):
    config = dropping(folder, "diverged", learning_rate=1e30, log_steps=50)
    with pytest.raises(FloatingPointError, match=r"not finite at step .*another output_dir"):
        train(config)
    assert not (folder / "diverged/last").exists() and not (folder / "diverged/best").exists()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"metric": "accuracy"}, "accuracy@0.5"),
        ({"metric": "mask_oracle"}, "accuracy@0.5"),
        ({"output_dir": __file__ + "/runs"}, "is a file"),
    ],
)
def test_what_would_fail_after_an_epoch_is_told_before(folder, fields, told):
    with pytest.raises(ValueError, match=told):
        train(replace(dropping(folder, "never"), **fields))
    assert not (folder / "never").exists()


def test_expressions_without_what_a_task_needs_are_told_before(folder):
    config = dropping(folder, "never", tasks=["grounding", "segmentation"])
    with pytest.raises(ValueError, match="15 of 15 expressions have no segmentation, the first is 'left dog'"):
        train(config)


def test_two_trainings_do_not_share_a_folder(folder):
    config = dropping(folder, "shared")
    (folder / "shared").mkdir()
    with FileLock(folder / "shared" / ".lock"), pytest.raises(ValueError, match="Another training is running"):
        train(config)
    assert not (folder / "shared" / "checkpoints").exists()


@pytest.fixture(scope="module")
def one_process(folder):
    fields = {"expressions_per_image": 2, "validation_data": str(folder / "data/data.jsonl")}
    run(train_and_record, config_of(folder, "plain", "one", **fields))
    return fields


@pytest.mark.parametrize(("processes", "steps"), [(2, 1), (1, 2)])
def test_processes_and_accumulation_train_as_one(folder, one_process, processes, steps):
    """10 groups of 1 or 2 expressions in batches of 3: shares of 1 and 2 groups, and a last batch of a single one."""
    name = f"{processes}x{steps}"
    config = config_of(folder, "plain", name, gradient_accumulation_steps=steps, **one_process)
    run(train_and_record, config, processes, processes=processes)
    assert len(losses(folder / name)) == 8
    assert losses(folder / name) == pytest.approx(losses(folder / "one"), rel=1e-5)
    found, expected = (load_file(folder / which / WEIGHTS) for which in (name, "one"))
    for key, value in expected.items():
        # Adam makes steps of the rounding noise where a gradient should be 0 (key biases), hence not 1e-7.
        assert (found[key].double() - value.double()).abs().mean() < 5e-6, key
    found, expected = (json.loads((folder / which / "scores.json").read_text())["scores"] for which in (name, "one"))
    assert found == pytest.approx(expected)
    assert expected["count"] == 15


@pytest.mark.parametrize("processes", [1, 2])
def test_targets_without_a_positive_point_are_counted(folder, processes):
    """Two of three boxes are smaller than the stride and lie between the points; each is trained on twice."""
    boxes = [[4, 6, 44, 50], [14, 14, 17, 17], [30, 46, 32, 49]]
    rows = [{"image": f"{number}.png", "expression": "left dog", "bbox": box} for number, box in enumerate(boxes)]
    (folder / "data/small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = config_of(folder, "plain", f"small {processes}", augment=False)
    config.data = str(folder / "data/small.jsonl")
    run(train_and_record, config, processes, processes=processes)
    assert json.loads((folder / f"small {processes}" / "scores.json").read_text())["repaired_targets"] == 4


def test_model_and_optimiser_survive_sharding(tmp_path):
    """FSDP2's `fully_shard` on two gloo processes gives the weights of one process."""
    run(train_sharded, tmp_path, processes=1)
    run(train_sharded, tmp_path, processes=2)
    whole, sharded = (load_file(tmp_path / f"{number}.safetensors") for number in (1, 2))
    for key, value in whole.items():
        torch.testing.assert_close(sharded[key], value, atol=1e-5, rtol=1e-4)
