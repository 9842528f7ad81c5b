"""Rows of inference: ResNet-101 + BERT-base and the detectors' ResNet-50 over canvases that the device already holds.

One expression per picture. The networks run in bf16 with folded norms, eagerly, captured as a CUDA graph, or compiled;
what selection and answers take is told beside them. The row from a photograph file to its box has everything in it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertTokenizer

from pbrec_hf import (
    FcosDetector,
    PbrecImageProcessor,
    PbrecProcessor,
    Proposals,
    SoloDetector,
    optimize_for_inference,
)
from pbrec_hf.detectors.fcos import FcosConfig
from pbrec_hf.detectors.solo import SoloConfig

from .full_size import EXPRESSIONS, WORDS, photograph
from .gpu_timing import Bench, operations_of
from .train_step import SIZES, new_model

_TENSORS = ("pixel_values", "pixel_mask", "input_ids", "attention_mask", "image_index")
_STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Networks:
    """
    The comprehension stage, FCOS at P5 and, with `masks`, SOLO at P4, of random weights, ready to answer.

    `run` asks them about a batch; `answers` makes answers of what they gave.
    """

    def __init__(self, bench: Bench, masks: bool = False):
        self.bench = bench
        model = new_model(bench.size, bench.canvas, "sdpa").eval()
        detectors: dict[str, Any] = {"box_detector": FcosDetector(FcosConfig(depth=18 if bench.tiny else 50))}
        if masks:
            shape = SIZES["small"]["backbone"] if bench.tiny else {"depths": [3, 4, 6, 3]}
            backbone = {"model_type": "resnet", **shape, "out_features": _STAGES}
            detectors["mask_detector"] = SoloDetector(SoloConfig(backbone_config=backbone))
        self.model = self._ready(model)
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)})
        image_processor = PbrecImageProcessor(size={"longest_edge": bench.canvas})
        self.processor = PbrecProcessor(
            image_processor, tokenizer, **{name: self._ready(network) for name, network in detectors.items()}
        )

    def _ready(self, network: Any) -> Any:
        return optimize_for_inference(network.eval()).to(self.bench.device, torch.bfloat16)

    def inputs(self, batch: int) -> dict[str, Any]:
        """`batch` photographs with an expression each, on the device."""
        expressions = [EXPRESSIONS[number % len(EXPRESSIONS)] for number in range(batch)]
        inputs = self.processor([photograph()] * batch, expressions, return_proposals=False).to(self.bench.device)
        canvases = inputs["pixel_values"].to(torch.bfloat16, memory_format=torch.channels_last)
        return {**inputs, "pixel_values": canvases}

    def run(self, tensors: dict[str, Tensor]) -> tuple[Any, dict[str, Proposals]]:
        """Outputs of the model, and the detectors' proposals."""
        return self.model(**tensors), self.processor.propose(tensors["pixel_values"], tensors["pixel_mask"])

    def answers(self, outputs: Any, inputs: dict[str, Any], proposals: dict[str, Proposals]) -> list[dict[str, Any]]:
        return self.processor.post_process_referring_expression(outputs, {**inputs, **proposals})


@torch.no_grad()
def forward_pass(networks: Networks, batch: int, how: str) -> dict[str, Any]:
    """A row: `batch` pictures with one expression each, `how` = "eager", "CUDA graph" or "compile"."""
    bench = networks.bench
    torch.backends.cudnn.benchmark = True  # the canvas has always one size
    try:
        inputs = networks.inputs(batch)
        tensors = {name: inputs[name] for name in _TENSORS}
        operations = operations_of(lambda: networks.run(tensors))
        figures = bench.figures(bench.seconds(_prepared(networks, tensors, how)), batch, operations)
        return figures | _selection(networks, inputs, tensors)
    finally:
        torch.backends.cudnn.benchmark = False


def _selection(networks: Networks, inputs: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What answers take beyond the networks. Should they fail, the figures of the networks stand."""
    try:
        outputs, proposals = networks.run(tensors)
        seconds = networks.bench.seconds(lambda: networks.answers(outputs, inputs, proposals))
    except Exception as error:
        return {"note": f"selection and answers FAILED: {type(error).__name__}: {error}"}
    return {"selection ms": seconds * 1000, "note": f"selection and answers {seconds * 1000:.1f} ms more"}


def _prepared(networks: Networks, tensors: dict[str, Tensor], how: str) -> Callable[[], object]:
    def run() -> object:
        return networks.run(tensors)

    if how == "CUDA graph":
        return _captured(run, networks.bench)
    if how == "compile":
        # The self-test on a CPU traces, but does not wait for a compiler.
        settings = {"mode": "reduce-overhead"} if networks.bench.on_gpu else {"backend": "eager"}
        return torch.compile(run, **settings)
    return run


def _captured(run: Callable[[], object], bench: Bench) -> Callable[[], object]:
    """`run` as a CUDA graph, which has no cost of launching; on a CPU, `run`."""
    if not bench.on_gpu:
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run()

    def replay() -> object:
        graph.replay()
        return results  # the graph writes into these

    return replay


@torch.inference_mode()
def end_to_end(bench: Bench) -> dict[str, Any]:
    """A row: reading of a photograph file, canvas, networks (eager), selection and box in original pixels."""
    networks = Networks(bench)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "photograph.jpg")
        photograph().save(path, quality=90)

        def read() -> Any:
            return networks.processor(path, EXPRESSIONS[:1], return_proposals=False)

        def answer() -> object:
            inputs = read().to(bench.device)
            proposals = networks.processor.propose(inputs["pixel_values"], inputs["pixel_mask"])
            return networks.answers(networks.model(**inputs), inputs, proposals)

        seconds, reading = bench.seconds(answer), bench.seconds(read)
    return {
        "ms": seconds * 1000,
        "expressions per second": 1 / seconds,
        "memory": bench.memory(),
        "reading ms": reading * 1000,
        "note": f"of which file to canvas, on the processor, {reading * 1000:.1f} ms",
    }
