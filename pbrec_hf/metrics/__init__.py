"""Metrics of referring expression comprehension and segmentation as `evaluate.Metric`s, imported instead of
downloaded.

All count per sentence: an object with three expressions counts three times.
"""

from .generalized import GeneralizedRec, GeneralizedRes
from .rec_accuracy import RecAccuracy
from .res_iou import ResIoU

__all__ = ["GeneralizedRec", "GeneralizedRes", "RecAccuracy", "ResIoU"]
