"""The house in rooms: who may import whom, and when.

Run: pytest tests/test_architecture.py
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pbrec_hf

PACKAGE = Path(pbrec_hf.__file__).parent
ROOT_MODULES = {
    "__init__",
    "__main__",
    "version",
    "configuration_pbrec",
    "modeling_pbrec",
    "image_processing_pbrec",
    "processing_pbrec",
    "pipeline_pbrec",
}
WORKSHOP = {"data", "training", "metrics", "convert"}
# What each room may import at the top of a module: rooms, or single modules of rooms and of the root.
ARROWS = {
    "geometry": set(),
    "layers": set(),
    "images": {"geometry"},
    "comprehension": {"geometry", "layers", "hub.loading", "configuration_pbrec"},
    "detectors": {"geometry", "layers", *(f"hub.{name}" for name in ("loading", "opening", "reaching"))},
    "selection": {"geometry"},
    "small": {"comprehension", "detectors", "geometry", "layers", "hub.loading"},
    "configuration_pbrec": {"hub.loading"},
    "modeling_pbrec": {"configuration_pbrec", "comprehension", "geometry", "layers", "hub.loading"},
    "image_processing_pbrec": {"geometry", "images"},
    "processing_pbrec": {
        *(f"comprehension.{name}" for name in ("expressions", "unread")),
        *(f"detectors.{name}" for name in ("base", "references", "running", "saved")),
        "images",
        "selection",
        *(f"hub.{name}" for name in ("loading", "opening", "uploading")),
    },
    "pipeline_pbrec": {
        "processing_pbrec",
        "images",
        "selection",
        *(f"inference.{name}" for name in ("devices", "looking", "rows", "runtimes", "sharing")),
    },
}
# Libraries that only some users have, and libraries that whoever only asks questions should not wait for.
OPTIONAL = {
    "fiftyone", "gradio", "matplotlib", "nncf", "onnx", "onnxruntime", "onnxscript", "openvino", "ray", "starlette",
    "supervision", "tensorboard", "uvicorn", "fastapi", "mcp", "prometheus_client", "pydantic",
}  # fmt: skip
SERVICE = "app.service."  # all of it needs FastAPI, so it is the service that is imported late
SLOW = {"datasets", "accelerate", "evaluate", "pyarrow"}


def _modules() -> dict[str, Path]:
    paths = {path.relative_to(PACKAGE): path for path in PACKAGE.rglob("*.py")}
    return {".".join(path.with_suffix("").parts): file for path, file in paths.items()}


def _imports(name: str, path: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name of what is imported, whether at the top of the module); own modules without "pbrec_hf."."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node)
        for inner in ast.walk(node)
    }
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.removeprefix("pbrec_hf."), node not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *filter(None, [node.module])]).removeprefix("pbrec_hf.")
            inside = {f"{target}.{alias.name}".strip(".") for alias in node.names} & _modules().keys()
            yield from ((one, node not in late) for one in inside or {target})


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _room(module: str) -> str:
    return module.partition(".")[0]


OWN = _modules()
IMPORTS = {name: set(_imports(name, path)) for name, path in OWN.items()}


def test_the_root_holds_what_transformers_looks_for_by_name():
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT_MODULES


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_run_one_way_down(room):
    allowed = {room, *ARROWS[room]}
    wrong = {
        f"{name} → {target}"
        for name, imports in IMPORTS.items()
        if _room(name) == room
        for target, _ in imports
        if target in OWN and not ({target, _room(target)} & allowed)
    }
    assert not wrong


def test_only_the_app_imports_the_workshop_late_and_nothing_imports_the_app():
    rooms = {_room(name) for name in OWN} - WORKSHOP - {"app"}
    for name, imports in IMPORTS.items():
        for target, early in imports:
            if _room(name) in rooms:
                # The public names of the root are imported when used.
                assert _room(target) not in WORKSHOP, f"{name} → {target}"
            if _room(name) == "app" and _room(target) in WORKSHOP:
                assert not early, f"{name} imports {target} at its top"
            if _room(name) != "app" and name != "__main__":
                assert _room(target) != "app", f"{name} → {target}"


def test_nothing_but_its_registration_knows_what_only_the_small_checkpoint_invents():
    readers = {name for name, imports in IMPORTS.items() if any(_room(target) == "small" for target, _ in imports)}
    answering = {name for name in readers if _room(name) not in WORKSHOP | {"small"}}
    assert answering == {"hub.registration"}


def test_optional_and_slow_libraries_are_imported_late():
    for name, imports in IMPORTS.items():
        early = {_room(target) for target, early in imports if early}
        if name.startswith(SERVICE):
            early -= {"fastapi", "prometheus_client", "pydantic", "uvicorn"}
        else:
            assert not [target for target, early in imports if early and target.startswith(SERVICE)], name
        assert not early & OPTIONAL, name
        if _room(name) not in WORKSHOP and not name.startswith("app."):
            assert not early & SLOW, name


def test_asking_a_question_imports_no_library_of_training():
    code = (
        "import sys, numpy as np, pbrec_hf\n"
        "pbrec_hf.Grounder()(np.zeros((32, 32, 3), np.uint8), ['the dog'])\n"
        # transformers itself imports accelerate.
        f"print(sorted({(SLOW | OPTIONAL) - {'accelerate'}!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_file_is_longer_than_400_lines():
    scripts = PACKAGE.parent / "scripts"
    files = [*PACKAGE.rglob("*.py"), *(scripts.rglob("*.py") if scripts.is_dir() else ())]
    assert not {str(path): count for path in files if (count := len(path.read_text().splitlines())) > 400}
