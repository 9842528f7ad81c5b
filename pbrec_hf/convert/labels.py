"""The classes of a converted detector, as far as their number tells them."""

from typing import Any

from ..detectors.coco_classes import COCO_CLASSES


def labels_of(classes: int) -> dict[str, Any]:
    """Fields of a config: COCO's names for COCO's number of classes, else the number alone."""
    return {"id2label": dict(enumerate(COCO_CLASSES))} if classes == len(COCO_CLASSES) else {"num_labels": classes}
