"""``python -m torchopt_notes``: the package's commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .cli import parity


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the command line without the program's name; by default the process's.

    Returns:
        The exit code, the command's own. argparse exits with 2 where the arguments are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m torchopt_notes", description="What torchopt_notes can be asked.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    parity.add_to(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
