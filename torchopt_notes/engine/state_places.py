"""Where the states of a plan's parameters are among all states of their optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .addresses import same

if TYPE_CHECKING:
    from .buckets import Bucket


class StatePlaces:
    """Finds states by their place in ``optimizer.state``, for as long as its keys are the same in the same order.

    To look one up instead costs five times as much: tensors are hashed in Python.
    """

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._places: list[slice | list[int] | None] = []

    def read(
        self, state: Mapping[Tensor, dict[str, Any]], buckets: Sequence[Bucket]
    ) -> list[list[dict[str, Any]] | None]:
        """For each bucket the states of its parameters, or None when one of them has none.

        The states themselves are not kept: their users may replace them, or give them up.
        """
        if not self._places or not same(list(state), self._keys):
            self._keys = list(state)
            found = {id(key): place for place, key in enumerate(self._keys)}
            self._places = [_places(found, bucket.params) for bucket in buckets]
        values = list(state.values())
        return [None if places is None else _pick(values, places) for places in self._places]


def _pick(values: list[dict[str, Any]], places: slice | list[int]) -> list[dict[str, Any]]:
    return values[places] if isinstance(places, slice) else [values[place] for place in places]


def _places(found: Mapping[int, int], params: Sequence[Tensor]) -> slice | list[int] | None:
    places = [found[id(param)] for param in params if id(param) in found]
    if len(places) < len(params):
        return None
    run = range(places[0], places[0] + len(places))
    return slice(run.start, run.stop) if places == list(run) else places
