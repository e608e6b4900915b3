"""Which parameters do not decay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from torch import nn

from .inventory import Entry, Inventory, Site
from .patterns import matching

NoDecay = str | Iterable[str] | Callable[[str, nn.Parameter], object] | None

# On lower-case class names without underscores. Reparametrizations named after norms hold whole weight matrices.
_NORM = re.compile(r"(?<!weight)(?<!spectral)norm(\d+d)?$")
_EMBEDDING = re.compile(r"embedding(bag)?$")
# On attribute names, as words between underscores: "in_proj_bias", "bias_ih_l0", "pos_embed", "cls_token".
_BIAS = re.compile(r"(^|_)bias(es)?\d*(_|$)")
_EMBEDDED = re.compile(r"(^|_)(emb|embeds?|embeddings?|tokens?)(_\d+)?$")


def _norm_or_bias(entry: Entry, site: Site) -> bool:
    return entry.param.ndim < 2 or _is_a(_NORM, site.module) or bool(_BIAS.search(site.attribute.lower()))


def _norm_bias_or_embedding(entry: Entry, site: Site) -> bool:
    embedded = _is_a(_EMBEDDING, site.module) or bool(_EMBEDDED.search(site.attribute.lower()))
    return embedded or _norm_or_bias(entry, site)


PRESETS: dict[str, Callable[[Entry, Site], bool]] = {
    "norm-bias": _norm_or_bias,
    "norm-bias-embedding": _norm_bias_or_embedding,
}


def exempt(inventory: Inventory, no_decay: NoDecay) -> set[Entry]:
    """The parameters that do not decay: those of which one name is exempt, so that the order of names is irrelevant.

    Raises:
        TypeError: for something that is neither a pattern, patterns, nor a callable.
        ValueError: for a pattern that matches nothing.
    """
    if no_decay is None or no_decay == "":
        return set()
    if callable(no_decay) and not isinstance(no_decay, nn.Module):
        return {entry for entry in inventory.entries if any(no_decay(site.name, entry.param) for site in entry.sites)}
    if not isinstance(no_decay, Iterable):
        raise TypeError(
            f"param_groups: no_decay must be {' or '.join(map(repr, PRESETS))}, a pattern or several, a callable "
            f"(name, parameter) -> bool, or None for decay everywhere; got {type(no_decay).__name__}"
        )
    found: set[Entry] = set()
    for pattern in (no_decay,) if isinstance(no_decay, str) else no_decay:
        found |= _exempt_by(inventory, pattern)
    return found


def _exempt_by(inventory: Inventory, pattern: object) -> set[Entry]:
    if isinstance(pattern, str) and (rule := PRESETS.get(pattern)) is not None:
        return {entry for entry in inventory.entries if any(rule(entry, site) for site in entry.sites)}
    names = set(matching("no_decay", pattern, inventory.names, words=list(PRESETS)))
    return {entry for entry in inventory.entries if any(site.name in names for site in entry.sites)}


def _is_a(kind: re.Pattern[str], module: nn.Module) -> bool:
    """Whether the module's class, or one that it inherits from, is named like this."""
    return any(kind.search(cls.__name__.lower().replace("_", "")) for cls in type(module).__mro__)
