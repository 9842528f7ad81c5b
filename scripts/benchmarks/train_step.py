"""A training step beside one with the released recipe's arithmetic: like with like, and what each choice adds.

    python -m scripts.benchmarks.train_step [--size published] [--batch 4] [--canvas 640] [--threads 2] [--repeats 3]
        [--processor_time] [--json]

The baseline computes what the released code does: masks, position codes and lateral convolutions of all five pyramid
levels; attention written out; heads on the output of every layer; one expression per picture. The first ratio compares
it with the package's training step at the same precision (float32), on the same tokens (padded to 40) and with the
same optimiser (AdamW's plain loop). The next ones change one of these at a time, in the package's step alone; they
would be open to the baseline, too. The last two have all of them together, as training uses them. Random weights;
--size published: ResNet-101 + BERT-base, --size small: for processors that would take hours.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import BertConfig, ResNetConfig

from pbrec_hf import PbrecConfig, PbrecForReferringExpression
from pbrec_hf.comprehension.loss import point_loss
from pbrec_hf.comprehension.positions import sine_positions_1d, sine_positions_2d
from pbrec_hf.configuration_pbrec import TASKS
from pbrec_hf.geometry.points import feature_mask
from pbrec_hf.modeling_pbrec import PbrecImageFeatures
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.optimizer import build_optimizer, parameter_groups

from .timing import Compared, Figure, compared, report

RELEASED_LENGTH, OUR_LENGTH = 40, 12  # tokens: always padded; the longest of a usual batch
CONFIG = TrainingConfig(init="a", data="b")  # for its learning rates alone
WARM_UP = 3  # the first steps of a process take up to twice as long
SIZES: dict[str, dict[str, Any]] = {
    "published": {"backbone": {"depths": [3, 4, 23, 3]}, "text": {}, "fusion": {}},
    "small": {
        "backbone": {"depths": [1, 1, 2, 1], "hidden_sizes": [32, 64, 128, 256], "embedding_size": 16},
        "text": {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 512},
        "fusion": {"d_model": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256},
    },
}


@dataclass(frozen=True)
class Choices:
    """What a step of ours is timed with."""

    bfloat16: bool = False
    tokens: int = RELEASED_LENGTH
    fused: bool = False
    expressions: int = 1
    compiled: bool = False


def computes_in_bfloat16() -> bool:
    """Whether the device has units for it: every GPU of today, few CPUs. Emulated, a step takes tenfold."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older torch
    return torch.cuda.is_available() or any(capabilities.get(unit, False) for unit in ("avx512_bf16", "amx_bf16"))


def new_model(
    size: str, canvas: int, attention: str, maps: tuple[str, ...] = ("stage4",)
) -> PbrecForReferringExpression:
    torch.manual_seed(0)
    shape = SIZES[size]
    config = PbrecConfig(
        image_size=canvas,
        tasks=list(TASKS),
        backbone_config=ResNetConfig(**shape["backbone"], out_features=list(maps)),
        text_config=BertConfig(**shape["text"]),
        **shape["fusion"],
    )
    model = PbrecForReferringExpression._from_config(
        config, attn_implementation={"": attention, "text_config": attention, "backbone_config": "eager"}
    )
    return model.train()


class Released(nn.Module):
    """The package's model around the parts that the released code computes beside them."""

    def __init__(self, size: str, canvas: int):
        super().__init__()
        self.network = new_model(size, canvas, "eager", ("stage2", "stage3", "stage4"))
        config = self.network.config
        width, channels = config.d_model, config.backbone_config.hidden_sizes
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels[1:3])
        self.coarser = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for _ in range(2))

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


class Steps:
    """
    Times steps on one machine.

    Args:
        repeats: whose median is taken.
        batch: pictures.
        size, canvas: of the network, and of the pictures in pixels.
        clock: seconds, such as `time.perf_counter`; on a busy machine `time.process_time`, of all threads.
        device: by default a GPU, if there is one.
    """

    def __init__(
        self,
        repeats: int,
        batch: int,
        size: str,
        canvas: int,
        clock: Callable[[], float] = time.perf_counter,
        device: torch.device | None = None,
    ):
        self.repeats, self.batch, self.size, self.canvas, self.clock = repeats, batch, size, canvas, clock
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def released(self) -> Callable[[], None]:
        """A step with the released arithmetic."""
        model = Released(self.size, self.canvas).to(self.device)
        inputs = self._inputs(Choices())
        return self.step(AdamW(parameter_groups(model.network, CONFIG)), lambda: model(**inputs))

    def ours(self, choices: Choices) -> Callable[[], None]:
        """A step of the package."""
        return self.step(*self.built(choices))

    def compared(self, first: Callable[[], None], second: Callable[[], None]) -> Compared:
        """Their seconds, in turns."""
        return compared(first, second, self.repeats, WARM_UP, self.clock)

    def built(self, choices: Choices) -> tuple[AdamW, Callable[[], Tensor]]:
        """The optimiser of a new model of the package, and its loss on a batch."""
        model = new_model(self.size, self.canvas, "sdpa").to(self.device, memory_format=torch.channels_last)
        inputs = self._inputs(choices)
        inputs["image_index"] = torch.arange(self.batch, device=self.device).repeat_interleave(choices.expressions)
        if choices.fused:
            optimizer = build_optimizer(model, CONFIG)
        else:
            optimizer = AdamW(parameter_groups(model, CONFIG), fused=False, foreach=False)
        if choices.compiled:
            # The self-test on a CPU traces, but does not wait for a compiler.
            model.compile(backend="inductor" if self.device.type == "cuda" else "eager")

        def loss() -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=choices.bfloat16):
                return model(**inputs).loss

        return optimizer, loss

    def _inputs(self, choices: Choices) -> dict[str, Tensor]:
        values = new_batch(self.batch, choices.expressions, self.canvas, choices.tokens)
        return {name: value.to(self.device) for name, value in values.items()}

    def step(self, optimizer: AdamW, loss: Callable[[], Tensor]) -> Callable[[], None]:
        """What trains once, and waits for the device."""

        def step() -> None:
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return step

    def time(self, optimizer: AdamW, loss: Callable[[], Tensor]) -> float:
        """Median seconds of a step, after a few that do not count."""
        step = self.step(optimizer, loss)
        times = []
        for _ in range(WARM_UP + self.repeats):
            start = self.clock()
            step()
            times.append(self.clock() - start)
        return statistics.median(times[WARM_UP:])


def measure(
    repeats: int = 3,
    batch: int = 4,
    canvas: int = 640,
    size: str = "published",
    half: bool | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Figure]:
    """
    Ratios of times: above 1, the package's step is the faster one.

    Args:
        repeats, batch, size, canvas, clock: of `Steps`.
        half: whether to measure bfloat16, too; None = where the device computes in it.
    """
    steps = Steps(repeats, batch, size, canvas, clock)
    half = computes_in_bfloat16() if half is None else half
    released, alike = steps.released(), Choices()
    plain = steps.ours(alike)
    times = steps.compared(released, plain)
    figures = [
        Figure("training, released arithmetic, pictures per second", batch / statistics.median(times.first)),
        times.figure("training step, released ÷ ours, like with like: torch fp32, 40 tokens, plain AdamW"),
    ]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("fused AdamW", {"fused": True}),
        (f"texts of {OUR_LENGTH} tokens", {"tokens": OUR_LENGTH}),
    ]
    if half:
        changes.append(("bf16", {"bfloat16": True}))
    for name, change in changes:
        times = steps.compared(plain, steps.ours(replace(alike, **change)))
        figures.append(times.figure(f"training step, ours ÷ ours with {name}"))
    together = Choices(bfloat16=half, tokens=OUR_LENGTH, fused=True)
    precision = "bf16" if half else "fp32"
    for expressions, target in ((1, "≥ 1.2"), (4, "≥ 3")):
        times = steps.compared(released, steps.ours(replace(together, expressions=expressions)))
        name = f"training step, released (torch fp32) ÷ ours ({precision}), per expression, {expressions} per picture"
        figures.append(times.figure(name, target, factor=expressions))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="published", help="of the networks (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="pictures (default: %(default)s)")
    parser.add_argument("--canvas", type=int, default=640, help="pixels (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="of ours (default: bf16 if the device has it)")
    parser.add_argument("--processor_time", action="store_true", help="of all threads, for busy machines")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.processor_time else time.perf_counter
    half = None if options.precision is None else options.precision == "bf16"
    figures = measure(options.repeats, options.batch, options.canvas, options.size, half, clock)
    report(figures, options.json)


if __name__ == "__main__":
    main()
