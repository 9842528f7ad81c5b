"""Pictures in Parquet files: damage is told, and never are all of them in memory."""

import io
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_tables import good_rows, write_parquet
from PIL import Image

from pbrec_hf.data import embedded, tables
from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.data.schema import without_decoding


@pytest.mark.parametrize("damage", ["cut", "flipped", "junk", "empty", "twice"])
def test_damaged_parquet_is_told(folder, damage):
    path = write_parquet(folder / "rows.parquet", good_rows() * 50)
    data = path.read_bytes()
    broken = {"cut": data[:-300], "flipped": data[:40] + bytes(200) + data[240:], "junk": b"junk" * 99, "empty": b""}
    if damage == "twice":
        table = pa.table([["a"], ["b"]], names=["image", "image"])
        pq.write_table(table, path)
    else:
        path.write_bytes(broken[damage])
    with pytest.raises(ValueError, match=r"rows\.parquet is damaged or no Parquet file \(row \d+: .+\): write"):
        load_own_data(path)


def write_embedded(path, count, rows_per_group=1):
    """Pictures of 1 MB each, which differ, and an expression each."""
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("expression", pa.string()),
            ("bbox", pa.list_(pa.float64())),
        ]
    )
    with pq.ParquetWriter(path, schema, write_batch_size=1) as writer:
        for start in range(0, count, rows_per_group):
            rows = []
            for number in range(start, start + rows_per_group):
                buffer = io.BytesIO()
                Image.new("RGB", (640, 546), (number, 1, 2)).save(buffer, "BMP")
                image = {"bytes": buffer.getvalue(), "path": "same.bmp" if number % 2 else None}
                rows.append({"image": image, "expression": f"number {number}", "bbox": [1, 1, 50, 50]})
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path


@pytest.mark.parametrize("rows_per_group", [1, 32])
@pytest.mark.parametrize("view", ["sentence", "image"])
def test_pictures_in_parquet_are_never_all_in_memory(tmp_path, monkeypatch, rows_per_group, view):
    path = write_embedded(tmp_path / "rows.parquet", 32, rows_per_group)
    monkeypatch.setattr(tables, "_BATCH_BYTES", 2**20)
    monkeypatch.setattr(embedded, "_BATCH_BYTES", 2**20)
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        data = without_decoding(load_own_data(path, view=view, cache_dir=tmp_path / "cache"))
        colours = [Image.open(io.BytesIO(row["image"]["bytes"])).getpixel((0, 0)) for row in data]
        held = pool.max_memory() + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert colours == [(number, 1, 2) for number in range(32)]
    assert held < 12 * 2**20  # of 32 MB


def test_the_copy_of_pictures_is_found_again_and_follows_its_content(tmp_path):
    path, cache = write_embedded(tmp_path / "rows.parquet", 2), tmp_path / "cache"
    first = load_own_data(path, cache_dir=cache)
    (file,) = cache.rglob("*.arrow")
    written = file.stat().st_mtime_ns
    assert list(load_own_data(path, cache_dir=cache)) == list(first) and file.stat().st_mtime_ns == written
    write_embedded(path, 3)
    assert len(load_own_data(path, cache_dir=cache)) == 3
    assert len(list(cache.rglob("*"))) == 3  # the folder and two files
