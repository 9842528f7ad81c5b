"""The code that a published folder carries for machines without this package: rooms written as flat files.

transformers copies only modules of one folder that import each other as `from .name import …`. So imports are followed
from the modules that transformers looks for, each module is written under a flat name (`geometry/points.py` becomes
`geometry_points.py`), and its imports are rewritten. A user's own detector is carried along. `registered_parts.py`
registers the backbone and the detectors of this one checkpoint with the Auto classes.
"""

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneMixin

from .. import _PUBLIC
from ..configuration_pbrec import PbrecConfig

PACKAGE = __package__.partition(".")[0]
_ROOT = Path(__file__).parents[1]
_ENTRIES = {
    "AutoConfig": "configuration_pbrec.PbrecConfig",
    "AutoModel": "modeling_pbrec.PbrecForReferringExpression",
    "AutoImageProcessor": "image_processing_pbrec.PbrecImageProcessor",
    "AutoProcessor": "processing_pbrec.PbrecProcessor",
}
PIPELINE = "pipeline_pbrec.ReferringExpressionPipeline"
_REGISTERED = "registered_parts"
_REGISTER = f"\nfrom .{_REGISTERED} import register_parts  # noqa: E402\n\nregister_parts()\n"
# Loaded first; they refer to parts of the checkpoint by model type.
_NAMING = ("configuration_pbrec", "processing_pbrec")


def write_code(folder: Path, model: PreTrainedModel, processor: Any) -> None:
    """
    Write every module that answering needs into `folder`, and name them in its JSON files.

    Args:
        folder: a checkpoint of `model` and `processor`, just saved.

    Raises:
        ValueError: a part was defined where no module is (a notebook), or two modules have one flat name.
    """
    parts = sorted(set(_own_parts(model, processor)), key=lambda cls: cls.__name__)
    modules = dict(_modules([*_entry_modules(), *(cls.__module__ for cls in parts)]))
    for name, module in modules.items():
        text = _flattened(module)
        (folder / f"{name}.py").write_text(text + (_REGISTER if name in _NAMING else ""), encoding="utf-8")
    (folder / f"{_REGISTERED}.py").write_text(_registration(parts), encoding="utf-8")
    for file, entries in (
        ("config.json", ("AutoConfig", "AutoModel")),
        ("processor_config.json", ("AutoProcessor",)),
        ("tokenizer_config.json", ("AutoProcessor",)),
    ):
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        content["auto_map"] = {name: _ENTRIES[name] for name in entries}
        if file == "processor_config.json":
            content["image_processor"]["auto_map"] = {
                name: _ENTRIES[name] for name in ("AutoImageProcessor", "AutoProcessor")
            }
        (folder / file).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _own_parts(model: PreTrainedModel, processor: Any) -> Iterator[type[PreTrainedModel]]:
    """The classes of networks inside that transformers does not have and that a config names."""
    for network in (model, *processor.held_detectors.values()):
        for module in network.modules():
            if (
                isinstance(module, PreTrainedModel)
                and not type(module).__module__.startswith("transformers.")
                and not isinstance(module.config, PbrecConfig)
            ):
                yield type(module)


def _entry_modules() -> list[str]:
    names = [*_ENTRIES.values(), PIPELINE]
    return [f"{PACKAGE}.{name.partition('.')[0]}" for name in names]


def _modules(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(flat name, module) of these and of all that they import from this package or beside themselves."""
    waiting, found = list(dict.fromkeys(names)), dict[str, str]()
    while waiting:
        module = waiting.pop()
        flat = _flat_name(module)
        if flat in found:
            if found[flat] != module:
                raise ValueError(f"{module} and {found[flat]} would both be {flat}.py: rename one of them.")
            continue
        found[flat] = module
        yield flat, module
        waiting += [target for _, target, _ in _imports(module)]


def _flat_name(module: str) -> str:
    if module.startswith(f"{PACKAGE}."):
        return module.removeprefix(f"{PACKAGE}.").replace(".", "_")
    return module.rpartition(".")[2]


def _source(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module.startswith(f"{PACKAGE}."):
        file = str(_ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py"))
    if file is None or module == "__main__":
        raise ValueError(f"The code of {module} cannot travel: define the detector in a module of its own.")
    return Path(file).read_text(encoding="utf-8")


def _imports(module: str) -> Iterator[tuple[ast.ImportFrom, str, str]]:
    """
    The imports of `module` that travel: (statement, module that it imports from, new text before `import`).

    Raises:
        ValueError: an import that has no flat form.
    """
    for node in ast.walk(ast.parse(_source(module))):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = module.rsplit(".", node.level)[0] if node.level else ""
        target = ".".join(filter(None, (base, node.module)))
        if target == PACKAGE:
            # Public names are gathered in the package's root; a flat folder has none.
            homes = {f"{PACKAGE}.{_PUBLIC[alias.name]}" for alias in node.names if alias.name in _PUBLIC}
            if len(homes) != 1:
                raise ValueError(
                    f"{module} imports {', '.join(alias.name for alias in node.names)} from {PACKAGE}: import names "
                    "of one module at a time, so that its code can travel."
                )
            target = homes.pop()
        if not node.level and not target.startswith(f"{PACKAGE}."):
            continue
        if node.module is None and node.level:
            raise ValueError(f"{module} imports a module as a whole: import names from it, so that it can travel.")
        yield node, target, f"from .{_flat_name(target)} "


def _flattened(module: str) -> str:
    """The source of `module` with its imports from beside it."""
    lines = _source(module).splitlines(keepends=True)
    for node, _, text in _imports(module):
        line = lines[node.lineno - 1]
        start, end = node.col_offset, line.index("import", node.col_offset + len("from"))
        lines[node.lineno - 1] = line[:start] + text + line[end:]
    return "".join(lines)


def _registration(parts: list[type[PreTrainedModel]]) -> str:
    imports, calls = set(), []
    for cls in parts:
        config = cast(type[PreTrainedConfig], cls.config_class)
        auto = "AutoBackbone" if issubclass(cls, BackboneMixin) else "AutoModel"
        for name in (cls, config):
            imports.add(f"    from .{_flat_name(name.__module__)} import {name.__name__}\n")
        calls += [
            f"    AutoConfig.register({config.__name__}.model_type, {config.__name__}, exist_ok=True)\n",
            f"    {auto}.register({config.__name__}, {cls.__name__}, exist_ok=True)\n",
        ]
    body = "".join([*sorted(imports), "\n" if imports else "", *calls]) or "    pass\n"
    return (
        '"""Makes the Auto classes know the parts of this checkpoint. Written with the folder."""\n\n'
        "from transformers import AutoBackbone, AutoConfig, AutoModel\n\n\n"
        f"def register_parts() -> None:\n{body}"
    )


__all__ = ["PIPELINE", "write_code"]
