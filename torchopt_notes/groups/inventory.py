"""The parameters of a model, each once, with every name it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList


class Site(NamedTuple):
    """One place where a parameter is registered.

    Attributes:
        name: its full name there, as in ``model.named_parameters()``.
        module: the module that uses it.
        attribute: what it is to that module, such as ``weight`` or ``in_proj_bias``.
    """

    name: str
    module: nn.Module
    attribute: str


@dataclass(frozen=True, eq=False)
class Entry:
    """A parameter and its places: several if it is tied. The first one gives it its name."""

    param: nn.Parameter
    sites: list[Site]

    @property
    def name(self) -> str:
        """The name that ``model.named_parameters()`` gives it."""
        return self.sites[0].name

    def __str__(self) -> str:
        others = ", ".join(repr(site.name) for site in self.sites[1:])
        return f"{self.name!r} (tied with {others})" if others else repr(self.name)


class Inventory(NamedTuple):
    """A model's parameters, names and modules, all in the model's order.

    Attributes:
        entries: every parameter once, frozen ones too.
        names: every name of every parameter.
        modules: every module by each of its names; the model itself is ``""``.
    """

    entries: list[Entry]
    names: list[str]
    modules: Mapping[str, nn.Module]


def take_inventory(model: nn.Module) -> Inventory:
    """Everything that decisions about parameters are based on.

    Raises:
        TypeError: for something that is not a module.
        ValueError: for parameters without a shape yet, or a model without trainable parameters.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"param_groups: model must be a torch.nn.Module, got {type(model).__name__}; "
            "pass the model itself, since parameters alone do not say which layer they are from"
        )
    modules = dict(model.named_modules(remove_duplicate=False))
    entries: dict[nn.Parameter, Entry] = {}
    names = []
    for prefix, module in modules.items():
        for attribute, param in module.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{prefix}.{attribute}" if prefix else attribute
            if is_lazy(param):
                raise ValueError(
                    f"param_groups: parameter {name!r} of a lazy module has no shape yet; "
                    "run the model once on a batch before its parameters are grouped"
                )
            names.append(name)
            entries.setdefault(param, Entry(param, [])).sites.append(_site(name, prefix, attribute, modules))
    if not any(param.requires_grad for param in entries):
        why = (
            "all its parameters are frozen; unfreeze some (requires_grad_(True)) before" if entries else "no parameters"
        )
        raise ValueError(f"param_groups: {type(model).__name__} has nothing to train: {why}")
    return Inventory(list(entries.values()), names, modules)


def _site(name: str, prefix: str, attribute: str, modules: Mapping[str, nn.Module]) -> Site:
    """A parametrized tensor and one in a list of parameters are judged as what they are to the module around them."""
    module = modules[prefix]
    if isinstance(module, ParametrizationList):
        prefix, _, attribute = prefix.rpartition(".")  # "fc.parametrizations.weight" is the weight of "fc"
        module = modules[prefix.rpartition(".")[0]]
    while prefix and isinstance(module, (nn.ParameterList, nn.ParameterDict)):
        prefix, _, container = prefix.rpartition(".")
        module, attribute = modules[prefix], f"{container}_{attribute}"
    return Site(name, module, attribute)
