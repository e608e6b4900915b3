"""The groups themselves: :func:`param_groups`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from numbers import Real
from typing import Any

from torch import Tensor, nn

from ..engine import checks
from .inventory import Entry, Inventory, take_inventory
from .layers import Layers, layer_depths
from .no_decay import NoDecay, exempt
from .patterns import matching

_CALLER = "param_groups"


def param_groups(
    model: nn.Module,
    *,
    lr: float | None = None,
    weight_decay: float | None = None,
    no_decay: NoDecay = "norm-bias",
    layer_decay: float | None = None,
    layers: Layers = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    r"""Splits a model's trainable parameters into groups for an optimizer.

    With ``layer_decay`` ξ, a parameter at depth d of D learns at

    .. math::
        \eta_d = \eta \, \xi^{D - d}

    written as a real ``lr``, so that any optimizer and scheduler sees it. Each parameter is in one group, under the
    name that ``model.named_parameters()`` gives it; optimizers keep the names as ``param_names`` in their state dicts.
    Parameters with equal options share a group. Groups, and parameters in them, are in the model's order.

    Patterns have the wildcards ``*`` (dots included), ``?`` and ``[...]``, and match a parameter's full name or that of
    a module around it: ``"head"`` stands for all of the head, ``"*.bias"`` for every bias. Case matters. A tied
    parameter goes by each of its names.

    Args:
        model: the module whose parameters are to be trained. Frozen ones (``requires_grad=False``) are left out.
        lr: learning rate η, per step, written into every group. Default None: the optimizer's own, which
            ``layer_decay`` cannot do with.
        weight_decay: λ ≥ 0 for parameters that decay, in whatever form the optimizer gives it. Default None: the
            optimizer's own. The others get 0.
        no_decay: who does not decay. ``"norm-bias"`` (default): parameters of normalization layers, biases, and
            whatever has fewer than two dimensions. ``"norm-bias-embedding"``: embeddings and learned tokens too.
            Otherwise a pattern, a list of patterns and presets, or a callable ``(name, parameter) -> bool``. None: all
            decay. A tied parameter is exempt as soon as one of its names is.
        layer_decay: ξ in (0, 1], the ratio of the learning rates of neighbouring layers. Default None: no layer decay.
        layers: what the layers are. Default None: the blocks in the model's one outermost ``nn.ModuleList`` or
            ``nn.Sequential`` of two or more blocks of one class; d is 0 for what comes before them, 1 to L in
            them, and D = L + 1 for what comes after. A string names the module whose children are the blocks. A list of
            patterns (or of lists of patterns) goes from input to output: d is the place in the list, D the last. A
            callable ``(name, parameter) -> d`` has its largest value for D. A tied parameter has its lowest depth.
        overrides: by pattern, group options that replace what was decided above: ``lr`` that of layer decay,
            ``weight_decay`` that of ``no_decay``. Options are not checked against an optimizer.

    Returns:
        Groups with ``params`` as pairs of a name and a parameter, and with their options.

    Raises:
        TypeError: for a model that is no module, a tensor as ``lr``, or patterns and options of a wrong type.
        ValueError: for a value out of range, a pattern that matches nothing (the message lists near misses), a
            parameter that two overrides match, an override of frozen parameters only, layers that cannot be found, or a
            model without trainable parameters.

    Example:
        >>> import torch
        >>> from torchopt_notes.groups import describe_groups, param_groups
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
        >>> groups = param_groups(model, lr=1e-3, weight_decay=0.1, overrides={"2": {"lr": 1e-2}})
        >>> print(describe_groups(groups))
        group  tensors  elements     lr  weight_decay  names
            0        1        32  0.001           0.1  0.weight
            1        3        24  0.001             0  0.bias, 1.weight, …
            2        1        16   0.01           0.1  2.weight
            3        1         2   0.01             0  2.bias
          all        6        74
        >>> torch.optim.AdamW(groups).param_groups[1]["param_names"]
        ['0.bias', '1.weight', '1.bias']

    Source: no decay of biases and norms: Jia et al. 2018, "Highly Scalable Deep Learning Training System with
    Mixed-Precision", arXiv 1807.11205. Layer decay: Howard and Ruder 2018, "Universal Language Model Fine-tuning for
    Text Classification", arXiv 1801.06146; Clark et al. 2020, "ELECTRA", arXiv 2003.10555; depths as in Bao et al.
    2022, "BEiT", arXiv 2106.08254.
    """
    _check(lr, weight_decay, layer_decay, layers)
    inventory = take_inventory(model)
    undecayed = exempt(inventory, no_decay)
    rates = _rates(inventory, lr, layer_decay, layers)
    overridden = _overridden(inventory, overrides)

    groups: dict[Hashable, dict[str, Any]] = {}
    for entry in inventory.entries:
        if not entry.param.requires_grad:
            continue
        decay = 0.0 if entry in undecayed else weight_decay
        options = {name: value for name, value in (("lr", rates[entry]), ("weight_decay", decay)) if value is not None}
        options |= overridden.get(entry, {})
        group = groups.setdefault(_key(options), {"params": [], **options})
        group["params"].append((entry.name, entry.param))
    return list(groups.values())


def _check(lr: Any, weight_decay: Any, layer_decay: Any, layers: Any) -> None:
    if isinstance(lr, Tensor):
        raise TypeError(
            f"{_CALLER}: lr must be a number, got a Tensor, which scaled copies would not follow; "
            "leave lr out here and pass the tensor to the optimizer"
        )
    if lr is not None:
        checks.learning_rate(_CALLER, lr)
    if weight_decay is not None:
        checks.non_negative(_CALLER, "weight_decay", weight_decay, "Invalid weight_decay value")
    if layer_decay is None:
        if layers is not None:
            raise ValueError(f"{_CALLER}: layers has a meaning only with layer_decay; pass both or neither")
        return
    if not (isinstance(layer_decay, Real) and 0 < float(layer_decay) <= 1):
        raise ValueError(f"{_CALLER}: Invalid layer_decay: {layer_decay}; layer_decay must be a number in (0, 1]")
    if lr is None:
        raise ValueError(
            f"{_CALLER}: layer_decay scales lr, which is missing; pass lr here too, not to the optimizer only"
        )


def _rates(
    inventory: Inventory, lr: float | None, layer_decay: float | None, layers: Layers
) -> dict[Entry, float | None]:
    if lr is None or layer_decay is None:
        return dict.fromkeys(inventory.entries, None if lr is None else float(lr))
    depths, last = layer_depths(inventory, layers)
    return {entry: float(lr * layer_decay ** (last - depth)) for entry, depth in depths.items()}


def _overridden(
    inventory: Inventory, overrides: Mapping[str, Mapping[str, Any]] | None
) -> dict[Entry, Mapping[str, Any]]:
    """The override of each parameter that has one."""
    if not isinstance(overrides, Mapping | None):
        raise TypeError(
            f"{_CALLER}: overrides must be a dict of patterns and their options, got {type(overrides).__name__}"
        )
    found: dict[Entry, str] = {}
    for pattern, options in (overrides or {}).items():
        _check_override(pattern, options)
        names = set(matching("overrides", pattern, inventory.names))
        entries = [entry for entry in inventory.entries if any(site.name in names for site in entry.sites)]
        trainable = [entry for entry in entries if entry.param.requires_grad]
        if not trainable:
            raise ValueError(
                f"{_CALLER}: overrides pattern {pattern!r} matches only frozen parameters (requires_grad=False), "
                f"such as {entries[0]}; unfreeze them before, or drop the override"
            )
        for entry in trainable:
            if (other := found.setdefault(entry, pattern)) != pattern:
                raise ValueError(
                    f"{_CALLER}: parameter {entry} is matched by two overrides, {other!r} and {pattern!r}; "
                    "narrow one of them, or write one override with the options of both"
                )
    return {entry: overrides[pattern] for entry, pattern in found.items()} if overrides else {}


def _check_override(pattern: object, options: Any) -> None:
    if not isinstance(options, Mapping):
        raise TypeError(
            f"{_CALLER}: overrides[{pattern!r}] must be a dict of group options such as {{'lr': 1e-4}}, "
            f"got {type(options).__name__}"
        )
    where = f"{_CALLER}: overrides[{pattern!r}]"
    for option in options:
        if option in ("params", "param_names"):
            raise ValueError(f"{where} holds {option!r}, which follows from the model; name parameters by the pattern")
    if "lr" in options:
        checks.learning_rate(where, options["lr"])
    if "weight_decay" in options:
        checks.non_negative(where, "weight_decay", options["weight_decay"], "Invalid weight_decay value")


def _key(value: Any) -> Hashable:
    """Equal for equal options. Tensors are equal to themselves only, as their hashes are: one may change later on."""
    if isinstance(value, Mapping):
        return frozenset((name, _key(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_key, value))
    return value if isinstance(value, Hashable) else ("id", id(value))
