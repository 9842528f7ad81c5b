"""transformers' common tests: fetched with pip, unpacked beside stand-ins for what no source distribution has."""

import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import transformers

NEEDED = ("backbone", "configuration", "image_processing", "modeling", "processing")
MOST_BYTES = 2**21  # of one file; the largest, test_modeling_common.py, has about 350 KB

# What the tests import from files that are left out of the distribution.
STAND_INS = {
    "tests/__init__.py": "",
    "tests/exporters/__init__.py": "",
    "tests/exporters/test_export.py": "class ExportTesterMixin:\n    '''Its tests are not distributed.'''\n",
    "tests/generation/__init__.py": "",
    "tests/generation/test_utils.py": "class GenerationTesterMixin:\n    '''Only a mark of models that generate.'''\n",
    "tests/utils/__init__.py": "",
    "tests/utils/test_configuration_utils.py": (
        "config_common_kwargs = {\n"
        "    'return_dict': False,\n"
        "    'output_hidden_states': True,\n"
        "    'output_attentions': True,\n"
        "    'dtype': 'float16',\n"
        "    'chunk_size_feed_forward': 5,\n"
        "    'architectures': ['BertModel'],\n"
        "    'problem_type': 'regression',\n"
        "    'id2label': {0: 'label', 1: 'other'},\n"
        "    'label2id': {'label': 0, 'other': 1},\n"
        "}\n"
    ),
    "utils/fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
}


def fetch(folder: Path) -> Path:
    """
    The source distribution of the installed transformers, from the package index that pip is configured for.

    Raises:
        SystemExit: in one line, if pip cannot get it.
    """
    wanted = f"transformers=={transformers.__version__}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
    done = subprocess.run([*command, "--dest", str(folder), wanted], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SystemExit(
            f"pip cannot get the sources of {wanted} ({reason}): fetch the .tar.gz, and pass it as --sdist."
        )
    return next(folder.glob("transformers-*.tar.gz"))


def unpack(archive: Path, folder: Path) -> Path:
    """
    The root that `tests.test_modeling_common` and its siblings can be imported from.

    Only the common tests are taken out of `archive`; names in it decide nothing about where they are written.

    Raises:
        SystemExit: in one line, if the archive is of another version or lacks a test, or a library is missing.
    """
    if find_spec("parameterized") is None:
        raise SystemExit("The common tests need `parameterized`: pip install -e '.[dev]' brings it.")
    inside = f"transformers-{transformers.__version__}/tests"
    for path, text in STAND_INS.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    if not archive.is_file() or not tarfile.is_tarfile(archive):
        raise SystemExit(f"{archive} is no source distribution: fetch it again.")
    with tarfile.open(archive) as tar:
        for name in NEEDED:
            file = f"test_{name}_common.py"
            try:
                member = tar.getmember(f"{inside}/{file}")
            except KeyError:
                raise SystemExit(
                    f"{archive.name} has no {inside}/{file}: give the source distribution of transformers "
                    f"{transformers.__version__}, the version that is installed."
                ) from None
            content = tar.extractfile(member) if member.isfile() and member.size <= MOST_BYTES else None
            if content is None:
                raise SystemExit(f"{file} of {archive.name} is no plain file of at most {MOST_BYTES} bytes.")
            (folder / "tests" / file).write_bytes(content.read())
    return folder
