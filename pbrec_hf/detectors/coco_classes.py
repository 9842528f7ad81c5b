"""The names of the 80 object categories of COCO in the order of their ids, indexed from 0 as in most detectors.

The list is torchvision's without its placeholders; nothing is downloaded.
"""

from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

# The 91 outputs of torchvision's models are indexed by COCO's category ids; index 0 and the gaps are placeholders.
TORCHVISION_COCO_CLASSES: tuple[str, ...] = tuple(FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
COCO_CLASSES: tuple[str, ...] = tuple(
    name for name in TORCHVISION_COCO_CLASSES if name not in ("__background__", "N/A")
)

__all__ = ["COCO_CLASSES", "TORCHVISION_COCO_CLASSES"]
