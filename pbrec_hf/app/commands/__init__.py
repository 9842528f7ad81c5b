"""The verbs of `pbrec-hf`, one module each: `HELP` in one line, `add(commands)` and `run(options) -> int`.

Only the module of the verb that was asked for adds its arguments, and it imports what it needs when it runs.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def new_verb(
    commands: Commands,
    verb: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    parents: Sequence[argparse.ArgumentParser] = (),
    again: str | None = None,
) -> argparse.ArgumentParser:
    """
    Add a verb to the sub-parsers of `pbrec-hf`.

    Args:
        run: carries it out; returns the exit status.
        text: what it does, in one line without a full stop.
        parents: parsers whose arguments it takes over.
        again: what the same command does after an interruption, such as "to go on where it stopped".
    """
    parser = commands.add_parser(verb, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=list(parents))
    parser.set_defaults(run=run, again=again)
    return parser
