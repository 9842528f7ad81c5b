"""A checkpoint that answers the expressions of a table, each way of answering kept in a file of predictions.

A file is named by a hash of everything that its answers depend on, so that an interrupted table goes on where it
stopped, several tables share answers, and a change of weights, detectors, data or settings answers anew. Works in any
number of processes that a launcher started.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ...hub.opening import opening
from ...inference.digests import file_sha256
from ...inference.folding import prepare_to_answer
from ...modeling_pbrec import PbrecForReferringExpression
from ...processing_pbrec import PbrecProcessor
from ...selection.settings import paper_selection
from ..build import add_detectors
from ..evaluation import Way, predict_in_ways
from ..origin import Origin, origin_of
from ..predictions import Prediction, read_predictions, write_predictions
from ..proposal_cache import detector_hash, filled_caches
from .sources import data_sha256, digest_of, network_sha256

# 12 proposals vote; boxes are ranked by center-ness × the detector's quality, masks by mass-ness alone.
PAPER_SELECTION = paper_selection()
BOXES = Way(threshold=0.0, masks=False, kinds=("boxes",), selection=PAPER_SELECTION)
MASKS = Way(threshold=0.0, kinds=("masks",), selection=PAPER_SELECTION | {"ranking": "score"})


@dataclass(frozen=True)
class Asking:
    """
    How a checkpoint is asked; see `training/evaluation.py`.

    Attributes:
        box_detector, mask_detector: folders or Hub ids, instead of the checkpoint's own.
        proposals: folder of caches, instead of running the detectors.
        batch_size: pictures per pass and process; None = 8, and 1 on a CPU.
        num_workers: loader processes per process.
        progress: show progress bars.
    """

    box_detector: str | None = None
    mask_detector: str | None = None
    proposals: str | None = None
    batch_size: int | None = None
    num_workers: int = 0
    progress: bool = True


class Answering:
    """
    Args:
        source: folder or Hub id of the checkpoint.
        accelerator: of the processes that share the pictures.
        folder: of the files of predictions.
        asking: how it is asked.

    Raises:
        OSError, ValueError: there is no such checkpoint, or it does not fit its detectors.
    """

    def __init__(self, source: str, accelerator: Accelerator, folder: Path, asking: Asking = Asking()):
        self.source, self.accelerator, self.folder, self.asking = source, accelerator, folder, asking
        with opening(source) as found:
            self.model = PbrecForReferringExpression.from_pretrained(source, dtype="float32", **found)
            processor = PbrecProcessor.from_pretrained(source, **found)
        self.model.to(accelerator.device)
        self.processor = add_detectors(processor, asking.box_detector, asking.mask_detector)
        self.caches = filled_caches(asking.proposals, self.processor) if asking.proposals else None
        self.sha256 = network_sha256(self.model, self.model.config)
        self.detectors = {
            kind: detector_hash(detector, self.processor.image_processor)
            for kind, detector in self.processor.held_detectors.items()
        }
        self.read = (self.processor.max_text_length, self.processor.known_words)
        prepare_to_answer(self.model.eval(), self.processor)  # after the hashes, which are of the weights as saved

    @property
    def origin(self) -> Origin | None:
        """What the checkpoint says of its training."""
        return origin_of(self.source)

    def about(self) -> dict[str, Any]:
        """Source and hashes of weights and detectors, and what training used."""
        origin = self.origin
        return {
            "source": self.source,
            "sha256": self.sha256,
            "detectors": {kind: {"sha256": digest} for kind, digest in self.detectors.items()},
            "training": None if origin is None else asdict(origin),
        }

    def answer(self, rows: datasets.Dataset, ways: Sequence[Way]) -> tuple[list[list[Prediction]], list[str]]:
        """
        Answers of each way, from files where they are known, and the SHA-256 of each file.

        Args:
            rows: of the image view, images not decoded.
            ways: how to answer; those that are not known yet share one pass over the pictures.

        Returns:
            Predictions and hashes by way; both empty in all processes but the first.

        Raises:
            ValueError: there are no proposals of a kind that a way needs.
        """
        self._require_kinds(ways)
        data = data_sha256(rows)
        paths = [self.folder / f"{self._key(way, data)}.jsonl" for way in ways]
        missing = [number for number, path in enumerate(paths) if not path.is_file()]
        missing = broadcast_object_list([missing])[0]  # of several processes, all do the same
        if missing:
            batch_size = self.asking.batch_size or (1 if self.accelerator.device.type == "cpu" else 8)
            with self.accelerator.autocast():
                found = predict_in_ways(
                    self.model,
                    self.processor,
                    rows,
                    [ways[number] for number in missing],
                    self.accelerator,
                    batch_size,
                    self.caches,
                    self.asking.num_workers,
                    oracles=False,
                    progress=self.asking.progress and self.accelerator.is_main_process,
                )
            if self.accelerator.is_main_process:
                for number, predictions in zip(missing, found, strict=True):
                    write_predictions(paths[number], predictions)
        if not self.accelerator.is_main_process:
            return [], []
        return [read_predictions(path) for path in paths], [file_sha256(path) for path in paths]

    def _key(self, way: Way, data: str) -> str:
        """A hash of everything that the answers depend on."""
        settings = asdict(self.processor.settings) | dict(way.selection)
        precision = self.accelerator.mixed_precision
        return digest_of(self.sha256, self.detectors, self.read, asdict(way), settings, data, precision)[:32]

    def _require_kinds(self, ways: Sequence[Way]) -> None:
        there = self.processor.held_detectors
        for kind, option in (("boxes", "box_detector"), ("masks", "mask_detector")):
            if kind not in there and any(kind in way.kinds for way in ways):
                raise ValueError(f"{self.source} has no detector that proposes {kind}: give --{option}.")


__all__ = ["BOXES", "MASKS", "PAPER_SELECTION", "Answering", "Asking"]
