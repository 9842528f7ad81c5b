"""What importing does and does not do, in processes of its own."""

import ast
from pathlib import Path

import pytest
from programs import TENSORS, run

import pbrec_hf

ROOT = Path(pbrec_hf.__file__).parent


def python(code: str, imported: tuple[str, ...] = ()) -> str:
    done = run(code, imported=imported)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_importing_is_silent_and_loads_neither_auto_classes_nor_torch():
    output = python(
        "import sys, pbrec_hf\n"
        "loaded = {'torch', 'torchvision', 'transformers.models.auto.modeling_auto', 'datasets'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    assert output == ""


CHECK = """
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers import AutoConfig
assert "referring-expression" in PIPELINE_REGISTRY.get_supported_tasks()
config = AutoConfig.for_model("pbrec")
assert [cls.__name__ for cls in MODEL_MAPPING[type(config)]] == ["PbrecForReferringExpression", "PbrecModel"]
"""


@pytest.mark.parametrize(
    "start",
    [
        "import pbrec_hf",
        "import pbrec_hf.modeling_pbrec",
        "import pbrec_hf.pipeline_pbrec",
        "from transformers import AutoModel; import pbrec_hf",
        "import pbrec_hf; from transformers import pipeline",
    ],
)
def test_everything_is_registered_whatever_is_imported_first(start):
    assert "Error" not in python(start + CHECK, TENSORS)


def test_importing_needs_no_network():
    python(
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import pbrec_hf\nfrom pbrec_hf import *",
        TENSORS,
    )


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_house_rules(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or path.name in ("__init__.py", "version.py")
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"pickle.load", "pickle.loads", "eval", "exec", "os.system"}
    if "torch.load" in calls:
        assert path.parent.name == "convert" and "weights_only=True" in text
