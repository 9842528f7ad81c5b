"""Undone mends of what people hand in: pictures, addresses, expressions, tables, pickles, archives."""

import os
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import PIL.Image

from .base import Undo, replaced

_ORIENTATION = 0x0112


def _require_public(url: str) -> None:
    from pbrec_hf.images import fetching

    parts = urlsplit(url)
    fetching._Limits(url, None).addresses(str(parts.hostname), parts.port or 80)


def _fetched_whole() -> tuple[Any, str, Any]:
    """Addresses are fetched by the Hub's client: as much as the server sends, unpacked, and unless offline."""

    from pbrec_hf.images import sources

    def fetch(url: str, timeout: float | None = None) -> bytes:
        from huggingface_hub import get_session

        _require_public(url)
        try:
            response = get_session().get(url, timeout=timeout, follow_redirects=True)
            response.raise_for_status()
        except Exception as error:
            raise ValueError(f"{url} could not be fetched ({error}): check it.") from error
        return bytes(response.content)

    return sources, "fetch", fetch


def _any_server() -> tuple[Any, str, Any]:
    from pbrec_hf.images import fetching

    return fetching, "is_public", lambda address: True


def _timeout_per_read() -> tuple[Any, str, Any]:
    """The limit of time is for every wait, not for all of it."""
    from pbrec_hf.images import sources

    def fetch(url: str, timeout: float | None = None) -> bytes:
        _require_public(url)
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response:
                return bytes(response.read(64 * 2**20))
        except (OSError, HTTPException, ValueError) as error:
            raise ValueError(f"{url} could not be fetched ({error}): check it.") from error

    return sources, "fetch", fetch


def _exif_only() -> tuple[Any, str, Any]:
    """The fast decoder heeds the tag of EXIF alone."""
    from pbrec_hf.images import reading

    def orientation(image: PIL.Image.Image) -> int:
        if image.format != "JPEG":
            return int(image.getexif().get(_ORIENTATION, 1))
        exif = PIL.Image.Exif()
        exif.load(image.info.get("exif") or b"")
        return int(exif.get(_ORIENTATION, 1))

    return reading, "_orientation", orientation


def _any_side() -> tuple[Any, str, Any]:
    from pbrec_hf.images import reading

    return reading, "LONGEST_SIDE", 2**31


def _whole_conversion() -> tuple[Any, str, Any]:
    from pbrec_hf.images import reading

    return reading, "_BAND", 2**40


def _pipes_are_read() -> tuple[Any, str, Any]:
    """Whatever exists is opened."""
    from pbrec_hf.images import sources

    real = sources._open_text

    def open_text(source: str, name: str, timeout: float | None) -> Any:
        return source if os.path.exists(source) else real(source, name, timeout)

    return sources, "_open_text", open_text


def _every_upload() -> tuple[Any, str, Any]:
    from pbrec_hf.app import serve

    return serve, "_gradio", _without_limit


def _without_limit() -> Any:
    """Gradio, whose pages take files of any size."""
    import gradio

    real = gradio.Blocks.launch

    def launch(self: Any, *args: Any, max_file_size: Any = None, **kwargs: Any) -> Any:
        return real(self, *args, **kwargs)

    if real.__name__ != "launch_without_limit":
        launch.__name__ = "launch_without_limit"
        gradio.Blocks.launch = launch
    return gradio


def _special_words() -> tuple[Any, str, Any]:
    """The collator's tokenizer takes what looks like a special token for one."""
    from transformers import PreTrainedTokenizerBase

    real = PreTrainedTokenizerBase.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("split_special_tokens", None)
        return real(self, *args, **kwargs)

    return PreTrainedTokenizerBase, "__call__", call


def _seen_by_strip() -> tuple[Any, str, Any]:
    from pbrec_hf.data import row_checks

    return row_checks, "_is_visible", lambda text: bool(text.strip())


def _any_number() -> tuple[Any, str, Any]:
    from pbrec_hf.data import row_checks

    return row_checks, "is_number", lambda value: isinstance(value, int | float)


def _any_box() -> tuple[Any, str, Any]:
    from pbrec_hf.data import own_data

    return own_data, "_require_pixels", lambda path, rows: None


def _batch_of_rows(name: str, value: int) -> Any:
    """A thousand rows of a Parquet file are in memory at once, however large their pictures are."""

    def replacement() -> tuple[Any, str, Any]:
        from pbrec_hf.data import tables

        return tables, name, value

    return replacement


def _raw_records() -> tuple[Any, str, Any]:
    """COCO annotations are read without a look at what they have."""
    from pbrec_hf.data import coco

    real = coco._annotation

    def annotation(record: Mapping[str, Any]) -> Any:
        record["image_id"], record["bbox"]
        return real(record)

    return coco, "_CONVERTERS", {**coco._CONVERTERS, "annotation": annotation}


def _one_form() -> tuple[Any, str, Any]:
    """An id in a row that is text of digits is a number, one in the file stays as it is."""
    from pbrec_hf.data import coco_rows

    return coco_rows, "_forms", lambda value: [int(value)] if str(value).isdecimal() else [value]


def _claims() -> tuple[Any, str, Any]:
    from pbrec_hf.data.refer import folder

    return folder, "_MOST_CLAIMED", 10**12


def _long_messages() -> tuple[Any, str, Any]:
    from pbrec_hf.data import values

    return values, "shown", repr


def _targets_anywhere() -> tuple[Any, str, Any]:
    from pbrec_hf.data.refer import download

    return download, "leads_out", lambda name: False


def _raw_lzma() -> tuple[Any, str, Any]:
    from pbrec_hf.data.refer import unzip

    return unzip, "_DAMAGED", (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


UNDOS: dict[str, Undo] = {
    "D5 bytes and packing": replaced("urls", _fetched_whole),
    "D5 time": replaced("urls", _timeout_per_read),
    "D5 private servers": replaced("urls", _any_server),
    "D6 claims": replaced("pickles", _claims),
    "D6 messages": replaced("pickles", _long_messages),
    "D8 sides": replaced("pictures", _any_side, _whole_conversion),
    "D8 pipes": replaced("pictures", _pipes_are_read),
    "D8 uploads": replaced("web_page", _every_upload),
    "D12 invisible": replaced("own_data", _seen_by_strip),
    "D12 numbers": replaced("own_data", _any_number),
    "bbox_normalised": replaced("own_data", _any_box),
    "parquet_2gb": replaced("own_data", _batch_of_rows("_BATCH_ROWS", 1000), _batch_of_rows("_BATCH_BYTES", 2**60)),
    "D13 special tokens": replaced("expressions", _special_words),
    "D16 mirrors": replaced("archives", _targets_anywhere),
    "D16 lzma": replaced("archives", _raw_lzma),
    "xmp_orientation": replaced("pictures", _exif_only),
    "coco_no_bbox": replaced("own_data", _raw_records),
    "coco_string_ids": replaced("own_data", _one_form),
}
