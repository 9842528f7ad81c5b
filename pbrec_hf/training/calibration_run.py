"""A checkpoint calibrated: its answers to a set, a calibration fitted to them, and both written into its folder.

Beside the fit stands what it is worth: each half of the pictures scored with the calibration of the other half. Works
in any number of processes that a launcher started; prints nothing but progress bars.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
from accelerate import Accelerator
from huggingface_hub import snapshot_download

from ..hub.opening import opening
from ..hub.writing import replaced_file, replaced_folder
from ..inference.folding import prepare_to_answer
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from ..selection.calibration import Calibration
from .calibration import calibrated, fit_calibration
from .evaluation import EVERYTHING, predict_in_ways
from .predictions import Prediction, has_absent
from .proposal_cache import filled_caches
from .run import require_joined
from .scores import Scores, score

_CONFIG = "processor_config.json"


class Calibrated(NamedTuple):
    """
    Attributes:
        folder: of the calibrated checkpoint.
        calibration: what was written.
        scores: by way of asking ("one", "any"), each half of the pictures scored with the map of the other half;
            empty where there is only one picture.
    """

    folder: Path
    calibration: Calibration
    scores: dict[str, Scores]


def calibrate_checkpoint(
    checkpoint: str,
    rows: datasets.Dataset,
    fitted_on: str,
    out: Path | None = None,
    *,
    without_absent: bool = False,
    proposals: str | None = None,
    batch_size: int | None = None,
    num_workers: int = 0,
    mixed_precision: str = "no",
    cpu: bool = False,
) -> Calibrated | None:
    """
    Fit a calibration to the answers of a checkpoint, and write it into `processor_config.json`.

    Args:
        checkpoint: folder or Hub id.
        rows: held-out ones of the image view, images not decoded; single, plural and absent expressions.
        fitted_on: what they are, in words.
        out: a new folder for a calibrated copy; None = into the folder of the checkpoint itself.
        without_absent: accept rows without absent expressions, and calibrate what can be (`fit_calibration`).
        proposals, batch_size, num_workers, mixed_precision, cpu: as for `evaluate_checkpoint`.

    Returns:
        What was written; None in all processes but the first.

    Raises:
        FileExistsError: `out` holds something.
        OSError, ValueError: each says what to do, such as for rows without absent expressions.
    """
    require_place(checkpoint, out)
    if not without_absent and not has_absent(rows):
        raise ValueError(
            f"{fitted_on} has no absent expressions, so nothing shows when there is no referent: give rows with "
            "no_target: true (`pbrec-hf scenes --absent 5` writes some), or --without_absent to calibrate what can be "
            "without them."
        )
    accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision)
    require_joined(accelerator)
    with opening(checkpoint) as found:
        model = PbrecForReferringExpression.from_pretrained(checkpoint, dtype="float32", **found)
        processor = PbrecProcessor.from_pretrained(checkpoint, **found)
    model.to(accelerator.device)
    batch_size = batch_size or (1 if accelerator.device.type == "cpu" else 8)
    caches = filled_caches(proposals, processor) if proposals else None
    prepare_to_answer(model.eval(), processor)  # after the caches, which know a detector by its weights
    with accelerator.autocast():
        one, every = predict_in_ways(
            model, processor, rows, EVERYTHING, accelerator, batch_size,
            caches=caches, num_workers=num_workers, oracles=False, progress=True,
        )  # fmt: skip
    if not accelerator.is_main_process:
        return None
    calibration = fit_calibration(one, every, rows, fitted_on)
    scores = cross_measured(one, every, rows) if len(rows) > 1 else {}
    return Calibrated(_write(checkpoint, calibration, out), calibration, scores)


def require_place(checkpoint: str, out: Path | None) -> None:
    """
    Check, before anything slow, that the calibration can be written.

    Raises:
        FileExistsError: `out` holds something.
        ValueError: there is no folder to write to.
    """
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty: name a new folder.")
    if out is None and not Path(checkpoint, _CONFIG).is_file():
        raise ValueError(f"{checkpoint} is no folder with a {_CONFIG} to write into: give --out, a new folder.")


def cross_measured(
    one: Sequence[Prediction], every: Sequence[Prediction], rows: datasets.Dataset
) -> dict[str, Scores]:
    """
    The scores of both ways of asking, each half of the pictures with the calibration of the other half.

    Args:
        one, every: as for `fit_calibration`.
        rows: of both, image view, at least two pictures.
    """
    halves = [list(range(first, len(rows), 2)) for first in (0, 1)]
    measured: list[list[Prediction]] = [[], []]
    for mine, others in (halves, halves[::-1]):
        fitted = fit_calibration(_some(one, others), _some(every, others), rows.select(others), "half of the pictures")
        parts = calibrated(_of(one, mine), _of(every, mine), fitted)
        for known, more in zip(measured, parts, strict=True):
            known += more
    return {way.referents: score(known, rows) for way, known in zip(EVERYTHING, measured, strict=True)}


def _of(predictions: Sequence[Prediction], pictures: Sequence[int]) -> list[Prediction]:
    kept = set(pictures)
    return [prediction for prediction in predictions if prediction["row"] in kept]


def _some(predictions: Sequence[Prediction], pictures: Sequence[int]) -> list[Prediction]:
    """Those of some pictures, numbered as in a selection of these pictures alone."""
    place = {picture: number for number, picture in enumerate(pictures)}
    return [prediction | {"row": place[prediction["row"]]} for prediction in _of(predictions, pictures)]


def _write(checkpoint: str, calibration: Calibration, out: Path | None) -> Path:
    if out is None:
        _add(Path(checkpoint), calibration)
        return Path(checkpoint)
    source = checkpoint if Path(checkpoint).is_dir() else snapshot_download(checkpoint)
    with replaced_folder(out) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        _add(partial, calibration)
    return out


def _add(folder: Path, calibration: Calibration) -> None:
    path = folder / _CONFIG
    values = json.loads(path.read_text(encoding="utf-8")) | {"calibration": calibration.to_dict()}
    with replaced_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


__all__ = ["Calibrated", "calibrate_checkpoint", "cross_measured", "require_place"]
