"""Where pictures and weights come from: checks every ORIGINS.json of the repository, or brings its hashes up to date.

    python scripts/origins.py            # what is missing or wrong; exits 1 if anything is
    python scripts/origins.py --write    # after a listed file was exchanged on purpose: write the new hashes

ORIGINS.json lies in a folder and lists the files in and below it: their SHA-256, authors, licence, what this allows,
the origin, and what was changed. Whoever exchanges a file also corrects these words.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENDINGS = {
    ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".tif", ".tiff", ".webp",
    ".bin", ".ckpt", ".npy", ".npz", ".onnx", ".pt", ".pth", ".safetensors", ".zip",
}  # fmt: skip
FIELDS = ("sha256", "authors", "licence", "allows", "origin", "changes")
FOLDERS = ("pbrec_hf", "hub_configs", "model_cards", "docs", "scripts", "tests")


def problems(root: Path = ROOT) -> list[str]:
    """A line for each picture or file of weights without a complete and true entry, and each entry without a file."""
    entries: dict[Path, dict[str, object]] = {}
    for folder in FOLDERS:
        for listing in (root / folder).rglob("ORIGINS.json"):
            rows = json.loads(listing.read_text(encoding="utf-8"))
            entries |= {listing.parent / name: row for name, row in rows.items()}
    files = {path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix.lower() in ENDINGS}
    found = [f"{path.relative_to(root)} is in no ORIGINS.json" for path in sorted(files - entries.keys())]
    for path, row in sorted(entries.items()):
        name = path.relative_to(root)
        if not path.is_file():
            found.append(f"{name} is listed, and is not there")
        elif missing := [field for field in FIELDS if not row.get(field)]:
            found.append(f"{name} lacks {', '.join(missing)}")
        elif row["sha256"] != _digest(path):
            found.append(f"{name} is not the file that is listed: run scripts/origins.py --write if it is right")
    return found


def write(root: Path = ROOT) -> None:
    """Replace the hashes of listed files by those of the files that are there."""
    for folder in FOLDERS:
        for listing in (root / folder).rglob("ORIGINS.json"):
            rows = json.loads(listing.read_text(encoding="utf-8"))
            for name, row in rows.items():
                row["sha256"] = _digest(listing.parent / name)
            listing.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the hashes of the files that are there")
    if parser.parse_args().write:
        write()
    found = problems()
    print("\n".join(found) or "every picture and file of weights is listed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
