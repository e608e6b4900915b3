"""The float64 oracle: what one step comes to exactly, and how far rounding alone may carry a result from that.

A step of a well-written kernel returns the exact result for inputs that were each changed by a rounding or two. That
is the bound used here: around the result in float64, ``ulp`` times the sum of

* the spacing of the compute precision at that result (it must be represented), and
* for each input tensor and the learning rate, how much the result moves when that input moves by half a spacing (it,
  or a product with it, was rounded on the way). Rules are element-wise, so moving a whole tensor at once shows every
  element's sensitivity.

No constant is tuned. Where numbers cancel, the bound widens by exactly as much as the cancellation explains; where they
do not, it stays at a few units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..engine.layout import real
from .tolerances import TOLERANCES
from .ulp import spacing

Factory = Callable[..., torch.optim.Optimizer]

COUNTS = ("step", "mu_product", "eta", "mu")
"""0-d states that are numbers of the step rather than of the parameter, in a precision of their own."""

WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.float64: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex128: torch.complex128,
}


@dataclass(frozen=True)
class Inputs:
    """What one parameter's step starts from."""

    param: Tensor
    grad: Tensor
    state: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Bounds:
    """The exact result of a step, and the unit of the error that its roundings explain. Real, in fp64."""

    exact: Tensor
    unit: Tensor

    def contain(self, actual: Tensor, limit: Tensor | float) -> Tensor:
        """Elementwise: whether ``actual`` is what rounding a number within ``limit`` units of the exact one gives."""
        actual = real(actual)
        low = (self.exact - limit * self.unit).to(actual.dtype)
        high = (self.exact + limit * self.unit).to(actual.dtype)
        return ((low <= actual) & (actual <= high)) | same(actual, self.exact.to(actual.dtype))

    def distance(self, actual: Tensor) -> Tensor:
        """Elementwise: how many units ``actual`` lies beyond its own rounding from the exact result."""
        actual = real(actual)
        wide = actual.double()
        own_rounding = spacing(wide, actual.dtype) / 2 if actual.dtype in (torch.float16, torch.bfloat16) else 0.0
        distance = ((wide - self.exact).abs() - own_rounding).clamp_min(0) / self.unit
        # Where the exact result overflows the dtype, infinity is its rounding.
        overflown = ~wide.isfinite() & same(actual, self.exact.to(actual.dtype))
        return torch.where(same(wide, self.exact) | overflown, 0.0, distance)


def step_bounds(factory: Factory, kwargs: Mapping[str, Any], inputs: Inputs) -> dict[str, Bounds]:
    """Bounds for the parameter (under ``"param"``) and each state tensor after one step of ``factory``'s optimizer."""
    return all_bounds(factory, kwargs, [inputs])[0]


def all_bounds(factory: Factory, kwargs: Mapping[str, Any], inputs: Sequence[Inputs]) -> list[dict[str, Bounds]]:
    """The same for several parameters of one dtype, none of which affects another."""
    exact = _step(factory, kwargs, inputs, None)
    # Half a spacing is the largest relative change that one rounding makes. It would vanish in float64's own rounding,
    # so the sensitivity is measured with a larger change and scaled down.
    change = 2.0**-26
    compute = TOLERANCES[inputs[0].param.dtype].compute
    rounding = torch.finfo(compute).eps / 2
    units = [{name: spacing(value, compute) for name, value in one.items()} for one in exact]
    states = {name: None for one in inputs for name, value in one.state.items() if _is_state(name, value)}
    for moved in ("param", "grad", "lr", *states):
        for index, results in enumerate(_step(factory, kwargs, inputs, (moved, 1 + change))):
            for name, value in results.items():
                difference = (value - exact[index][name]).abs()
                units[index][name] = units[index][name] + difference * (rounding / change)
    return [
        {name: Bounds(value, unit[name]) for name, value in one.items()} for one, unit in zip(exact, units, strict=True)
    ]


def _step(
    factory: Factory, kwargs: Mapping[str, Any], inputs: Sequence[Inputs], change: tuple[str, float] | None
) -> list[dict[str, Tensor]]:
    """One step in float64, with one input of each parameter multiplied by a number."""

    def wide(name: str, value: Tensor) -> Tensor:
        value = value.detach().to(WIDE[value.dtype], copy=True)
        return value * change[1] if change is not None and change[0] == name else value

    params = [torch.nn.Parameter(wide("param", one.param)) for one in inputs]
    for param, one in zip(params, inputs, strict=True):
        param.grad = wide("grad", one.grad)
    alike = all(one.options is inputs[0].options for one in inputs)
    optimizer = factory(params, **kwargs)
    _begin_as_stored(optimizer, dict(zip(params, inputs, strict=True)))
    members = [params] if alike else [[param] for param in params]
    # Whatever groups the factory made: the options are those that each parameter's step had.
    made = optimizer.param_groups[0]
    optimizer.param_groups[:] = [
        {**made, **one.options, "params": own}
        for own, one in zip(members, inputs[:1] if alike else inputs, strict=True)
    ]
    if change is not None and change[0] == "lr":
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"]) * change[1]
    for param, one in zip(params, inputs, strict=True):
        if one.state:
            optimizer.state[param] = {
                name: wide(name, value)
                if _is_state(name, value)
                else (value.clone() if isinstance(value, Tensor) else value)
                for name, value in one.state.items()
            }
    optimizer.step()
    return [_results(param, optimizer.state[param]) for param in params]


def _begin_as_stored(optimizer: torch.optim.Optimizer, inputs: Mapping[Tensor, Inputs]) -> None:
    """A new state begins with what its own dtype makes of it: Rprop's steps are lr, which bf16 rounds by 2⁻⁹ of it.

    In wider dtypes that rounding is one that the unit counts.
    """
    new_state = getattr(optimizer, "new_state", None)
    if new_state is None:  # not one of this package's, which alone say what they begin with
        return

    def stored(name: str, group: dict[str, Any], param: Tensor) -> Tensor:
        one = inputs[param]
        if not TOLERANCES[one.param.dtype].rounds_on_store:
            made: Tensor = new_state(name, group, param)
            return made
        narrow: Tensor = new_state(name, group, one.param.detach())
        return narrow.to(WIDE[narrow.dtype])

    optimizer.new_state = stored  # type: ignore[attr-defined]


def _results(param: Tensor, state: Mapping[str, Any]) -> dict[str, Tensor]:
    states = {name: value for name, value in state.items() if _is_state(name, value)}
    return {name: real(dense(value.detach())).double() for name, value in {"param": param, **states}.items()}


def dense(value: Tensor) -> Tensor:
    """torch's SGD keeps the momentum of sparse gradients in a sparse tensor."""
    return value.to_dense() if value.is_sparse else value


def same(actual: Tensor, expected: Tensor) -> Tensor:
    """Elementwise: equal, or both NaN."""
    return (actual == expected) | (actual.isnan() & expected.isnan())


def _is_state(name: str, value: Any) -> bool:
    number = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
    return number and name not in COUNTS
