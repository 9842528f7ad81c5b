"""One reader for every picture: the same upright pixels on every way, and URLs within limits of bytes and time."""

import base64
import io
import os
import struct
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature

from pbrec_hf.images import fetching, reading
from pbrec_hf.images.reading import load_picture, load_pixels, picture_size

HEIGHT, WIDTH = 24, 36
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)


def colours(height=HEIGHT, width=WIDTH):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height))


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def exif(orientation):
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags


def upright(data):
    """What Pillow makes of a file, uint8 (3, H, W)."""
    image = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def assert_read_as(source, expected):
    pixels = load_pixels(source)
    assert pixels.dtype == torch.uint8 and torch.equal(pixels, expected)
    assert np.array_equal(np.asarray(load_picture(source)), expected.permute(1, 2, 0).numpy())
    assert picture_size(source) == tuple(expected.shape[1:])


def header_only(width, height):
    """A PNG that says how large it is, and no more."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + check + struct.pack(">I", 9) + b"IDAT"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 177_000_000), "a side longer than 65535"),
        ((70_000, 20), "a side longer"),
        ((13_400, 13_400), "178 million"),
    ],
)
def test_a_picture_of_absurd_size_is_refused_by_its_header(size, message):
    for read in (load_picture, load_pixels):
        with pytest.raises(ValueError, match=f"has {size[0]}×{size[1]} pixels.*{message}|too large"):
            read(header_only(*size))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "I", "F", "L", "CMYK"])
def test_pictures_are_converted_alike_in_one_band_and_in_many(monkeypatch, mode):
    values = np.random.default_rng(1).integers(0, 256, (50, 41, 4), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        image = PIL.Image.fromarray(
            values[..., 0].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]) * 200
        )
    else:
        image = PIL.Image.fromarray(values).convert(mode)
    whole = load_pixels(image)
    assert whole.shape == (3, 50, 41) and len(whole.unique()) > 50
    monkeypatch.setattr(reading, "_BAND", 7 * 41)  # seven rows; the last band has one
    assert torch.equal(load_pixels(image), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_gives_the_same_upright_pixels(tmp_path, format, orientation):
    data = encoded(colours(), format=format, exif=exif(orientation))
    path = tmp_path / "picture"
    path.write_bytes(data)
    sideways = orientation > 4
    assert picture_size(path) == ((WIDTH, HEIGHT) if sideways else (HEIGHT, WIDTH))
    for source in (path, str(path), data, {"bytes": data, "path": None}, PIL.Image.open(path)):
        assert_read_as(source, upright(data))


@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "1"])
def test_a_plain_tiff_that_is_opened_by_name_is_read_like_its_bytes(tmp_path, mode, orientation):
    """Pillow maps such pixels into memory; it does so before it turns them."""
    data = encoded(colours().convert(mode), format="TIFF", exif=exif(orientation))
    path = tmp_path / "picture.tif"
    path.write_bytes(data)
    for source in (path, str(path), PIL.Image.open(path)):
        assert_read_as(source, load_pixels(data))
    plain = load_pixels(encoded(colours().convert(mode), format="TIFF"))
    turns = {3: plain.flip(1, 2), 5: plain.mT, 6: plain.mT.flip(2), 7: plain.mT.flip(1, 2), 8: plain.mT.flip(1)}
    assert torch.equal(load_pixels(data), turns[orientation])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(24, 36), (30, 30)])
def test_an_orientation_that_only_xmp_has_counts(tmp_path, orientation, size):
    """As Adobe's tools and macOS write it; a square picture would show no difference of size."""
    data = encoded(colours(*size), format="JPEG", quality=95, xmp=XMP.format(orientation).encode())
    (tmp_path / "picture.jpg").write_bytes(data)
    expected = upright(data)
    plain = upright(encoded(colours(*size), format="JPEG", quality=95))
    assert torch.equal(expected, torch.rot90(plain, {1: 0, 3: 2, 6: -1, 8: 1}[orientation], (1, 2)))
    assert_read_as(tmp_path / "picture.jpg", expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_fast_path_of_jpeg_equals_pillow_bit_for_bit(mode, subsampling, quality, progressive):
    image = colours(101, 67).convert(mode)
    options = {"quality": quality, "progressive": progressive}
    data = encoded(image, format="JPEG", **options | ({"subsampling": subsampling} if mode == "RGB" else {}))
    assert_read_as(data, upright(data))


def odd_pictures():
    image = colours()
    return {
        "cmyk": encoded(image.convert("CMYK"), format="JPEG"),
        "alpha": encoded(image.convert("RGBA"), format="PNG"),
        "palette": encoded(image.convert("P"), format="GIF"),
        "deep": encoded(PIL.Image.fromarray(np.full((HEIGHT, WIDTH), 40000, dtype=np.uint16)), format="PNG"),
    }


@pytest.mark.parametrize("kind", odd_pictures())
def test_pictures_of_every_kind_are_read_alike(kind, tmp_path):
    data = odd_pictures()[kind]
    (tmp_path / "picture").write_bytes(data)
    expected = torch.full((3, HEIGHT, WIDTH), 40000 * 255 // 65535, dtype=torch.uint8)
    for source in (tmp_path / "picture", data, {"bytes": data, "path": "name"}):
        assert_read_as(source, expected if kind == "deep" else upright(data))


def test_tensors_of_pixels_are_passed_through():
    pixels = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    assert load_pixels(pixels) is pixels and picture_size(pixels) == (8, 9)


def test_cells_of_datasets(tmp_path):
    """A decoded cell, one with bytes, one with a path alone, and one whose path leads nowhere but has bytes."""
    data = encoded(colours(), format="JPEG", exif=exif(6))
    (tmp_path / "picture.jpg").write_bytes(data)
    cells = [{"bytes": data, "path": None}, {"bytes": None, "path": str(tmp_path / "picture.jpg")}]
    rows = Dataset.from_dict({"image": cells}, features=Features({"image": ImageFeature()}))
    plain = rows.cast_column("image", ImageFeature(decode=False))
    for row in (*rows, *plain, {"image": {"bytes": data, "path": "elsewhere.jpg"}}):
        assert_read_as(row["image"], upright(data))


@pytest.mark.parametrize("form", ["data:image/jpeg;base64,{}", "{}"])
def test_base64_text(form):
    data = encoded(colours(96, 120), format="JPEG")
    assert_read_as(form.format(base64.b64encode(data).decode()), upright(data))
    with pytest.raises(ValueError, match="neither a file nor base64 text"):
        load_pixels("data:image/png;base64,%%%")


def test_unreadable_pictures_name_their_file(tmp_path):
    good = encoded(colours(), format="JPEG")
    for name, data in {"empty.jpg": b"", "text.jpg": b"no picture", "cut.jpg": good[: len(good) // 2]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=name):
            load_pixels(tmp_path / name)
        with pytest.raises(ValueError, match=name):
            load_picture(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
        load_pixels(str(tmp_path / "missing.jpg"))
    with pytest.raises(TypeError, match="int"):
        load_pixels(3)


class Handler(BaseHTTPRequestHandler):
    """Paths are kinds of behaviour; `server.picture` is the file that it has."""

    def do_GET(self):
        kind = self.path.strip("/")
        if kind in ("redirect", "to_a_file", "in_circles"):
            self.send_response(302)
            self.send_header("Location", {"redirect": "/picture", "to_a_file": "file:///etc/hostname"}.get(kind, kind))
            self.end_headers()
            return
        self.send_response(404 if kind == "absent" else 200)
        self.end_headers()
        try:
            if kind == "picture":
                self.wfile.write(self.server.picture)
            while kind == "endless" and not self.server.closing.is_set():
                self.wfile.write(bytes(2**16))
            while kind == "slow" and not self.server.closing.wait(0.05):
                self.wfile.write(b"x")
            if kind == "silent":
                self.server.closing.wait(30)
        except OSError:
            pass  # the reader has had enough

    def log_message(self, *args):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read", [load_picture, load_pixels, picture_size])
def test_a_pipe_is_refused_before_it_can_hang(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match=r"pipe\.jpg is a pipe or a device: give a picture file"):
        read(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match="is a folder: give a picture file"):
        read(tmp_path)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv(fetching.ALLOW_PRIVATE, "1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.picture, server.closing = encoded(colours(), format="JPEG", exif=exif(8)), threading.Event()
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["picture", "redirect"])
def test_a_url_is_fetched(server, kind):
    expected = upright(server.picture)
    assert torch.equal(load_pixels(f"{server.address}/{kind}"), expected)
    assert np.array_equal(np.asarray(load_picture(f"{server.address}/{kind}")), expected.permute(1, 2, 0).numpy())


def test_an_endless_body_is_broken_off(server, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_BYTES", 2**20)
    with pytest.raises(ValueError, match="/endless gives more than 1 MiB"):
        load_pixels(f"{server.address}/endless")


@pytest.mark.parametrize("kind", ["slow", "silent"])
def test_the_time_is_for_the_whole_body(server, kind):
    """One byte now and then keeps a connection alive, not the fetching."""
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"/{kind} could not be fetched"):
        load_pixels(f"{server.address}/{kind}", timeout=0.5)
    assert 0.4 < time.monotonic() - start < 10


@pytest.mark.parametrize("kind", ["absent", "to_a_file", "in_circles"])
def test_an_address_that_gives_no_picture_is_named(server, kind):
    with pytest.raises(ValueError, match=f"{server.address}/.* could not be fetched"):
        load_picture(f"{server.address}/{kind}", timeout=5)


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(fetching.ALLOW_PRIVATE, "1")
    with pytest.raises(ValueError, match="could not be fetched"):
        load_picture("http://127.0.0.1:9/picture.jpg", timeout=5)
