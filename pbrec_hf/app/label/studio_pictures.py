"""Where the picture of a Label Studio task is: addresses, files that Label Studio serves, and uploads to it.

A task comes over the network, so a bare path is never read. Files of this machine are read only below a folder that
was opened for it; Label Studio itself is asked only at the one address that was named.
"""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from ...images.fetching import MOST_BYTES
from ...images.sources import ADDRESSES

LOCAL_FILES = "/data/local-files/"
_TIMEOUT = 30.0


@dataclass
class StudioPictures:
    """
    Args:
        document_root: folder of the files that Label Studio serves (its `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`).
        url: of Label Studio, for uploads and files that are not below `document_root`.
        api_key: an access token of a user there.
    """

    document_root: Path | None = None
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def source(self, address: object) -> Any:
        """
        What `load_picture` takes.

        Raises:
            ValueError: no address, or one that this backend was not given access to; says how to give it.
            OSError: Label Studio cannot be asked.
        """
        if not isinstance(address, str) or not address:
            raise ValueError("The task has no picture.")
        if self.url and address.startswith(self.url.rstrip("/") + "/"):
            return self._fetched(address)
        if address.startswith((*ADDRESSES, "data:")):
            return address
        parts = urlsplit(address)
        if parts.path == LOCAL_FILES and self.document_root is not None:
            name = (parse_qs(parts.query).get("d") or [""])[0]
            root = self.document_root.resolve()
            path = (root / name.lstrip("/")).resolve()
            if not path.is_relative_to(root):
                raise ValueError(f"{address} leads out of the folder of local files.")
            return str(path)
        if not address.startswith("/data/"):
            raise ValueError(f"{address} is neither an address nor a file of Label Studio.")
        if self.url is None:
            way = "--document_root, or " if parts.path == LOCAL_FILES else ""
            raise ValueError(f"{address} lies in Label Studio: give {way}its address and a token (LABEL_STUDIO_URL, "
                             "LABEL_STUDIO_API_KEY).")  # fmt: skip
        return self._fetched(urljoin(self.url.rstrip("/") + "/", address.lstrip("/")))

    def _fetched(self, url: str) -> BytesIO:
        headers = {"User-Agent": "pbrec_hf", **self._authorization()}
        request = urllib.request.Request(url, headers=headers)
        opener = urllib.request.build_opener(_SameServer())
        try:
            with opener.open(request, timeout=_TIMEOUT) as response:
                content = response.read(MOST_BYTES + 1)
        except urllib.error.URLError as error:
            raise ValueError(f"{url} could not be fetched ({error}): check LABEL_STUDIO_URL and its token.") from error
        if len(content) > MOST_BYTES:
            raise ValueError(f"{url} gives more than {MOST_BYTES // 2**20} MiB.")
        file = BytesIO(content)
        file.name = url
        return file

    def _authorization(self) -> dict[str, str]:
        if not self.api_key:
            return {}
        if self.api_key.count(".") != 2:
            return {"Authorization": f"Token {self.api_key}"}
        # A personal token is only good for fetching another one, which is valid for some minutes.
        url = urljoin(f"{self.url}".rstrip("/") + "/", "api/token/refresh")
        body = json.dumps({"refresh": self.api_key}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                return {"Authorization": f"Bearer {json.load(response)['access']}"}
        except (urllib.error.URLError, ValueError, KeyError) as error:
            raise ValueError(
                f"Label Studio at {self.url} does not take the token ({error}): make a new one."
            ) from error


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows redirects within Label Studio's server alone, so that its token goes nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            raise urllib.error.URLError(f"it leads to another server, {urlsplit(newurl).netloc}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


__all__ = ["StudioPictures"]
