"""Patterns over names: what they match, and what was probably meant by one that matches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate


def matching(argument: str, pattern: object, names: Sequence[str], words: Sequence[str] = ()) -> list[str]:
    """The names that a pattern matches: in full, or by the full name of a module around them.

    Args:
        argument: where the pattern is from, for the error message.
        pattern: with the wildcards ``*`` (dots included), ``?`` and ``[...]``. Case matters.
        names: of the parameters.
        words: what has a meaning of its own instead, and could have been meant.

    Raises:
        TypeError: for a pattern that is not a string.
        ValueError: if it matches nothing; the message lists near misses.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"param_groups: a pattern in {argument} must be a string, got {type(pattern).__name__}")
    from fnmatch import translate  # here and below: not at the price of every import of the package

    match = re.compile(translate(pattern)).match
    found = [name for name in names if any(map(match, _with_modules(name)))]
    if not found:
        near = near_misses(pattern, [*known_names(names), *words])
        or_word = f" It may also be {' or '.join(map(repr, words))}." if words else ""
        raise ValueError(
            f"param_groups: {argument} pattern {pattern!r} matches no parameter; {near} "
            f"Patterns match full names, and * stands for anything.{or_word}"
        )
    return found


def known_names(names: Iterable[str]) -> list[str]:
    """The names, and those of the modules around them: whatever a pattern may match."""
    return list(dict.fromkeys(known for name in names for known in _with_modules(name)))


def near_misses(text: str, known: Sequence[str]) -> str:
    """A sentence on which of the known names are nearest to ``text``."""
    from difflib import get_close_matches

    plain = {name.lower(): name for name in known}
    parts = {name.rpartition(".")[2]: name for name in reversed(plain)}
    near = get_close_matches(text.lower(), plain, n=3)
    for word in re.findall(r"[^.*?]+", text.lower()):
        # A name's part may be misspelt or lack its wildcards, in a name that is otherwise quite unlike the pattern.
        near += [parts[part] for part in get_close_matches(word, parts, n=2) if part != word or word == text.lower()]
        near += [name for part, name in parts.items() if word in part and part != word]
    if near:
        return f"did you mean {', '.join(repr(plain[name]) for name in list(dict.fromkeys(near))[:3])}?"
    return f"nothing is like it among {', '.join(map(repr, known[:3]))}{', …' if len(known) > 3 else ''}."


def _with_modules(name: str) -> Iterable[str]:
    return accumulate(name.split("."), "{}.{}".format)
