"""A checkpoint ready to answer: model and processor loaded together, one picture at a time.

What the command line, the demo and the web page share. For code of your own, `pipeline("referring-expression")` does
the same with batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from transformers.feature_extraction_utils import BatchFeature

from ..geometry.requested_masks import are_requested
from ..hub.bundled import bundled_checkpoint
from ..hub.opening import opening
from ..images.reading import PictureSource, load_picture
from ..modeling_pbrec import PbrecForReferringExpression, PbrecOutput
from ..processing_pbrec import PbrecProcessor
from ..selection.answers import answers
from ..selection.calibration import limits_of
from ..selection.groups import Group
from ..selection.referents import Referents
from .devices import require_device
from .folding import prepare_to_answer
from .looking import ByTorch, looking
from .runtimes import require_runtime


@dataclass
class Grounded:
    """
    Attributes:
        image: the upright original.
        answers: one dict per expression, see `PbrecProcessor.post_process_referring_expression`.
        inputs, outputs: what the model got and gave.
        groups: the proposals behind the answers, see `PbrecProcessor.rank`.
        referents: the answers on the canvas, see `PbrecProcessor.select`.
    """

    image: Image.Image
    answers: list[dict[str, Any]]
    inputs: Mapping[str, Any]
    outputs: PbrecOutput
    groups: dict[str, Group]
    referents: Referents


class Grounder:
    """
    Args:
        model: folder or Hub id of a checkpoint with its processor and detectors; default: the bundled one.
        device: where to run; with a runtime other than torch, the CPU.
        runtime: what computes the networks: "torch", "onnx" or "openvino". Their graphs are written when a checkpoint
            is first used with one, which takes a minute or two, and kept in the cache.
        precision: "fp32"; "bf16" (torch, openvino); or "int8" (onnx, openvino), see `inference/quantization.py`.
        graphs: folder of the graphs instead of the cache, such as `pbrec-hf export` writes.
        compile: whether `torch.compile` makes code of the networks, which takes minutes at the first answer; with the
            runtime torch alone. See `inference/compiling.py`.

    Raises:
        OSError: no such checkpoint, or a damaged one; in one line that names the file.
        ValueError: no such device, runtime or precision, nothing to compile, or a checkpoint whose files do not fit
            together.
        ImportError: the runtime is not installed.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        device: str = "cpu",
        runtime: str = "torch",
        precision: str = "fp32",
        graphs: str | Path | None = None,
        compile: bool = False,
        **hub: Any,
    ):
        require_runtime(runtime, precision, device, compile)
        require_device(device)
        source = str(model or bundled_checkpoint())
        with opening(source) as options:
            hub = {**options, **hub}
            self.model = PbrecForReferringExpression.from_pretrained(source, **hub).to(device).eval()
            self.processor = PbrecProcessor.from_pretrained(source, **hub).to(device)
        prepare_to_answer(self.model, self.processor)
        look = looking(self.model, self.processor, runtime, precision, graphs, compile)
        self._graphs = None if runtime == "torch" else look

    def __call__(
        self,
        image: PictureSource,
        expressions: list[str],
        top_k: int | None = None,
        threshold: float | str | None = None,
        return_masks: bool = True,
        referents: str = "one",
    ) -> Grounded:
        """
        Answers for one picture and its expressions.

        Args:
            image: in any form `load_picture` takes.
            expressions: what to find.
            top_k, threshold, return_masks, referents: see `PbrecProcessor.post_process_referring_expression`.
        """
        found = self.on_canvas(image, expressions, top_k, threshold, return_masks, referents)
        shown = answers(found.referents, found.inputs, self.processor.settings.mask_threshold, return_masks)
        return replace(found, answers=shown)

    def on_canvas(
        self,
        image: PictureSource,
        expressions: list[str],
        top_k: int | None = None,
        threshold: float | str | None = None,
        make_masks: bool = True,
        referents: str = "one",
    ) -> Grounded:
        """The same without `answers` in pixels, which `each_answer` of `selection/answers.py` gives one by one."""
        limits_of(threshold, referents, self.processor.calibration)  # before anything takes time
        picture = load_picture(image)
        inputs = self.processor(picture, expressions, return_proposals=False)
        outputs, groups, found = self.ask(inputs, top_k, threshold, make_masks, referents)
        return Grounded(picture, [], inputs, outputs, groups, found)

    def ask(
        self,
        inputs: BatchFeature,
        top_k: int | None = None,
        threshold: float | str | None = None,
        make_masks: bool = True,
        referents: str = "one",
    ) -> tuple[PbrecOutput, dict[str, Group], Referents]:
        """
        What the networks make of pictures and expressions: `outputs`, `groups` and `referents` of [`Grounded`].

        Args:
            inputs: what the processor returned, without proposals, for one picture, or `join_batches` for several;
                the proposals are added.
            top_k, threshold, make_masks, referents: as of `on_canvas`.
        """
        outputs = (self._graphs or ByTorch(self.model, self.processor))(inputs)
        groups = self.processor.rank(outputs, inputs, top_k, make_masks and referents == "one")
        # Masks on the canvas are cheap beside those in pixels, and may be what boxes are made of; unless a network has
        # to make them.
        made = make_masks or not are_requested(inputs.get("mask_proposals"))
        return outputs, groups, self.processor.select(groups, inputs, threshold, referents, made)


__all__ = ["Grounded", "Grounder"]
