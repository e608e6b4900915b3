"""``python -m tests.mutations``: does a test notice each of the mistakes? Exit code 1 if one of them survives."""

from __future__ import annotations

import argparse
import os
import sys
import time
from fnmatch import fnmatchcase

from .catalogue import MUTATIONS, page
from .run import Result, VoidError, run


def main(arguments: list[str] | None = None) -> int:
    """Prints a line per mutation."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*", help="names of mutations, with * and ?; default: all")
    parser.add_argument(
        "--workers", type=int, default=min(os.cpu_count() or 1, 4), help="default: one per core, 4 at most"
    )
    parser.add_argument("--page", action="store_true", help="print docs/mutations.md instead")
    options = parser.parse_args(arguments)
    if options.page:
        print(page())
        return 0
    chosen = [mutation for mutation in MUTATIONS if fnmatchcase(mutation.name, options.pattern)]
    if not chosen:
        parser.error(f"no mutation is called {options.pattern!r}")
    begun = time.monotonic()
    print(f"{len(chosen)} mutations; first their tests without any", flush=True)
    try:
        results = run(chosen, options.workers, tell)
    except VoidError as error:
        print(error, file=sys.stderr)
        return 1
    killed = sum(result.verdict == "killed" for result in results)
    print(f"{killed} of {len(results)} killed in {time.monotonic() - begun:.0f} s")
    return 0 if killed == len(results) else 1


def tell(result: Result) -> None:
    """One line of the table, and what the test said."""
    mutation = result.mutation
    print(f"{result.verdict:9}{mutation.area:9}{mutation.name}", flush=True)
    print(f"{'':18}{mutation.test}\n{'':18}{result.said[:160]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
