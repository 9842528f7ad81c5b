"""Frames of a video with the answers drawn on them, for `supervision.process_video`.

Needs `pip install 'pbrec_hf[supervision]'`. Each frame is asked anew; nothing is tracked.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import supervision

    from ..pipeline_pbrec import ReferringExpressionPipeline

Frame = NDArray[np.uint8]


class Annotator:
    """
    Called with a frame, it returns the frame with boxes, masks and expressions.

    Args:
        pipe: `pipeline("referring-expression")`.
        expressions: what to find in every frame.
        masks: whether masks are drawn.
        ask: further arguments of the pipeline, such as `referents="any"` or `threshold=0.4`.

    Raises:
        ImportError: without the extra `supervision`.
        ValueError: no expression.
    """

    def __init__(
        self, pipe: "ReferringExpressionPipeline", expressions: Sequence[str], masks: bool = True, **ask: Any
    ):
        try:
            import supervision
        except ImportError as error:
            raise ImportError("Frames are drawn by supervision: pip install 'pbrec_hf[supervision]'.") from error
        if isinstance(expressions, str) or not expressions:
            raise ValueError(f"expressions={expressions!r}: give a list of one or more.")
        self.pipe, self.expressions, self.masks, self.ask = pipe, list(expressions), masks, ask
        # One colour for each expression, in every frame.
        by_class: dict[str, Any] = {"color_lookup": supervision.ColorLookup.CLASS}
        self._drawn: list[Any] = [supervision.MaskAnnotator(**by_class)] if masks else []
        self._drawn.append(supervision.BoxAnnotator(**by_class))
        self._labels = supervision.LabelAnnotator(**by_class)

    def detections(self, frame: Frame) -> "supervision.Detections":
        """
        The answers of a frame.

        Args:
            frame: uint8 (H, W, 3), BGR.

        Returns:
            `xyxy`, `confidence`, `class_id` (the number of the expression), `data["class_name"]` (the expression) and
            `mask`, bool (n, H, W), if masks are wanted and the checkpoint has them.
        """
        import supervision

        answers = self.pipe(
            np.ascontiguousarray(frame[..., ::-1]), self.expressions, return_masks=self.masks, **self.ask
        )
        found = [(number, answer) for number, listed in enumerate(answers) for answer in listed]
        if not found:
            return supervision.Detections.empty()
        corners = ("xmin", "ymin", "xmax", "ymax")
        masks = None
        if self.masks and all(answer["mask_source"] != "box" for _, answer in found):
            masks = np.stack([np.asarray(answer["mask"]) > 0 for _, answer in found])
        return supervision.Detections(
            xyxy=np.array([[answer["box"][corner] for corner in corners] for _, answer in found], dtype=np.float32),
            mask=masks,
            confidence=np.array([answer["score"] for _, answer in found], dtype=np.float32),
            class_id=np.array([number for number, _ in found]),
            data={"class_name": np.array([answer["label"] for _, answer in found])},
        )

    def __call__(self, frame: Frame, number: int = 0) -> Frame:
        """
        The frame with its answers.

        Args:
            frame: uint8 (H, W, 3), BGR.
            number: of the frame; not used.
        """
        found = self.detections(frame)
        drawn = frame.copy()
        for annotator in self._drawn:
            drawn = annotator.annotate(drawn, found)
        if not len(found):
            return drawn
        scores = np.asarray(found.confidence)
        labels = [f"{name} {score:.2f}" for name, score in zip(found.data["class_name"], scores, strict=True)]
        annotated: Frame = self._labels.annotate(drawn, found, labels=labels)
        return annotated


__all__ = ["Annotator"]
