"""One training step beside one with the released recipe's arithmetic, at equal batch, in one run.

    python -m scripts.benchmarks.train_step [--batch 4] [--canvas 640] [--threads 2] [--repeats 3] [--json]

The baseline computes what the released code does: float32; masks, position codes and lateral convolutions of all five
pyramid levels; attention written out; heads on the output of every layer; text padded to 40 tokens; one expression per
image. Ours: the package's training step, in bfloat16 where the device computes in it. ResNet-101 + BERT-base, random
weights.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import ResNetConfig

from pbrec_hf import PbrecConfig, PbrecForReferringExpression
from pbrec_hf.comprehension.loss import point_loss
from pbrec_hf.comprehension.positions import sine_positions_1d, sine_positions_2d
from pbrec_hf.configuration_pbrec import TASKS
from pbrec_hf.geometry.points import feature_mask
from pbrec_hf.modeling_pbrec import PbrecImageFeatures
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.optimizer import build_optimizer, parameter_groups

from .timing import Figure, median_seconds, report

RELEASED_LENGTH, OUR_LENGTH = 40, 12  # tokens: always padded; the longest of a usual batch
CONFIG = TrainingConfig(init="a", data="b")  # for its learning rates alone
STRIDES = (8, 16, 32, 64, 128)
WARM_UP = 3  # the first steps of a process take up to twice as long


def computes_in_bfloat16() -> bool:
    """Whether the device has units for it: every GPU of today, few CPUs. Emulated, a step takes tenfold."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older torch
    return torch.cuda.is_available() or any(capabilities.get(unit, False) for unit in ("avx512_bf16", "amx_bf16"))


def new_model(canvas: int, attention: str, maps: tuple[str, ...] = ("stage4",)) -> PbrecForReferringExpression:
    torch.manual_seed(0)
    backbone = ResNetConfig(depths=[3, 4, 23, 3], out_features=list(maps))
    config = PbrecConfig(image_size=canvas, tasks=list(TASKS), backbone_config=backbone)
    model = PbrecForReferringExpression._from_config(
        config, attn_implementation={"": attention, "text_config": attention, "backbone_config": "eager"}
    )
    return model.train()


class Released(nn.Module):
    """The package's model around the parts that the released code computes beside them."""

    def __init__(self, canvas: int):
        super().__init__()
        self.network = new_model(canvas, "eager", ("stage2", "stage3", "stage4"))
        width = self.network.config.d_model
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in (512, 1024))
        self.coarser = nn.ModuleList(nn.Conv2d(channels, width, 3, 2, 1) for channels in (width, width))

    def forward(self, pixel_values, pixel_mask, input_ids, attention_mask, centerness_labels, massness_labels):
        network, inner = self.network, self.network.model
        maps = inner.backbone(pixel_values).feature_maps
        levels = [lateral(level) for lateral, level in zip(self.laterals, maps, strict=False)]
        levels.append(inner.image_projection(maps[-1]))
        levels.append(self.coarser[0](levels[-1]))
        levels.append(self.coarser[1](levels[-1].relu()))
        masks = [feature_mask(pixel_mask, *level.shape[-2:]) for level in levels]
        positions = [
            sine_positions_2d(mask.view(-1, *level.shape[-2:]), level.shape[1])
            for mask, level in zip(masks, levels, strict=True)
        ]
        image = PbrecImageFeatures(levels[2].flatten(2).transpose(1, 2), positions[2], masks[2])
        words = inner.text_projection(inner.text_model(input_ids, attention_mask=attention_mask).last_hidden_state)
        places = sine_positions_1d(words.shape[1], words.shape[2], words.device).expand_as(words)
        fused = inner.fusion(
            torch.cat((image.features, words), dim=1),
            torch.cat((image.positions, places), dim=1),
            torch.cat((image.mask, attention_mask.bool()), dim=1),
            output_hidden_states=True,
        )
        layers = torch.stack([inner.fusion.final_norm(layer) for layer in fused.hidden_states[1:]])
        points = layers[:, :, : image.features.shape[1]]
        center, mass = network.center_head(points), network.mass_head(points)
        return point_loss(center[-1], centerness_labels) + point_loss(mass[-1], massness_labels)


def new_batch(images: int, expressions: int, canvas: int, length: int) -> dict[str, Tensor]:
    """`expressions` of each of `images`."""
    generator = torch.Generator().manual_seed(0)
    count, points = images * expressions, (canvas // 32) ** 2
    return {
        "pixel_values": torch.randn(images, 3, canvas, canvas, generator=generator),
        "pixel_mask": torch.ones(images, canvas, canvas, dtype=torch.int64),
        "input_ids": torch.randint(1000, 20000, (count, length), generator=generator),
        "attention_mask": (torch.arange(length) < OUR_LENGTH).long().expand(count, -1).contiguous(),
        "centerness_labels": torch.rand(count, points, generator=generator),
        "massness_labels": torch.rand(count, points, generator=generator),
    }


def stepper(optimizer: AdamW, loss, device: torch.device):
    """A function that makes one step: forward, backward, AdamW."""

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _seconds_of_released(device: torch.device, repeats: int, inputs: dict[str, Tensor]) -> float:
    model = Released(inputs["pixel_values"].shape[-1]).to(device)
    optimizer = AdamW(parameter_groups(model.network, CONFIG))
    return median_seconds(stepper(optimizer, lambda: model(**inputs), device), repeats, WARM_UP)


def measure(repeats: int = 3, batch: int = 4, canvas: int = 640, precision: str | None = None) -> list[Figure]:
    """Ratios at a batch of `batch` images; with four expressions per image, per expression.

    Args:
        precision: of ours, "bf16" or "fp32"; by default bf16 where the device computes in it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = computes_in_bfloat16() if precision is None else precision == "bf16"

    def on_device(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(device) for name, value in values.items()}

    plain = _seconds_of_released(device, repeats, on_device(new_batch(batch, 1, canvas, RELEASED_LENGTH)))
    model = new_model(canvas, "sdpa").to(device, memory_format=torch.channels_last)
    figures = [Figure("released arithmetic, images/s", batch / plain)]
    for expressions, target in ((1, "≥ 1.5"), (4, "≥ 3.0")):
        values = on_device(new_batch(batch, expressions, canvas, OUR_LENGTH))
        values["image_index"] = torch.arange(batch, device=device).repeat_interleave(expressions)

        def loss(values=values) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                return model(**values).loss

        seconds = median_seconds(stepper(build_optimizer(model, CONFIG), loss, device), repeats, WARM_UP)
        name = f"expressions per second with {expressions} per image"
        figures.append(Figure(f"{name}, {'bfloat16' if half else 'float32'}", batch * expressions / seconds))
        figures.append(Figure(f"{name} ÷ released", plain * expressions / seconds, target))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=4, help="images (default: %(default)s)")
    parser.add_argument("--canvas", type=int, default=640, help="pixels (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="of ours (default: bf16 if the device has it)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report(measure(options.repeats, options.batch, options.canvas, options.precision), options.json)


if __name__ == "__main__":
    main()
