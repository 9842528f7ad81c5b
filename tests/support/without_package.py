"""Answers from a folder with code, in a process where this package cannot be imported."""

from pathlib import Path

from programs import run

# The package is taken off the path, whether installed as a copy or as a link to the source.
WITHOUT_PACKAGE = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path = [entry for entry in sys.path if not (entry and (__import__("pathlib").Path(entry) / "pbrec_hf").is_dir())]
try:
    import pbrec_hf
    raise SystemExit("pbrec_hf is importable")
except ModuleNotFoundError:
    pass
import numpy as np
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
photo = np.full((60, 90, 3), 128, dtype=np.uint8)
trusted = {"trust_remote_code": True}
for source in sys.argv[1:]:
    assert AutoConfig.from_pretrained(source, **trusted).model_type == "pbrec"
    model, processor = AutoModel.from_pretrained(source, **trusted), AutoProcessor.from_pretrained(source, **trusted)
    inputs = processor(photo, ["left dog", "red car"])
    answers = processor.post_process_referring_expression(model(**inputs), inputs)
    found = pipeline("referring-expression", model=source, **trusted)(photo, ["left dog", "red car"])
    for answer, (result,) in zip(answers, found):
        assert answer["boxes"][0].tolist() == list(result["box"].values())
    print([round(value, 3) for result, in found for value in result["box"].values()])
"""


def answer_without_package(folder: Path) -> str:
    """The answers of the checkpoint in `folder`, as the process printed them."""
    done = run(WITHOUT_PACKAGE, folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
