"""How deep in the model a parameter is, for layer-wise learning rate decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, type_before_parametrizations

from .inventory import Entry, Inventory
from .patterns import known_names, matching, near_misses

Layers = str | Sequence[str | Sequence[str]] | Callable[[str, nn.Parameter], int] | None

_HOW = (
    "pass layers: the name of the module whose children are the blocks, a list of patterns from input to output, "
    "or a callable (name, parameter) -> depth"
)


def layer_depths(inventory: Inventory, layers: Layers) -> tuple[dict[Entry, int], int]:
    """The depth of every parameter, 0 at the input, and the depth of the output. Tied ones have their lowest.

    Frozen parameters count, so that freezing some layers leaves the others where they are.

    Raises:
        TypeError: for ``layers`` of a type that is not allowed.
        ValueError: if the layers cannot be found, or a parameter is in none or in two of them.
    """
    if layers is None or isinstance(layers, str):
        depths, last = _by_blocks(inventory, _find_blocks(inventory) if layers is None else layers)
    elif isinstance(layers, Sequence):
        depths, last = _by_patterns(inventory, layers)
    elif callable(layers) and not isinstance(layers, nn.Module):
        depths, last = _by_callable(inventory, layers)
    else:
        raise TypeError(f"param_groups: layers cannot be of type {type(layers).__name__}; {_HOW}")
    return {entry: min(depths[site.name] for site in entry.sites) for entry in inventory.entries}, last


def _find_blocks(inventory: Inventory) -> str:
    """The name of the one outermost container of two or more blocks of one class."""
    containers = {
        name: list(_blocks(module).values())
        for name, module in inventory.modules.items()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and not isinstance(module, ParametrizationList)
    }
    # Single layers in a row are a model's layers if it has no blocks; otherwise they are parts of a block or a head.
    single = not any(any(map(_is_composite, blocks)) for blocks in containers.values())
    found: dict[nn.Module, str] = {}
    for name, blocks in containers.items():
        alike = len(blocks) > 1 and len(set(map(type_before_parametrizations, blocks))) == 1
        inside = any(outer == "" or name.startswith(f"{outer}.") for outer in found.values())
        if alike and not inside and (single or any(map(_is_composite, blocks))):
            found.setdefault(inventory.modules[name], name)
    stacks = list(found.values())
    if len(stacks) == 1:
        return stacks[0]
    if stacks:
        reason = f"there are several: {', '.join(map(repr, stacks))}"
    else:
        reason = "no nn.ModuleList or nn.Sequential holds two or more of one class"
    raise ValueError(f"param_groups: layer_decay cannot tell which blocks are the model's layers, {reason}; {_HOW}")


def _blocks(module: nn.Module) -> dict[str, nn.Module]:
    """The children that hold parameters."""
    return {name: child for name, child in module.named_children() if next(child.parameters(), None) is not None}


def _is_composite(module: nn.Module) -> bool:
    return any(name != "parametrizations" for name, _ in module.named_children())


def _by_blocks(inventory: Inventory, container: str) -> tuple[dict[str, int], int]:
    """Depth 0 for what the model holds before the blocks, 1 to L in them, L + 1 behind."""
    blocks = _blocks(inventory.modules[container]) if container in inventory.modules else {}
    if not blocks:
        problem = "holds no modules with parameters" if container in inventory.modules else "is no module of the model"
        known = [name for name in known_names(inventory.names) if name not in inventory.names]
        raise ValueError(f"param_groups: layers={container!r} {problem}; {near_misses(container, known)} Or {_HOW}")
    prefix = f"{container}." if container else ""
    numbers = {f"{prefix}{child}": number for number, child in enumerate(blocks, start=1)}
    depths: dict[str, int] = {}
    outside = 0
    for name in inventory.names:
        child = name[len(prefix) :].partition(".")[0]
        inside = numbers.get(f"{prefix}{child}") if name.startswith(prefix) else None
        if inside is not None:
            outside = len(blocks) + 1
        depths[name] = outside if inside is None else inside
    return depths, len(blocks) + 1


def _by_patterns(inventory: Inventory, layers: Sequence[str | Sequence[str]]) -> tuple[dict[str, int], int]:
    """The place in the list of the one entry that matches. One name of a tied parameter suffices."""
    last = len(layers) - 1
    found: dict[str, tuple[int, str]] = {}
    for depth, layer in enumerate(layers):
        for pattern in _as_list(layer):
            for name in matching("layers", pattern, inventory.names):
                other, other_pattern = found.setdefault(name, (depth, pattern))
                if other != depth:
                    raise ValueError(
                        f"param_groups: parameter {name!r} is in two layers, {other} ({other_pattern!r}) and "
                        f"{depth} ({pattern!r}); narrow one of the patterns"
                    )
    left = [
        str(entry)
        for entry in inventory.entries
        if entry.param.requires_grad and not any(site.name in found for site in entry.sites)
    ]
    if left:
        raise ValueError(
            f"param_groups: {len(left)} trainable parameters are in none of the layers, such as "
            f"{', '.join(left[:3])}; add patterns for them (the last layer gets the full lr)"
        )
    return {name: found[name][0] if name in found else last for name in inventory.names}, last


def _as_list(layer: Any) -> Sequence[Any]:
    return layer if isinstance(layer, Sequence) and not isinstance(layer, str) else [layer]


def _by_callable(inventory: Inventory, layers: Callable[[str, nn.Parameter], int]) -> tuple[dict[str, int], int]:
    depths = {}
    for entry in inventory.entries:
        for site in entry.sites:
            depth = layers(site.name, entry.param)
            try:
                depths[site.name] = index(depth)
            except TypeError:
                depths[site.name] = -1
            if depths[site.name] < 0:
                raise ValueError(
                    f"param_groups: layers gave {depth!r} for parameter {site.name!r}; "
                    "a depth must be an integer >= 0 that grows from input to output"
                )
    return depths, max(depths.values())
