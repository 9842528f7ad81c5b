"""The comprehension model: equal to the released arithmetic, to itself when cached, batched, saved and loaded."""

import inspect
import json
from itertools import pairwise

import pytest
import torch
from checkpoints import tiny_model
from released_checkpoint import GOLDEN, reduced_state_dict
from safetensors.torch import load_file
from seeded_weights import expand_image, pad_mask
from transformers import AutoModel, BertConfig, ResNetConfig

from pbrec_hf import PbrecConfig, PbrecForReferringExpression, PbrecModel, bundled_checkpoint
from pbrec_hf.comprehension.labels import center_targets
from pbrec_hf.comprehension.loss import point_loss
from pbrec_hf.comprehension.targets import centerness_targets
from pbrec_hf.convert.pbrec import convert_pbrec
from pbrec_hf.geometry.centerness import centerness_at
from pbrec_hf.geometry.points import grid_points


@pytest.fixture(scope="module")
def golden():
    meta = json.loads((GOLDEN / "small_meta.json").read_text())
    tensors = load_file(GOLDEN / "small_io.safetensors")
    padding = pad_mask(meta["rects_top_left_h_w"])
    pixels = expand_image(tensors["in.images_lowres"].numpy(), padding)
    inputs = {
        "pixel_values": torch.from_numpy(pixels),
        "pixel_mask": torch.from_numpy(1 - padding).long(),
        "input_ids": tensors["in.word_ids"],
        "attention_mask": tensors["in.word_mask"].long(),
    }
    return meta, tensors, inputs


@pytest.fixture(scope="module")
def released():
    return convert_pbrec(reduced_state_dict(), num_attention_heads=4, text_attention_heads=4, dropout=0.0)[0]


def tiny_config(**fields) -> PbrecConfig:
    sizes = {"image_size": 64, "d_model": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return PbrecConfig(
        backbone_config=ResNetConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 8, 16],
            embedding_size=8,
            layer_type="basic",
            out_features=["stage4"],
        ),
        text_config=BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        **{**sizes, "intermediate_size": 32, "max_text_length": 8, **fields},
    )


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return PbrecForReferringExpression(tiny_config()).eval()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    mask = torch.ones(2, 64, 64, dtype=torch.long)
    mask[1, :, 40:] = 0
    attention = torch.ones(3, 6, dtype=torch.long)
    attention[1, 4:] = 0
    return {
        "pixel_values": torch.randn(2, 3, 64, 64) * mask[:, None],
        "pixel_mask": mask,
        "input_ids": torch.randint(3, 50, (3, 6)) * attention,
        "attention_mask": attention,
        "image_index": torch.tensor([1, 0, 1]),
    }


def test_logits_of_every_layer_equal_the_released_code(golden, released):
    _, tensors, inputs = golden
    with torch.no_grad():
        output = released(**inputs, output_hidden_states=True)
    valid = output.image_features.mask
    assert torch.equal(valid, tensors["out.img_mask"] == 0)
    assert len(output.hidden_states) == 3
    for layer, hidden in enumerate(output.hidden_states[1:]):
        points = released.model.fusion.final_norm(hidden)[:, :400]
        for head, name in ((released.center_head, "box"), (released.mass_head, "seg")):
            expected = tensors[f"out.{name}_score"][layer]
            torch.testing.assert_close(head(points)[valid], expected[valid], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.center_logits[valid], tensors["out.box_score"][-1][valid], atol=1e-5, rtol=0)


def test_losses_gradients_and_three_optimizer_steps_equal_the_released_code(golden):
    meta, tensors, inputs = golden
    # BERT's own dropout is active in training: off on both sides, as for the golden tensors.
    model, _ = convert_pbrec(reduced_state_dict(), num_attention_heads=4, text_attention_heads=4)
    labels = {"centerness_labels": tensors["in.center_target"], "massness_labels": tensors["in.mass_target"]}
    backbone = [p for p in model.model.backbone.parameters() if p.requires_grad]
    text = list(model.model.text_model.parameters())
    towers = {id(p) for p in [*model.model.backbone.parameters(), *text]}
    rest = [p for p in model.parameters() if id(p) not in towers]
    groups = [{"params": rest}, {"params": backbone}, {"params": text}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=meta["args"]["weight_decay"])
    for step in range(meta["adamw_steps"]):
        for group, rate in zip(optimizer.param_groups, meta["lr_per_step[rest,cnn,bert]"][step], strict=True):
            group["lr"] = rate
        output = model(**inputs, **labels)
        losses = torch.stack([output.center_loss, output.mass_loss])
        torch.testing.assert_close(losses, torch.tensor(meta["losses_box_seg_per_step"][step]), atol=1e-5, rtol=0)
        optimizer.zero_grad()
        output.loss.backward()
        if step == 0:
            check_gradients(model, tensors)
        optimizer.step()
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    valid = output.image_features.mask
    torch.testing.assert_close(output.center_logits[valid], tensors["after.box_score"][-1][valid], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.mass_logits[valid], tensors["after.seg_score"][-1][valid], atol=1e-5, rtol=0)


def check_gradients(model, tensors):
    from pbrec_hf.convert.pbrec import _convert  # the same renaming holds for gradients

    parameters, checked = dict(model.named_parameters()), 0
    for key in (key for key in tensors if key.startswith("grad.")):
        for name, expected in _convert(key.removeprefix("grad."), tensors[key]).items():
            torch.testing.assert_close(parameters[name].grad, expected, atol=1e-5, rtol=1e-4)
            checked += 1
    assert checked > 40


def test_position_codes_equal_the_released_code(golden):
    from pbrec_hf.comprehension.positions import sine_positions_1d, sine_positions_2d

    _, tensors, _ = golden
    valid = tensors["out.img_mask"].view(3, 20, 20) == 0
    ours = sine_positions_2d(valid, 64)
    expected = tensors["mid.img_pos"].flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours[valid.flatten(1)], expected[valid.flatten(1)], atol=1e-5, rtol=0)
    torch.testing.assert_close(sine_positions_1d(20, 64), tensors["mid.text_pe"][0], atol=1e-5, rtol=0)


def test_a_point_half_a_cell_further_lies_between_the_codes_of_two_cells():
    from pbrec_hf.comprehension.positions import sine_positions_2d

    fine = sine_positions_2d(torch.ones(1, 6, 8, dtype=torch.bool), 16).view(1, 6, 8, 16)
    mask = torch.ones(1, 3, 4, dtype=torch.bool)
    assert torch.equal(sine_positions_2d(mask, 16, torch.zeros(1, 12, 2)), sine_positions_2d(mask, 16))
    right_and_up = torch.tensor([0.25, -0.25]).expand(1, 12, 2)  # in cells of twice the size
    moved = sine_positions_2d(mask, 16, right_and_up).view(1, 3, 4, 16)
    torch.testing.assert_close(moved, fine[:, 0::2, 1::2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded_is_bit_equal(tiny, batch, dtype, tmp_path):
    tiny.to(dtype).save_pretrained(tmp_path)
    loaded, info = PbrecForReferringExpression.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    before, after = tiny.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value.dtype == after[key].dtype and torch.equal(value, after[key]), key
    for (name, value), (_, other) in zip(tiny.named_buffers(), loaded.named_buffers(), strict=True):
        assert torch.equal(value, other), name
    assert torch.equal(tiny(**batch).center_logits, loaded(**batch).center_logits)


def test_cached_equals_uncached_equals_one_by_one(tiny, batch):
    with torch.no_grad():
        together = tiny(**batch)
        features = tiny.get_image_features(batch["pixel_values"], batch["pixel_mask"])
        text = {name: batch[name] for name in ("input_ids", "attention_mask", "image_index")}
        cached = tiny(image_features=features, **text)
        assert torch.equal(together.center_logits, cached.center_logits)
        for row, image in enumerate(batch["image_index"].tolist()):
            alone = tiny(
                pixel_values=batch["pixel_values"][image : image + 1],
                pixel_mask=batch["pixel_mask"][image : image + 1],
                input_ids=batch["input_ids"][row : row + 1],
                attention_mask=batch["attention_mask"][row : row + 1],
            )
            torch.testing.assert_close(alone.center_logits[0], together.center_logits[row], atol=1e-5, rtol=0)
            torch.testing.assert_close(alone.mass_logits[0], together.mass_logits[row], atol=1e-5, rtol=0)


@torch.no_grad()
def test_points_that_are_not_attended_are_scored_but_have_no_influence(tiny, batch):
    text = {name: batch[name] for name in ("input_ids", "attention_mask", "image_index")}
    features = tiny.get_image_features(batch["pixel_values"], batch["pixel_mask"])
    plain = tiny(image_features=features, **text).center_logits
    features.attended = features.mask.clone()
    torch.testing.assert_close(tiny(image_features=features, **text).center_logits, plain)
    point = int(features.mask.all(0).nonzero()[0])
    features.attended[:, point] = False
    expected = tiny(image_features=features, **text).center_logits
    features.features[:, point, 0] += 3.0
    changed = tiny(image_features=features, **text).center_logits
    others = torch.arange(plain.shape[1]) != point
    torch.testing.assert_close(changed[:, others], expected[:, others], atol=1e-6, rtol=0)
    assert not torch.allclose(changed[:, point], expected[:, point])


@torch.no_grad()
def test_center_ness_is_learnt_where_the_points_stand(tiny, batch):
    text = {name: batch[name] for name in ("input_ids", "attention_mask", "image_index")}
    features = tiny.get_image_features(batch["pixel_values"], batch["pixel_mask"])
    stride, index = tiny.config.stride, batch["image_index"]
    middles = grid_points(*tiny.config.grid, stride)
    boxes = torch.tensor([[3.0, 5, 40, 50]]).repeat(len(index), 1) + 4 * torch.arange(len(index))[:, None]
    labels = centerness_at(middles, boxes, stride)
    plain = tiny(image_features=features, boxes=boxes, **text)
    torch.testing.assert_close(plain.center_loss, point_loss(plain.center_logits, labels))
    features.points = torch.stack([middles + stride / 4 * image for image in range(len(features.mask))])
    moved = tiny(image_features=features, boxes=boxes, **text)
    targets = torch.stack(
        [centerness_at(features.points[i], box[None], stride)[0] for i, box in zip(index.tolist(), boxes, strict=True)]
    )
    assert not torch.equal(targets, labels)
    torch.testing.assert_close(moved.center_loss, point_loss(moved.center_logits, targets))
    given = tiny(image_features=features, centerness_labels=labels, boxes=boxes, **text)
    torch.testing.assert_close(given.center_loss, point_loss(given.center_logits, labels))
    released = PbrecConfig(**tiny.config.to_dict() | {"soft_targets": "released_code"})
    in_cells = centerness_targets(boxes, released.image_size, stride, "released_code")[0]
    assert torch.equal(
        center_targets(boxes, None, features.points, index, released), in_cells
    )  # for the middles alone


@torch.no_grad()
@pytest.mark.parametrize("style", ["paper", "hard", "released_code"])
@pytest.mark.parametrize("free", [True, False])
def test_several_referents_or_none_at_the_points(tiny, batch, style, free):
    """The largest of the referents' center-ness, 0 for an expression without any."""
    stride, index = tiny.config.stride, batch["image_index"]
    expressions, images = len(index), len(batch["pixel_values"])
    config = PbrecConfig(**tiny.config.to_dict() | {"soft_targets": {"grounding": style, "segmentation": "paper"}})
    points = torch.stack([grid_points(*config.grid, stride) + 3 * image for image in range(images)]) if free else None
    boxes = torch.tensor([[3.0, 5, 40, 50], [30, 10, 64, 64], [8, 8, 24, 24], [1, 1, 2, 2]])
    owners = torch.tensor([0, expressions - 1, 0, 0])
    found = center_targets(boxes, owners, points, index, config)
    expected = torch.zeros(expressions, config.grid[0] * config.grid[1])
    for box, owner in zip(boxes, owners.tolist(), strict=True):
        if free and style != "released_code":
            own = centerness_at(points[index[owner]], box[None], stride)[0]
            own = (own > 0).float() if style == "hard" else own
        else:
            own = centerness_targets(box[None], config.image_size, stride, style)[0][0]
        expected[owner] = torch.maximum(expected[owner], own)
    assert torch.equal(found, expected) and not found[1 : expressions - 1].any()
    assert torch.equal(center_targets(boxes[:0], owners[:0], points, index, config), torch.zeros_like(expected))


@torch.no_grad()
def test_referents_that_do_not_fit_the_expressions_are_told(tiny, batch):
    boxes = torch.tensor([[3.0, 5, 40, 50]]).repeat(len(batch["image_index"]) + 1, 1)
    with pytest.raises(ValueError, match="pass `referent_index`"):
        tiny(**batch, boxes=boxes)
    with pytest.raises(ValueError, match="numbered from 0"):
        tiny(**batch, boxes=boxes, referent_index=torch.arange(len(boxes)))
    loss = tiny(**batch, boxes=boxes, referent_index=torch.arange(len(boxes)).clamp(max=1)).center_loss
    assert loss.isfinite() and loss > 0
    nothing = tiny(**batch, boxes=boxes[:0], referent_index=torch.zeros(0, dtype=torch.int64))
    torch.testing.assert_close(
        nothing.center_loss, point_loss(nothing.center_logits, torch.zeros_like(nothing.center_logits))
    )
    boxes[0] = float("nan")
    with pytest.raises(ValueError, match="no box for what is not there"):
        tiny(**batch, boxes=boxes[:-1])


def test_padding_has_no_influence(tiny, batch):
    with torch.no_grad():
        expected = tiny(**batch).center_logits
        batch["input_ids"][1, 4:] = 7
        changed = tiny(**batch).center_logits
    torch.testing.assert_close(changed, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_may_be_loaded_with_either_attention_whatever_its_backbone(tiny, batch, tmp_path, attention):
    """transformers asks it of every part, and a convolutional backbone has none."""
    tiny.save_pretrained(tmp_path)
    loaded = PbrecForReferringExpression.from_pretrained(tmp_path, attn_implementation=attention).eval()
    assert loaded.config._attn_implementation == attention
    assert loaded.model.text_model.config._attn_implementation == attention
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**batch).center_logits, tiny.eval()(**batch).center_logits, atol=1e-5, rtol=0
        )


def test_eager_and_sdpa_agree(tiny, batch):
    with torch.no_grad():
        sdpa = tiny(**batch)
        tiny.set_attn_implementation("eager")
        eager = tiny(**batch, output_attentions=True)
    torch.testing.assert_close(eager.center_logits, sdpa.center_logits, atol=1e-5, rtol=0)
    assert len(eager.attentions) == 2 and eager.attentions[0].shape == (3, 2, 10, 10)


def test_gradient_checkpointing_gives_the_same_gradients(tiny, batch):
    labels = {"centerness_labels": torch.rand(3, 4), "massness_labels": torch.rand(3, 4)}
    tiny.config.dropout = tiny.config.attention_dropout = 0.0
    gradients, passes = [], []
    for checkpointing in (False, True):
        model = PbrecForReferringExpression(tiny_config(dropout=0.0, attention_dropout=0.0))
        model.load_state_dict(tiny.state_dict())
        model.model.text_model.eval()
        if checkpointing:
            model.activation_checkpointing_enable()
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        calls = []
        for layer in model.model.fusion.layers:
            layer.fc1.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model(**batch, **labels).loss.backward()
        gradients.append(model.model.text_projection.weight.grad)
        passes.append(len(calls))
    torch.testing.assert_close(*gradients)
    assert passes == [2, 4]  # each of the two layers runs again in the backward pass


@torch.no_grad()
@pytest.mark.parametrize("ask", ["argument", "config"])
def test_hidden_states_and_attentions_are_returned_if_asked_for(tiny, batch, ask):
    tiny.set_attn_implementation("eager")
    plain = tiny(**batch)
    assert plain.hidden_states is None and plain.attentions is None
    if ask == "config":
        tiny.config.output_hidden_states = tiny.config.output_attentions = True
    asked = {"output_hidden_states": True, "output_attentions": True} if ask == "argument" else {}
    outputs = tiny(**batch, **asked)
    assert [tuple(states.shape) for states in outputs.hidden_states] == [(3, 10, 16)] * 3
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(3, 2, 10, 10)] * 2
    assert torch.equal(outputs.center_logits, plain.center_logits)


@pytest.mark.parametrize("name", ["labels", "centerness_label", "pixel_value"])
def test_an_argument_that_nothing_reads_is_refused(tiny, batch, name):
    with pytest.raises(TypeError, match=f"Unknown arguments {name}: labels are `centerness_labels`"):
        tiny(**batch, **{name: torch.zeros(1)})


def test_the_main_input_is_one_that_forward_takes(tiny):
    for model in (tiny, tiny.model, tiny.model.backbone):
        assert model.main_input_name in inspect.signature(model.forward).parameters


def test_auto_model_loads_the_class_that_was_saved(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "heads")
    tiny.model.save_pretrained(tmp_path / "base")
    assert type(AutoModel.from_pretrained(tmp_path / "heads")) is PbrecForReferringExpression
    base = AutoModel.from_pretrained(tmp_path / "base")
    assert type(base) is PbrecModel
    assert all(torch.equal(value, tiny.model.state_dict()[name]) for name, value in base.state_dict().items())


def test_every_parameter_that_trains_gets_a_gradient(tiny, batch):
    labels = {"centerness_labels": torch.rand(3, 4), "massness_labels": torch.rand(3, 4)}
    tiny(**batch, **labels).loss.backward()
    trained = {name for name, p in tiny.named_parameters() if p.requires_grad}
    assert {name for name, p in tiny.named_parameters() if p.grad is not None} == trained
    assert not any("embedder" in name or "stages.0" in name for name in trained if "backbone" in name)


@pytest.mark.parametrize("task", ["grounding", "segmentation"])
def test_a_single_task_has_a_single_head(batch, task):
    model = PbrecForReferringExpression(tiny_config(tasks=[task])).eval()
    output = model(**batch)
    assert (output.center_logits is None, output.mass_logits is None) == (task != "grounding", task == "grounding")
    other = "massness_labels" if task == "grounding" else "centerness_labels"
    with pytest.raises(ValueError, match=r"config\.tasks"):
        model(**batch, **{other: torch.zeros(3, 4)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": None}, "either `pixel_values` or `image_features`"),
        ({"image_index": None}, "3 expressions for 2 images"),
        ({"image_index": torch.tensor([0])}, "one entry per expression"),
        ({"pixel_values": torch.zeros(2, 3, 70, 64)}, "multiples of the stride"),
        ({"centerness_labels": torch.zeros(3, 5)}, r"do not match logits of shape \(3, 4\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tiny, batch, change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**{**batch, **change})


def test_initialisation_follows_the_released_code(tiny):
    layer = PbrecForReferringExpression(tiny_config(d_model=64, intermediate_size=128)).model.fusion.layers[0]
    widths = [layer.self_attn.q_proj.weight.abs().max(), layer.fc1.weight.abs().max()]
    bounds = [(6 / (4 * 64)) ** 0.5, (6 / (64 + 128)) ** 0.5]
    for width, bound in zip(widths, bounds, strict=True):
        assert 0.95 * bound < width <= bound
    assert not layer.self_attn.q_proj.bias.any() and layer.fc1.bias.abs().max() <= 64**-0.5
    assert layer.fc1.bias.any()


def test_full_size_head_widths_follow_the_config():
    with torch.device("meta"):
        model = PbrecForReferringExpression(PbrecConfig())
    count = sum(p.numel() for p in model.parameters())
    # 158.96 M trainable plus 0.22 M frozen in the released model, less 2.17 M that never get a gradient.
    assert 156_000_000 < count < 158_000_000
    shapes = [tuple(layer.weight.shape) for layer in model.center_head.layers]
    assert shapes == [(256, 256), (256, 256), (1, 256)] and all(b[1] == a[0] for a, b in pairwise(shapes))


@pytest.mark.parametrize("strict", [True, False])
def test_what_the_config_freezes_stays_frozen_after_loading(tmp_path, strict):
    model = tiny_model()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen
    model.save_pretrained(tmp_path)
    loaded = PbrecForReferringExpression.from_pretrained(tmp_path, strict=strict)
    assert {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad} == frozen


def test_the_bundled_backbone_is_frozen_and_its_heads_always_are():
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint())
    assert not any(parameter.requires_grad for parameter in model.model.backbone.parameters())
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint(), frozen_backbone_modules=[])
    trained = {name for name, parameter in model.model.backbone.named_parameters() if parameter.requires_grad}
    assert trained and not any(name.startswith("detector.heads") for name in trained)
