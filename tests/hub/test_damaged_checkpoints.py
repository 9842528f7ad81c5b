"""Damaged, foreign and hostile checkpoints are refused with the name of what is wrong."""

import json
import shutil

import pytest
import torch
from checkpoints import tiny_model
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import AutoModel, PreTrainedModel

from pbrec_hf import PbrecConfig, PbrecForReferringExpression, PbrecProcessor

KEY = "center_head.layers.0.weight"


def change(path, function) -> None:
    """Rewrite a safetensors file with other tensors."""
    tensors = load_file(path)
    function(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def rename(tensors) -> None:
    tensors["center_head.old_name"] = tensors.pop(KEY)


def reshape(tensors) -> None:
    tensors[KEY] = tensors[KEY][:, :3].contiguous()


def spoil(tensors) -> None:
    tensors[KEY][0, 0] = torch.nan


def test_a_sound_checkpoint_is_bit_equal_in_parameters_and_buffers(sound):
    model, info = AutoModel.from_pretrained(sound, output_loading_info=True)
    before, after = tiny_model().state_dict(), model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    buffers = dict(tiny_model().named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert not any(info.values())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename, rf"missing: {KEY}; unexpected: center_head.old_name"),
        (lambda tensors: tensors.pop(KEY), rf"missing: {KEY}\. "),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), r"unexpected: extra\. "),
        (reshape, rf"of another shape: {KEY} \(16, 3\) instead of \(16, 16\)"),
        (spoil, rf"not finite numbers: {KEY}"),
    ],
)
def test_weights_that_do_not_fit_are_errors_that_name_the_keys(folder, damage, message):
    change(folder / "model.safetensors", damage)
    for load in (PbrecForReferringExpression.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=message):
            load(folder)


def test_parts_load_when_asked_for(folder):
    change(folder / "model.safetensors", rename)
    assert AutoModel.from_pretrained(folder, strict=False) is not None
    change(folder / "model.safetensors", lambda tensors: tensors.update({KEY: tensors.pop("center_head.old_name")}))
    change(folder / "model.safetensors", reshape)
    model = AutoModel.from_pretrained(folder, ignore_mismatched_sizes=True)
    assert model.get_parameter(KEY).shape == (16, 16) and model.get_parameter(KEY).isfinite().all()


def rewrite(folder, **fields) -> None:
    """Change fields of config.json; a dotted name is a field of a sub-config."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name, value in fields.items():
        *parents, field = name.split("__")
        inner = config
        for parent in parents:
            inner = inner[parent]
        inner[field] = value
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"text_config__vocab_size": 9_999_999},
            r"of another shape: .*word_embeddings.weight \(\d+, \d+\) instead of \(9999999",
        ),
        ({"text_config__num_hidden_layers": 900}, r"describes a model of [\d,]+ numbers, but its weights are [\d,]+"),
        ({"intermediate_size": 65536}, "of another shape"),
    ],
)
def test_a_config_of_a_far_larger_model_is_refused_before_memory_is_allocated(folder, monkeypatch, fields, message):
    rewrite(folder, **fields)
    loaded = []
    monkeypatch.setattr(PreTrainedModel, "_load_pretrained_model", lambda *rest, **more: loaded.append(rest))
    with pytest.raises(ValueError, match=message):
        PbrecForReferringExpression.from_pretrained(folder)
    assert not loaded


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_weights_of_another_kind_are_no_numbers_of_this_model(folder, dtype, strict):
    """They would load as zeros and ones without a word."""
    change(folder / "model.safetensors", lambda tensors: tensors.update({KEY: tensors[KEY].to(dtype)}))
    with pytest.raises(ValueError, match=rf"of another kind: {KEY} \w+ instead of float32"):
        PbrecForReferringExpression.from_pretrained(folder, strict=strict)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_width_are_the_same_numbers(folder, dtype):
    change(folder / "model.safetensors", lambda tensors: tensors.update({KEY: tensors[KEY].to(dtype)}))
    model = PbrecForReferringExpression.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(model.get_parameter(KEY), tiny_model().get_parameter(KEY).to(dtype).float())


def test_pickled_weights_are_not_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        PbrecForReferringExpression.from_pretrained(folder)


def test_a_detector_is_as_strict_as_the_model(folder):
    change(folder / "box_detector" / "model.safetensors", lambda tensors: tensors.popitem())
    with pytest.raises(ValueError, match=r"box_detector do not fit.*missing"):
        PbrecProcessor.from_pretrained(folder)
    shutil.rmtree(folder / "box_detector")
    with pytest.raises(OSError, match="box_detector"):
        PbrecProcessor.from_pretrained(folder)


def header(raw: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def with_header(entries: dict, data: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def overlapping(raw: bytes) -> bytes:
    entries, data = header(raw)
    first, second, *_ = (entry for name, entry in entries.items() if name != "__metadata__")
    second["data_offsets"] = first["data_offsets"]
    return with_header(entries, data)


def too_large(raw: bytes) -> bytes:
    entries, data = header(raw)
    next(entry for name, entry in entries.items() if name != "__metadata__")["shape"] = [2**40, 2**40]
    return with_header(entries, data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: b"\x00" * len(raw),
        lambda raw: (2**63).to_bytes(8, "little") + raw[8:],
        lambda raw: b"\x80\x04cposix\nsystem\n(S'true'\ntR." + raw,
        overlapping,
        too_large,
    ],
    ids=["a byte short", "half", "empty", "zeros", "header of 2^63", "pickle", "overlapping", "too large"],
)
def test_damaged_or_hostile_safetensors_are_refused(folder, damage):
    sound = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(damage(sound))
    with pytest.raises(OSError, match=r" model\.safetensors is damaged"):
        AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(sound)
    path = folder / "mask_detector" / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=r" mask_detector.model\.safetensors is damaged"):
        PbrecProcessor.from_pretrained(folder)


def test_a_folder_that_was_written_half_is_not_taken_for_whole(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModel.from_pretrained(folder)
    (folder / "config.json").write_text((folder / "config.json").read_text()[:100])
    with pytest.raises(OSError, match="not a valid JSON file"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention_kind": "linear"}, "does not know: attention_kind. Update pbrec_hf"),
        ({"d_model": "many"}, "d_model"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
        ({"backbone": "../../etc/passwd"}, "backbone"),
        ({"model_type": "pbrec2"}, "pbrec2"),
    ],
)
def test_configs_of_other_versions_and_hostile_ones_are_named(folder, fields, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        AutoModel.from_pretrained(folder)


def test_a_config_that_lacks_a_field_of_today_gets_its_default(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["soft_targets"], config["attention_dropout"]
    (folder / "config.json").write_text(json.dumps(config))
    loaded = AutoModel.from_pretrained(folder).config
    assert (loaded.soft_targets, loaded.attention_dropout) == (
        PbrecConfig().soft_targets,
        PbrecConfig().attention_dropout,
    )
