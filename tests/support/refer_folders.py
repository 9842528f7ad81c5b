"""Writes folders of the REFER format for tests: real photographs and masks, generated references.

The pickles are as Python 2 wrote them (byte strings, protocol 0 or 2) or as Python 3 does.
"""

import io
import json
import pickle
import shutil
import struct
from pathlib import Path

from places import SCENES

from pbrec_hf.data.refer.generated import write_annotations


class Python2Pickler(pickle._Pickler):
    """Writes every string as Python 2 wrote its `str`: bytes, here of latin-1."""

    def save_str(self, text: str) -> None:
        data = text.encode("latin-1")
        if self.proto == 0:
            self.write(pickle.STRING + repr(data)[1:].encode("ascii") + b"\n")
        elif len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, str: save_str}


def pickled(value: object, protocol: int = 2, python: int = 2) -> bytes:
    if python == 3:
        return pickle.dumps(value, protocol)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def write_refer_folder(root: Path, key: str, protocol: int = 2, python: int = 2) -> tuple[Path, Path]:
    """A folder of the data set `key`, such as "refcoco/unc", with its photographs.

    Every object of ten photographs gets two expressions; the photographs go in turn to the published splits.

    Returns:
        refer_dir, image_dir: both inside `root`.
    """
    image_dir = root / "images"
    image_dir.mkdir(parents=True, exist_ok=True)
    instances = json.loads((SCENES / "instances.json").read_text())
    for image in instances["images"]:
        shutil.copy(SCENES / "images" / image["file_name"], image_dir)
    write_annotations(root, key, instances, lambda references: pickled(references, protocol, python))
    return root, image_dir
