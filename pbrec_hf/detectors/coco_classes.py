"""The names of COCO's 80 object categories in the order of their ids, as detectors number them from 0.

They are torchvision's own list without its place holders; nothing is downloaded.
"""

from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

# torchvision numbers its 91 outputs by COCO's category ids, which have gaps: index 0 and the gaps are place holders.
TORCHVISION_COCO_CLASSES: tuple[str, ...] = tuple(FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
COCO_CLASSES: tuple[str, ...] = tuple(
    name for name in TORCHVISION_COCO_CLASSES if name not in ("__background__", "N/A")
)

__all__ = ["COCO_CLASSES", "TORCHVISION_COCO_CLASSES"]
