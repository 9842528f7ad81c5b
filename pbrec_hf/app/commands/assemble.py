"""`pbrec-hf assemble`: a checkpoint with other detectors, named by their Hub ids or carried along.

pbrec-hf assemble out --model org/pbrec-mt --box_detector PekingU/rtdetr_v2_r50vd
pbrec-hf assemble out --box_detector org/name@0123abc --carry   # with a copy of its weights, at this revision
pbrec-hf assemble out --box_detector IDEA-Research/grounding-dino-tiny --box_settings ask=expression top_n=20
"""

import argparse
from pathlib import Path
from typing import Any

import yaml

from ..options import require_models
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "write a checkpoint with other detectors"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "assemble", run, HELP)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--model", help="folder or Hub id (default: the bundled checkpoint)")
    for kind in ("box", "mask"):
        parser.add_argument(f"--{kind}_detector", metavar="ID[@REVISION]", help="folder or Hub id of a detector")
        parser.add_argument(
            f"--{kind}_settings",
            nargs="+",
            default=[],
            metavar="NAME=VALUE",
            help="how a network is asked, as top_n=20",
        )
    parser.add_argument("--carry", action="store_true", help="copy the weights of detectors from the Hub")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the code of a detector's repository")


def run(options: argparse.Namespace) -> int:
    """Write the folder, and say where its detectors are from."""
    if options.box_detector is None and options.mask_detector is None:
        raise ValueError("Give --box_detector, --mask_detector or both: without them there is nothing to change.")
    require_models(options.model)
    silence_libraries()
    from ...hub.assembly import assemble
    from ...hub.bundled import bundled_checkpoint

    done = assemble(
        options.model or bundled_checkpoint(),
        options.out,
        options.box_detector,
        options.mask_detector,
        options.carry,
        options.trust_remote_code,
        {"boxes": _settings(options.box_settings), "masks": _settings(options.mask_settings)},
    )
    for kind, what in done.items():
        print(f"{kind}: {what}")
    print(f"written to {options.out}")
    return 0


def _settings(pairs: list[str]) -> dict[str, Any]:
    """Numbers, lists and words as YAML reads them."""
    for pair in pairs:
        if not all(pair.partition("=")):
            raise ValueError(f"{pair!r} is no setting: write NAME=VALUE, such as top_n=20.")
    return {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in pairs)}
