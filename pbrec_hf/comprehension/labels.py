"""Center-ness labels of a batch, where the model makes them itself: at the points of its backbone, from boxes.

For points in the middle of their cells the data can give the same labels (`targets.py`). Knows nothing of pixels.
"""

from torch import Tensor

from ..configuration_pbrec import PbrecConfig
from ..geometry.image_index import expression_of_each
from .targets import centerness_at_points, centerness_targets, merge_centerness


def center_targets(
    boxes: Tensor, referent_index: Tensor | None, points: Tensor | None, index: Tensor, config: PbrecConfig
) -> Tensor:
    """
    Center-ness labels (E, P) at the points of the images; see `merge_centerness`.

    Args:
        boxes: (R, 4) XYXY in canvas pixels.
        referent_index: (R,), the expression of each box; None = one box per expression.
        points: (I, P, 2) XY in canvas pixels, where those of the images stand; None = the centres of the cells.
        index: (E,), the image of each expression.
        config: of the model; "released_code" is only defined for the centres of cells.
    """
    owners = expression_of_each(referent_index, boxes, len(index)).to(boxes.device)
    style = config.target_styles["grounding"]
    # CODEPATH: "paper" in every published recipe; "released_code" to train as the authors' loader does.
    if points is None or style == "released_code":
        targets = centerness_targets(boxes, config.image_size, config.stride, style)[0]
    else:
        chosen = points[index.to(points.device)[owners.to(points.device)]]
        targets = centerness_at_points(boxes.to(points.device), chosen, config.stride, style)
    return merge_centerness(targets, owners.to(targets.device), len(index))


__all__ = ["center_targets"]
