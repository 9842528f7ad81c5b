"""The letterbox equals the released one, its inverse is exact, and every picture is read or refused by name."""

import base64
import io
import json
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_checkpoint import GOLDEN
from safetensors.torch import load_file
from torch.nn.functional import interpolate

from pbrec_hf import PbrecImageProcessor
from pbrec_hf.geometry.letterbox import Letterbox, points_in_picture
from pbrec_hf.geometry.points import feature_mask
from pbrec_hf.images.reading import load_picture


def picture(width, height, mode="RGB"):
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 2) % 256
    return PIL.Image.fromarray(np.stack((ramp, ramp[::-1], 255 - ramp), axis=-1).astype(np.uint8)).convert(mode)


def test_geometry_and_padding_equal_the_released_loader():
    meta = json.loads((GOLDEN / "dataset_e2e.json").read_text())
    golden = load_file(GOLDEN / "dataset_e2e.safetensors")
    padding = torch.from_numpy(np.unpackbits(golden["img_mask_bits"].numpy(), axis=-1))
    for index, sample in enumerate(meta["samples"]):
        width, height = sample["size_w_h"]
        batch = PbrecImageProcessor()(picture(width, height))
        _, _, new_height, new_width, top, left = batch["letterbox"][0].tolist()
        assert [top, left, new_height, new_width] == sample["valid_rect_top_left_h_w"]
        assert torch.equal(batch["pixel_mask"][0], 1 - padding[index].long())
        mask = feature_mask(batch["pixel_mask"], 20, 20).view(20, 20)
        assert torch.equal(mask, golden["feature_mask_20x20"][index] == 0)
        assert not batch["pixel_values"][0, :, padding[index] == 1].any()


def test_pixels_equal_pillow_s_resize_and_imagenet_s_statistics():
    image = picture(200, 100)
    batch = PbrecImageProcessor(size={"longest_edge": 64})(image)
    expected = np.asarray(image.resize((64, 32), PIL.Image.BILINEAR), dtype=np.float32) / 255
    expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    difference = (batch["pixel_values"][0, :, 16:48] - torch.from_numpy(expected).permute(2, 0, 1)).abs()
    assert difference.max() < 1.01 / 255 / 0.224 and difference.mean() < 1e-4  # at most one grey level, rarely


def test_pixels_equal_the_released_loader_s():
    meta = json.loads((GOLDEN / "dataset_e2e.json").read_text())
    golden = load_file(GOLDEN / "dataset_e2e.safetensors")["img_every_8th_pixel"]
    for index, (sample, expected) in enumerate(zip(meta["samples"], golden, strict=True)):
        # Two ramps and a chessboard, whose first field is dark in every second picture.
        x, y = np.meshgrid(*(np.arange(side) for side in sample["size_w_h"]))
        board = np.where((x // 16 + y // 16 + index) % 2, 220, 20)
        channels = np.stack((x * 255 // x.max(), y * 255 // y.max(), board), axis=-1)
        image = PbrecImageProcessor()(channels.astype(np.uint8))["pixel_values"][0]
        # Pillow and torchvision may round to neighbouring grey levels.
        torch.testing.assert_close(image[:, ::8, ::8], expected, atol=1.01 / 255 / 0.224, rtol=0)
        assert image.mean().item() == pytest.approx(sample["img_mean"], abs=1e-4)
        assert image.std().item() == pytest.approx(sample["img_std"], abs=1e-4)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 10_000))
def test_the_inverse_is_exact_for_every_size(height, width, seed):
    corners = torch.rand(8, 2, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([width, height])
    boxes = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
    letterbox = Letterbox.fit(height, width, 320)
    back = letterbox.boxes_to_original(letterbox.boxes_to_canvas(boxes))
    assert (back - boxes).abs().max() < 0.5
    assert (
        (back[:, 2:] > back[:, :2]).all()
        and (back >= 0).all()
        and (back[:, 2:] <= torch.tensor([width, height])).all()
    )
    assert points_in_picture(torch.tensor([letterbox]), (20, 20), (320, 320)).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 400), st.integers(20, 400))
def test_a_mask_comes_back_to_the_pixel(height, width):
    letterbox = Letterbox.fit(height, width, 320)
    _, _, new_height, new_width, top, left = letterbox
    canvas = torch.zeros(320, 320)
    canvas[top : top + new_height // 2, left : left + new_width // 2] = 1
    mask = letterbox.mask_to_original(canvas, (320, 320))
    assert mask.shape == (height, width)
    rows, cols = mask.any(1).sum().item(), mask.any(0).sum().item()
    assert abs(rows - height * (new_height // 2) / new_height) <= max(1, height / new_height)
    assert abs(cols - width * (new_width // 2) / new_width) <= max(1, width / new_width)


def test_a_box_in_the_padding_becomes_one_pixel_inside_the_picture():
    letterbox = Letterbox.fit(100, 200, 320)
    box = letterbox.boxes_to_original(torch.tensor([[5.0, 1.0, 8.0, 3.0], [5.0, 310.0, 6.0, 319.0]]))
    assert (box[:, 3] - box[:, 1]).tolist() == [1, 1] and box[0, 1] == 0 and box[1, 3] == 100


def test_a_mask_is_interpolated_bilinearly_at_the_centres_of_the_pixels():
    letterbox = Letterbox.fit(90, 50, 320)
    mask = torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    canvas = interpolate(mask[None, None], size=(320, 320), mode="bilinear")
    for threshold in (0.3, 0.5, 0.7):
        # At the size of the canvas, cropping what the interpolation gives there is the same.
        itself = Letterbox(320, 178, 320, 178, 0, 71)
        expected = canvas[0, 0, :, 71 : 71 + 178] > threshold
        assert (itself.mask_to_original(mask, (320, 320), threshold) != expected).float().mean() < 1e-3
    smooth = interpolate(canvas[..., 71 : 71 + 178], size=(90, 50), mode="bilinear")[0, 0] > 0.5
    assert (letterbox.mask_to_original(mask, (320, 320)) != smooth).float().mean() < 0.05


@pytest.mark.parametrize(("width", "height", "left", "top"), [(30, 20, 17, 22), (64, 9, 0, 27), (1, 64, 31, 0)])
def test_without_resizing_the_picture_lies_in_the_middle_pixel_by_pixel(width, height, left, top):
    image = picture(width, height)
    batch = PbrecImageProcessor(size={"longest_edge": 64}, do_resize=False, do_normalize=False)(image)
    assert batch["letterbox"].tolist() == [[height, width, height, width, top, left]]
    expected = torch.zeros(3, 64, 64)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    expected[:, top : top + height, left : left + width] = pixels
    torch.testing.assert_close(batch["pixel_values"][0], expected)
    shown = torch.zeros(64, 64, dtype=torch.int64)
    shown[top : top + height, left : left + width] = 1
    assert torch.equal(batch["pixel_mask"][0], shown)


def test_without_resizing_a_picture_larger_than_the_canvas_is_refused():
    processor = PbrecImageProcessor(size={"longest_edge": 64}, do_resize=False)
    for width, height in ((65, 10), (10, 65)):
        with pytest.raises(ValueError, match=f"A picture of {height}×{width} needs do_resize=True on a canvas of 64"):
            processor(picture(width, height))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "CMYK", "1", "I;16", "I", "F", "YCbCr"])
def test_every_mode_of_picture_is_read(mode):
    image = picture(40, 30, mode) if mode != "I;16" else PIL.Image.fromarray(np.full((30, 40), 40000, dtype=np.uint16))
    batch = PbrecImageProcessor(size={"longest_edge": 64})(image)
    assert batch["pixel_values"].shape == (1, 3, 64, 64) and batch["pixel_values"].isfinite().all()
    if mode == "I;16":
        assert abs(np.asarray(load_picture(image)).mean() - 40000 / 65535 * 255) < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2)])
def test_extreme_sizes_are_read(size):
    batch = PbrecImageProcessor(size={"longest_edge": 64})(picture(*size))
    assert batch["pixel_mask"].sum() >= 64 and batch["letterbox"][0, :2].tolist() == [size[1], size[0]]


def test_paths_arrays_tensors_and_base64_give_the_same_pixels(tmp_path):
    image = picture(60, 40)
    path = tmp_path / "photo.png"
    image.save(path)
    array = np.asarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    processor = PbrecImageProcessor(size={"longest_edge": 64})
    expected = processor(image)["pixel_values"]
    forms = [str(path), path, array, array.transpose(2, 0, 1), torch.from_numpy(array.copy()).permute(2, 0, 1)]
    forms += [array.astype(np.float32) / 255, f"data:image/png;base64,{text}"]
    forms += [buffer.getvalue(), path.open("rb"), {"bytes": buffer.getvalue(), "path": None}]
    batch = processor(forms)["pixel_values"]
    for row in batch:
        torch.testing.assert_close(row, expected[0])


def test_deep_numbers_are_scaled_not_cut():
    values = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    assert np.abs(np.asarray(load_picture(PIL.Image.fromarray(values)))[..., 0] / 255 - values).max() < 0.01
    half = torch.from_numpy(values)[None].expand(3, -1, -1).bfloat16()
    assert np.abs(np.asarray(load_picture(half))[..., 0] / 255 - values).max() < 0.01


def test_exif_orientation_turns_the_picture(tmp_path):
    image = picture(60, 40)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert PbrecImageProcessor()(str(tmp_path / "turned.jpg"))["letterbox"][0, :2].tolist() == [60, 40]


def bomb_png() -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    picture(200, 200).save(buffer, format="JPEG")
    return buffer.getvalue()[:2000]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture that Pillow can read"),
        (b"These are words, not pixels.", "not a picture that Pillow can read"),
        (bomb_png(), "too large|more than 178 million"),
        (truncated_jpeg(), "is damaged"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        PbrecImageProcessor()(str(path))
    assert "photo.jpg" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "ICO", "JPEG2000"])
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, format):
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    picture(48, 32).save(buffer, format=format)
    path = tmp_path / "photo.jpg"
    for trial in range(40):
        content = np.frombuffer(buffer.getvalue(), dtype=np.uint8).copy()
        content[random.integers(len(content), size=3)] = random.integers(256, size=3)
        path.write_bytes(content[: random.integers(len(content)) if trial % 3 == 0 else None].tobytes())
        try:
            assert load_picture(path).mode == "RGB"
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("missing/photo.jpg", FileNotFoundError, "missing/photo.jpg"),
        (None, TypeError, "NoneType is no picture"),
        (np.zeros((2, 2, 2, 2), np.uint8), ValueError, r"\(2, 2, 2, 2\)"),
        (np.full((4, 4), 300, np.int32), ValueError, "int32"),
        (np.full((4, 4), 300.0), ValueError, "from 300 to 300"),
        ("data:image/png;base64,%%%", ValueError, "base64"),
    ],
)
def test_other_sources_are_refused_by_name(source, error, message):
    with pytest.raises(error, match=message):
        load_picture(source)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r"3, 0, 5.* is no picture"):
        PbrecImageProcessor()(torch.zeros(3, 0, 5, dtype=torch.uint8))


@pytest.mark.parametrize(
    "size", [640, {"longest_edge": 0}, {"height": 64, "width": 32}, {"longest_edge": 10**6}, {"longest_edge": 64.5}]
)
def test_other_canvases_are_refused(size):
    with pytest.raises(ValueError, match=r"give \{'longest_edge': S\}"):
        PbrecImageProcessor(size=size)


@pytest.mark.parametrize("resample", [1, 99, "bilinear"])
def test_other_resamplings_are_refused(resample):
    with pytest.raises(ValueError, match=f"resample={resample!r}: give 0"):
        PbrecImageProcessor(resample=resample)


@pytest.mark.parametrize(
    "fields",
    [
        {"image_mean": 0.5},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": [0.5, 0.5, float("nan")]},
        {"image_std": [1.0, 1.0, 1.0, 1.0]},
        {"image_std": [0.2, 0.0, 0.2]},
        {"rescale_factor": float("nan")},
        {"rescale_factor": 0.0},
    ],
)
def test_colours_that_no_picture_can_be_scaled_by_are_refused(fields):
    (name,) = fields
    for refuse in (PbrecImageProcessor, lambda **fields: PbrecImageProcessor()(picture(4, 4), **fields)):
        with pytest.raises(ValueError, match=f"{name}=.*: give"):
            refuse(**fields)


def test_a_call_is_checked_like_the_processor():
    with pytest.raises(ValueError, match="resample=4"):
        PbrecImageProcessor()(picture(4, 4), resample=4)
    with pytest.raises(ValueError, match="longest_edge"):
        PbrecImageProcessor()(picture(4, 4), size={"longest_edge": 8})


def test_round_trip(tmp_path):
    PbrecImageProcessor(size={"longest_edge": 320}).save_pretrained(tmp_path)
    loaded = PbrecImageProcessor.from_pretrained(tmp_path)
    assert loaded.size["longest_edge"] == 320
    assert loaded.to_dict() == PbrecImageProcessor(size={"longest_edge": 320}).to_dict()


@pytest.mark.parametrize("size", [(5, 7), (3, 7), (5, 3), (4, 1)])
def test_arrays_lie_as_they_are_said_to(size):
    """By their shapes alone some could lie either way."""
    processor = PbrecImageProcessor(size={"longest_edge": 16})
    array = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = processor(PIL.Image.fromarray(array))
    for layout, lying in (("channels_last", array), ("channels_first", array.transpose(2, 0, 1))):
        for image in (lying, torch.from_numpy(lying.copy())):
            found = processor(image, input_data_format=layout)
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(ValueError, match="channels_middle"):
        processor(array, input_data_format="channels_middle")
