"""Metrics of referring expression comprehension and segmentation: `evaluate.Metric`s that need no download.

All count sentences: an object with three expressions counts three times.
"""

from .generalized import GeneralizedRec, GeneralizedRes
from .rec_accuracy import RecAccuracy
from .res_iou import ResIoU

__all__ = ["GeneralizedRec", "GeneralizedRes", "RecAccuracy", "ResIoU"]
