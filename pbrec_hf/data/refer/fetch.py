"""Fetches one large file from a list of mirrors, resuming where an earlier try broke off.

What has arrived is in `<name>.part` until it is complete and its digest is right; only then does the file get its
name. Knows nothing of archives and data sets.
"""

import errno
import hashlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]  # name of the file, bytes there, bytes in all if known
_CHUNK = 2**20
_SAFE = "/:?&=%+,;@~"
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32}")


def fetch(
    urls: Sequence[str],
    path: str | Path,
    *,
    size: int | None = None,
    digest: str | None = None,
    attempts: int = 5,
    pause: float = 1.0,
    timeout: float = 60.0,
    progress: Progress | None = None,
) -> None:
    """
    Bring the file to `path`, unless it is there already with the right digest.

    Args:
        urls: http(s) addresses of the same file, tried in order.
        path: of the file; its folder must exist.
        size: expected bytes; a mirror that offers another number is passed over.
        digest: expected content, "sha256:..." or "md5:...".
        attempts: tries in a row without a new byte before a mirror is given up.
        pause: seconds before the second such try, doubled before each further one.
        timeout: seconds without any data.
        progress: called after every chunk.

    Raises:
        ConnectionError: no mirror delivered the file; the message lists every mirror's failure.
        OSError: not enough disk space (`errno.ENOSPC`).
        ValueError: an address is not http(s), or the digest is neither SHA-256 nor MD5.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    for url in urls:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url} is neither http nor https: correct the address.")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no digest: write sha256: and 64 hexadecimal digits, or md5: and 32.")
    if path.exists() and _digest_is(path, digest):
        return
    failures = []
    for url in urls:
        resumes = part.exists()
        try:
            _fetch_from(url, part, size, attempts, pause, timeout, progress)
            if resumes and not _digest_is(part, digest):  # what was there may have been the beginning of another file
                part.unlink()
                _fetch_from(url, part, size, attempts, pause, timeout, progress)
            if not _digest_is(part, digest):
                part.unlink()
                raise ConnectionError(f"delivered a file whose digest is not {digest}")
            os.replace(part, path)
            return
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            failures.append(f"  {url}: {error}")
            logger.info("%s failed: %s", url, error)
            if digest is None:  # without a digest two mirrors may hold different bytes
                part.unlink(missing_ok=True)
    raise ConnectionError(
        f"{path.name} could not be fetched:\n" + "\n".join(failures) + f"\nTry again later, or put the file at {path}."
    )


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """
    Check that the disk of `folder` has `needed` bytes free for `what`.

    Raises:
        OSError: it does not (`errno.ENOSPC`).
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"{what} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free: make room"
        raise OSError(errno.ENOSPC, message, str(folder))


def _fetch_from(
    url: str, part: Path, size: int | None, attempts: int, pause: float, timeout: float, progress: Progress | None
) -> None:
    failures = 0
    last: OSError | http.client.HTTPException
    while True:
        before = _size(part)
        if size is not None and before == size:
            return
        try:
            return _continue(url, part, size, timeout, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part reaches to the end of the file, or beyond it
                total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
                if total and int(total[1]) == before:
                    return
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise
            last = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, _WrongSize) or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            last = error
        failures = 0 if _size(part) > before else failures + 1
        if failures >= attempts:
            raise last
        time.sleep(pause * 2**failures if failures else 0)


class _WrongSize(ConnectionError):
    """The mirror holds something else: trying it again is no use."""


def _continue(url: str, part: Path, size: int | None, timeout: float, progress: Progress | None) -> None:
    """One request for what is missing of `part`, appended to it; raises if the connection ends early."""
    start = _size(part)
    headers = {"User-Agent": "pbrec_hf", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(quote(url, safe=_SAFE), headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        continues = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if continues else 0  # a server without ranges sends the whole file again
        length = response.headers.get("Content-Length")
        total = size if length is None else start + int(length)
        if size is not None and total != size:
            raise _WrongSize(f"offers {total} bytes instead of {size}")
        if total is not None:
            require_space(part.parent, total - start, part.name)
        arrived = start
        with open(part, "ab" if start else "wb") as file:
            while chunk := response.read(_CHUNK):
                arrived += len(chunk)
                if size is not None and arrived > size:
                    raise _WrongSize(f"sends more than {size} bytes")
                file.write(chunk)
                if progress:
                    progress(part.stem, arrived, total)
    if total is not None and arrived != total:
        raise ConnectionError(f"broke off after {arrived} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest_is(path: Path, digest: str | None) -> bool:
    if digest is None:
        return True
    algorithm, _, expected = digest.partition(":")
    found = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest() == expected.lower()


__all__ = ["Progress", "fetch", "require_space"]
