"""The configurations and model cards that ship with the package, found by name.

In a checkout they lie at the top level, as `hub_configs/` and `model_cards/`; in a wheel, inside the package.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_RECIPE = "training.yaml"


def shipped_folder(name: str) -> Path:
    """
    The folder `name` ("hub_configs" or "model_cards") of this installation.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for place in (_PACKAGE, _PACKAGE.parent):
        if (place / name).is_dir():
            return place / name
    raise FileNotFoundError(f"This installation of pbrec_hf has no folder {name}: install the package again.")


def published_configs() -> dict[str, Path]:
    """Folder of each published configuration by name, such as "pbrec-mt-refcoco", sorted."""
    return {path.parent.name: path.parent for path in sorted(shipped_folder("hub_configs").glob(f"*/{_RECIPE}"))}


def config_folder(name: str) -> str:
    """
    Where to load the configuration `name` from.

    Args:
        name: a folder, the name of a published configuration, or an id on the Hub ("owner/name").

    Returns:
        The folder, or the Hub id as it was given.

    Raises:
        ValueError: `name` is neither, nor can it be an id on the Hub.
    """
    if Path(name).is_dir() or "/" in name or "\\" in name:
        return name
    return str(_published(name))


def recipe_file(name: str | Path) -> Path:
    """
    The YAML file of a training recipe.

    Args:
        name: a file, or the name of a published configuration.

    Raises:
        ValueError: there is neither a file nor a published configuration of this name.
    """
    path = Path(name)
    return path if path.is_file() else _published(str(name)) / _RECIPE


def _published(name: str) -> Path:
    found = published_configs()
    if name not in found:
        raise ValueError(f"There is no configuration {name!r}: give a path, or one of {', '.join(found)}.")
    return found[name]


__all__ = ["config_folder", "published_configs", "recipe_file", "shipped_folder"]
