"""A checkpoint put together: the model and tokenizer of one, the detectors of others, carried or named."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..detectors.references import DetectorReference
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .opening import opening
from .writing import replaced_folder


def assemble(
    model: str,
    destination: str | Path,
    box_detector: str | None = None,
    mask_detector: str | None = None,
    carry: bool = False,
    trust_remote_code: bool = False,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, str]:
    """
    Write a checkpoint with other detectors.

    Args:
        model: folder or Hub id of a checkpoint with a processor.
        destination: a folder that does not exist yet, or is empty.
        box_detector, mask_detector: folders or Hub ids (`id@revision`) of detectors, or of networks of transformers
            that detect; None = the checkpoint's own. A detector of the Hub is named in `processor_config.json`, one
            in a folder is copied.
        carry: copy those of the Hub, too.
        trust_remote_code: run the code of a detector's repository.
        settings: by kind, "boxes" or "masks", of a detector that is made around a network, such as `{"top_n": 20}`.

    Returns:
        By kind, what became of the detector.

    Raises:
        FileExistsError: `destination` holds something.
        OSError, ValueError: a checkpoint or detector cannot be loaded, or `destination` cannot be written.
    """
    destination = Path(destination)
    if destination.exists() and (destination.is_file() or any(destination.iterdir())):
        raise FileExistsError(f"{destination} is not empty: name a new folder.")
    given = {"boxes": box_detector, "masks": mask_detector}
    with opening(model) as options:
        network = PbrecForReferringExpression.from_pretrained(model, **options)
        processor = PbrecProcessor.from_pretrained(model, **options)
    done = dict.fromkeys(processor.detectors, "the checkpoint's own")
    for kind, source in given.items():
        if source is None:
            continue
        reference = replace(DetectorReference.parse(source), settings=dict((settings or {}).get(kind, {})))
        with opening(reference.repo_id) as options:
            detector = reference.load(options | {"trust_remote_code": True} if trust_remote_code else options)
        named = not carry and not Path(source).is_dir()
        processor.replace_detector(kind, detector, reference if named else None)
        done[kind] = f"{'named' if named else 'copied'} from {source}"
    with replaced_folder(destination) as folder:
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
    return done


__all__ = ["assemble"]
