"""Downloads from a server on loopback that breaks off, lies and lacks files; zip files that are not to be trusted."""

import errno
import hashlib
import http.server
import io
import re
import shutil
import threading
import zipfile
from collections import namedtuple
from importlib import resources

import pytest
import yaml
from refer_folders import write_refer_folder

from pbrec_hf.data.refer import fetch as fetch_module
from pbrec_hf.data.refer.download import download_refcoco
from pbrec_hf.data.refer.fetch import fetch
from pbrec_hf.data.refer.refcoco import CONFIGS, load_refcoco
from pbrec_hf.data.refer.unzip import unzip

CONTENT = bytes(range(256)) * 2000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
QUICK = {"attempts": 3, "pause": 0.001, "timeout": 5}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; a path that begins with "/breaks" is cut after 200,000 bytes of each answer, one with "/plain"
    knows no ranges, one with "/stalls" sends nothing after its headers. `log` has the path and range of every
    request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"file": CONTENT}
        self.log: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def ranges(self) -> list[str | None]:
        return [wanted for _, wanted in self.log]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.log.append((self.path, wanted))
        mode, _, name = self.path[1:].rpartition("/")
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and mode != "plain" else 0
        if start >= len(content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        limit = {"breaks": 200_000, "stalls": 0}.get(mode, len(content))
        self.wfile.write(content[start : start + limit])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_connection_that_breaks_off_is_resumed(server, tmp_path):
    seen = []
    path = tmp_path / "file"
    fetch([server.url("breaks/file")], path, progress=lambda *arguments: seen.append(arguments), **QUICK)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=200000-", "bytes=400000-"]
    assert seen[-1] == ("file", len(CONTENT), len(CONTENT))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_is_continued(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:123_456])
    fetch([server.url("file")], tmp_path / "file", size=len(CONTENT), digest=DIGEST, **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges() == ["bytes=123456-"]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_was_complete_is_only_verified(server, tmp_path, size):
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch([server.url("file")], tmp_path / "file", size=size, digest=DIGEST, **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    fetch([server.url("plain/file")], tmp_path / "file", digest=DIGEST, **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_beginning_is_found_by_the_digest_and_fetched_again(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    fetch([server.url("file")], tmp_path / "file", digest=DIGEST, **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000-", None]


def test_a_file_that_is_there_is_not_fetched(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    fetch([server.url("file")], tmp_path / "file", digest=DIGEST, **QUICK)
    assert server.log == []


def test_the_next_mirror_is_tried(server, tmp_path):
    server.files["shorter"] = CONTENT[:-1]
    server.files["other"] = b"x" + CONTENT[1:]
    paths = ["absent", "shorter", "other", "stalls/file", "file"]
    fetch([server.url(path) for path in paths], tmp_path / "file", size=len(CONTENT), digest=DIGEST, **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert {path for path, _ in server.log} == {f"/{path}" for path in paths}
    assert [path for path, _ in server.log].count("/absent") == 1


def test_without_a_digest_mirrors_are_not_mixed(server, tmp_path):
    server.files["end"] = CONTENT
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    fetch([server.url("absent"), server.url("file")], tmp_path / "file", **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_all_failures_are_listed_and_nothing_false_remains(server, tmp_path):
    server.files["other"] = b"x" + CONTENT[1:]
    with pytest.raises(ConnectionError) as caught:
        fetch([server.url("absent"), server.url("other")], tmp_path / "file", digest=DIGEST, **QUICK)
    assert re.search(r"absent.*404", str(caught.value))
    assert re.search(r"other.*digest", str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_sends_is_given_up(server, tmp_path):
    with pytest.raises(ConnectionError, match="broke off after 0 of"):
        fetch([server.url("stalls/file")], tmp_path / "file", **QUICK)
    assert len(server.log) == QUICK["attempts"]


def test_other_protocols_are_refused(tmp_path):
    with pytest.raises(ValueError, match="neither http nor https"):
        fetch(["file:///etc/passwd"], tmp_path / "file")


@pytest.mark.parametrize("digest", ["sha257:" + "0" * 64, "sha256:" + "0" * 63, "0" * 64, "md5:" + "g" * 32])
def test_a_digest_that_nothing_can_have_is_told_before_the_download(server, tmp_path, digest):
    with pytest.raises(ValueError, match="is no digest"):
        fetch([server.url("file")], tmp_path / "file", digest=digest, **QUICK)
    assert server.log == []


def test_a_digest_may_be_written_in_capitals(server, tmp_path):
    server.files["file"] = b"content"
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest().upper()
    fetch([server.url("file")], tmp_path / "file", digest=digest, **QUICK)
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_small_disk_is_noticed_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**6, 0, len(CONTENT) - 1)
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="needs") as caught:
        fetch([server.url("file"), server.url("file")], tmp_path / "file", **QUICK)
    assert caught.value.errno == errno.ENOSPC
    assert len(server.log) == 1
    assert list(tmp_path.iterdir()) == []


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = compression
            if name.startswith("link"):
                entry.external_attr = 0o120777 << 16
            file.writestr(entry, content)
    return stream.getvalue()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_wrapping_folder_goes(tmp_path, wrapped):
    prefix = "refcoco/" if wrapped else ""
    (tmp_path / "a.zip").write_bytes(zipped({f"{prefix}a.txt": b"a", f"{prefix}deep/b.txt": b"b"}))
    unzip(tmp_path / "a.zip", tmp_path / "refcoco")
    assert (tmp_path / "refcoco" / "deep" / "b.txt").read_bytes() == b"b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "refcoco"]


@pytest.mark.parametrize(
    "entries",
    [
        {"fine.txt": b"a", "../outside.txt": b"x"},
        {"deep/../../outside.txt": b"x"},
        {"/tmp/outside.txt": b"x"},
        {"..\\outside.txt": b"x"},
        {"C:\\outside.txt": b"x"},
        {"link": b"../outside.txt"},
        {"bomb": b"\0" * 3_000_000},
    ],
    ids=lambda entries: list(entries)[-1],
)
def test_bad_archives_leave_nothing_behind(tmp_path, entries):
    folder = tmp_path / "to"
    folder.mkdir()
    (folder / "bad.zip").write_bytes(zipped(entries))
    with pytest.raises(ValueError, match=r"bad\.zip was not unpacked"):
        unzip(folder / "bad.zip", folder / "refcoco")
    assert [path.name for path in folder.iterdir()] == ["bad.zip"]
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-30],
        lambda data: b"<html>",
        lambda data: b"PK" + data[2:60],
        lambda data: data[:35] + data[71:],
    ],
)
def test_damaged_archives_are_an_error(tmp_path, damage):
    (tmp_path / "bad.zip").write_bytes(damage(zipped({"a.txt": b"abc" * 50})))
    with pytest.raises(ValueError, match="was not unpacked"):
        unzip(tmp_path / "bad.zip", tmp_path / "refcoco")


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_entry_of_any_method_is_an_error(tmp_path, compression):
    content = bytes(range(256)) * 8
    whole = zipped({"a.txt": content}, compression)
    (tmp_path / "a.zip").write_bytes(whole)
    unzip(tmp_path / "a.zip", tmp_path / "refcoco")
    assert (tmp_path / "refcoco" / "a.txt").read_bytes() == content
    start, end = whole.index(b"a.txt") + 5, whole.index(b"PK\x01\x02")
    refused = 0
    for position in range(start, end, max(1, (end - start) // 40)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "bad.zip").write_bytes(damaged)
        try:
            unzip(tmp_path / "bad.zip", tmp_path / str(position) / "bad")
        except ValueError as error:
            assert "bad.zip was not unpacked" in str(error)
            refused += 1
        else:  # bits that stand for nothing
            assert (tmp_path / str(position) / "bad" / "a.txt").read_bytes() == content
    assert refused > 20


def test_a_declared_size_that_lies_is_an_error(tmp_path):
    data = bytearray(zipped({"a.txt": b"a" * 5000}))
    for position in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[position : position + 4] = (100).to_bytes(4, "little")
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(ValueError, match="was not unpacked"):
        unzip(tmp_path / "bad.zip", tmp_path / "refcoco")


def test_an_interrupted_unpacking_is_done_again(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"a"}))
    (tmp_path / "refcoco.unfinished").mkdir()
    (tmp_path / "refcoco.unfinished" / "half.txt").write_bytes(b"h")
    unzip(tmp_path / "a.zip", tmp_path / "refcoco")
    assert [path.name for path in (tmp_path / "refcoco").iterdir()] == ["a.txt"]


@pytest.fixture
def mirrors(server, tmp_path):
    """The published table, with every file made small and served by `server` from an address that breaks off."""
    table = yaml.safe_load(resources.files("pbrec_hf.data.refer").joinpath("mirrors.yaml").read_text())
    source = tmp_path / "source"
    write_refer_folder(source, "refcoco/unc")
    write_refer_folder(source, "grefcoco/unc")
    served = {
        "refcoco.zip": zip_of(source, "refcoco"),
        "train2014.zip": zip_of(source, "images", wrap="train2014"),
        "grefs(unc).json": (source / "grefcoco" / "grefs(unc).json").read_bytes(),
        "grefcoco-instances.json": (source / "grefcoco" / "instances.json").read_bytes(),
    }
    for number, (name, content) in enumerate(served.items()):
        server.files[str(number)] = content
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        urls = [server.url(f"absent{number}"), server.url(f"breaks/{number}")]
        table["files"][name].update(urls=urls, bytes=len(content), digest=digest)
    path = tmp_path / "mirrors.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def zip_of(root, folder, wrap=None):
    paths = [path for path in (root / folder).rglob("*") if path.is_file()]
    return zipped({f"{wrap or folder}/{path.name}": path.read_bytes() for path in paths}, zipfile.ZIP_STORED)


@pytest.mark.parametrize("name", ["refcoco", "grefcoco"])
def test_a_download_can_be_loaded(server, mirrors, tmp_path, name):
    to = tmp_path / "to"
    found = download_refcoco(name, to, mirrors=mirrors, **QUICK)
    splits = load_refcoco(name, **found._asdict(), check_counts=False, cache_dir=tmp_path / "cache")
    assert len(splits["train"]) == {"refcoco": 18, "grefcoco": 34}[name]
    assert not list(to.glob("*.zip"))
    requests = len(server.log)
    assert download_refcoco(name, to, mirrors=mirrors, **QUICK) == found
    assert len(server.log) == requests


def test_photographs_are_left_out_if_asked(server, mirrors, tmp_path):
    found = download_refcoco("refcoco", tmp_path / "to", images=False, keep_archives=True, mirrors=mirrors, **QUICK)
    assert found.image_dir is None
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["refcoco", "refcoco.zip"]


def test_a_small_disk_is_noticed_before_the_first_request(server, mirrors, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(OSError, match=r"fetching refcoco\.zip, train2014\.zip needs"):
        download_refcoco("refcoco", tmp_path / "to", mirrors=mirrors, **QUICK)
    assert server.log == []


def test_a_bad_archive_without_a_digest_is_fetched_again(server, mirrors, tmp_path):
    table = yaml.safe_load(mirrors.read_text())
    table["files"]["refcoco.zip"].update(bytes=None, digest=None)
    mirrors.write_text(yaml.safe_dump(table))
    good, server.files["0"] = server.files["0"], b"<html>busy</html>"
    with pytest.raises(ValueError, match="deleted: run the same again"):
        download_refcoco("refcoco", tmp_path / "to", images=False, mirrors=mirrors, **QUICK)
    server.files["0"] = good
    found = download_refcoco("refcoco", tmp_path / "to", images=False, mirrors=mirrors, **QUICK)
    assert (found.refer_dir / "refcoco" / "instances.json").is_file()


@pytest.mark.parametrize("text", ["", "a: [b", "datasets: {refcoco: {}}", "datasets: {refcoco: 3}\nfiles: {}"])
def test_a_wrong_file_of_mirrors_is_told(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"m\.yaml is no file of mirrors"):
        download_refcoco("refcoco", tmp_path / "to", mirrors=tmp_path / "m.yaml")


@pytest.mark.parametrize("target", ["../x", "/x", "deep/../../x", "C:\\x"])
def test_mirrors_write_to_the_download_folder_only(mirrors, tmp_path, target):
    table = yaml.safe_load(mirrors.read_text())
    table["files"]["refcoco.zip"]["target"] = target
    mirrors.write_text(yaml.safe_dump(table))
    with pytest.raises(ValueError, match=r"refcoco\.zip leads out of the download folder"):
        download_refcoco("refcoco", tmp_path / "to", mirrors=mirrors, **QUICK)
    assert not (tmp_path / "to").exists()


def test_an_unknown_data_set_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="refcocog"):
        download_refcoco("imagenet", tmp_path)


def test_the_published_table_is_complete():
    table = yaml.safe_load(resources.files("pbrec_hf.data.refer").joinpath("mirrors.yaml").read_text())
    assert set(table["datasets"]) == {key.split("/")[0] for key in CONFIGS}
    for entry in table["datasets"].values():
        for name in [*entry["annotations"], entry["images"]]:
            file = table["files"][name]
            assert file["urls"]
            assert all(url.startswith(("https://", "http://images.cocodataset.org/")) for url in file["urls"])
            assert file["digest"] or not any(url.startswith("http://") for url in file["urls"])
    for key, entry in CONFIGS.items():
        for name in table["datasets"][key.split("/")[0]]["annotations"]:
            assert table["files"][name]["target"].split("/")[0] == entry["folder"]
