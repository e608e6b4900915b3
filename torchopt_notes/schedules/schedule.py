"""What a schedule is, and how schedules are put together."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from . import checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ENDLESS = math.inf


class Schedule(ABC):
    """A multiplier of a hyperparameter's base value: a pure function of the step.

    Step 0 is the first one. A schedule never changes, can be pickled, compared and hashed, and prints as the expression
    that makes it. It takes a step (also a fraction of one, for schedules in epochs) or an array of them.

    Attributes:
        horizon: how many steps it lasts. From there on it keeps its last value; ``inf`` if it never ends.

    Raises:
        TypeError: for a step that is no number.
        ValueError: for a negative step, or one that is not finite.
        OverflowError: for a step at which the value is too large for a float.

    >>> from torchopt_notes import schedules as S
    >>> schedule = S.linear(10, start=1, end=0) * 0.5
    >>> schedule(0), schedule(5), schedule(99), schedule.horizon
    (0.5, 0.25, 0.0, 10)
    >>> schedule([0, 5, 10])
    array([0.5 , 0.25, 0.  ])
    >>> schedule
    linear(10) * 0.5
    """

    # An array that stands before * or + leaves it to the schedule to refuse, instead of becoming one of objects.
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        # NumPy's and torch's numbers neither print as what makes them, nor hash alike, nor load with weights_only.
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, checks.plain(getattr(self, field.name)))
        self._check()

    def _check(self) -> None:  # noqa: B027 - most have arguments to check, and none has to
        """Refuses arguments that cannot be meant."""

    @property
    @abstractmethod
    def horizon(self) -> float: ...

    @abstractmethod
    def at(self, step: float) -> float:
        """The value at a step between 0 and the horizon."""

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]: ...
    @overload
    def __call__(self, step: Tensor) -> Tensor: ...

    def __call__(self, step: Any) -> Any:
        if type(step) is int or type(step) is float:
            return self._value(step)
        if isinstance(step, Tensor):
            values = [self._value(checks.number("schedule", "step", one)) for one in step.detach().flatten().tolist()]
            return torch.tensor(values, dtype=torch.float64).reshape(step.shape)
        if isinstance(step, (np.ndarray, Sequence)) and not isinstance(step, str):
            array = np.asarray(step)
            values = [self._value(checks.number("schedule", "step", one)) for one in array.ravel().tolist()]
            return np.array(values, dtype=np.float64).reshape(array.shape)
        return self._value(checks.number("schedule", "step", step))

    def _value(self, step: float) -> float:
        if not 0 <= step < math.inf:
            raise ValueError(f"schedule: step must be a finite number >= 0, got {step}")
        try:
            value = float(self.at(min(step, self.horizon)))
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            raise OverflowError(f"{self!r} is too large for a float at step {step}; end it earlier")
        return value

    def __rshift__(self, other: Schedule) -> Schedule:
        """Then: this one for its horizon, and the other after it, from its own step 0."""
        return Then(_parts(Then, self) + _parts(Then, other)) if isinstance(other, Schedule) else NotImplemented

    def __mul__(self, other: Schedule | float) -> Schedule:
        return Product(_parts(Product, self) + _parts(Product, other)) if _joins(other) else NotImplemented

    def __rmul__(self, other: float) -> Schedule:
        return Product(_parts(Product, other) + _parts(Product, self)) if _joins(other) else NotImplemented

    def __add__(self, other: Schedule | float) -> Schedule:
        return Sum(_parts(Sum, self) + _parts(Sum, other)) if _joins(other) else NotImplemented

    def __radd__(self, other: float) -> Schedule:
        return Sum(_parts(Sum, other) + _parts(Sum, self)) if _joins(other) else NotImplemented

    def clip(self, min: float | None = None, max: float | None = None) -> Schedule:
        """With values below ``min`` and above ``max`` (multipliers) brought to them."""
        return Clipped(self, min, max)

    def repeat(self, times: float = ENDLESS) -> Schedule:
        """``times`` times over, each from step 0 on; without an end by default."""
        return Repeated(self, times)

    def stretch(self, factor: float) -> Schedule:
        """``factor`` times as long: ``S.cosine(90).stretch(steps_per_epoch)`` turns epochs into steps."""
        return Stretched(self, factor)

    def until(self, steps: float) -> Schedule:
        """Ends after ``steps`` steps and keeps the value that it has there, so that another one can follow."""
        return Until(self, steps)

    def plot(self, steps: int, *, base: float = 1.0) -> Figure:
        """A matplotlib figure of the values at steps 0 to ``steps``, times ``base``.

        Raises:
            ImportError: if matplotlib is missing; the extra ``cli`` brings it.
        """
        from .plotting import plot_schedule

        return plot_schedule(self, steps, base=base)

    def __repr__(self) -> str:
        arguments: list[str] = []
        named = False
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value == field.default:
                named = True
            else:
                named = named or bool(field.kw_only)
                arguments.append(f"{field.name}={value!r}" if named else repr(value))
        return f"{type(self).__name__}({', '.join(arguments)})"


Part = Schedule | float


def _joins(value: Any) -> bool:
    return isinstance(value, (Schedule, Real)) and not isinstance(value, bool)


def _parts(kind: type[_Joined], value: Any) -> tuple[Any, ...]:
    return value.parts if isinstance(value, kind) else (value,)


def _chain(sign: str, parts: Sequence[Part], weaker: tuple[type[_Joined], ...]) -> str:
    first, *rest = parts
    if len(rest) > 1 and not isinstance(first, Schedule) and not isinstance(rest[0], Schedule):
        # Without these Python would make one number of both.
        return f"{first!r} {sign} ({_chain(sign, rest, weaker)})"
    return f" {sign} ".join(_text(part, weaker) for part in parts)


def _text(value: Part, weaker: tuple[type[_Joined], ...]) -> str:
    return f"({value!r})" if isinstance(value, weaker) else repr(value)


@dataclasses.dataclass(frozen=True, repr=False)
class _Joined(Schedule):
    parts: tuple[Part, ...]

    def _check(self) -> None:
        for part in self.parts:
            if not isinstance(part, Schedule):
                checks.number(type(self).__name__.lower(), "a part", part)

    def _schedules(self) -> list[Schedule]:
        return [part for part in self.parts if isinstance(part, Schedule)]

    @property
    def horizon(self) -> float:
        """That of the part which lasts longest."""
        return max(part.horizon for part in self._schedules())

    def _values(self, step: float) -> list[float]:
        return [part._value(step) if isinstance(part, Schedule) else part for part in self.parts]


@dataclasses.dataclass(frozen=True, repr=False)
class Product(_Joined):
    """The product of schedules and numbers."""

    def at(self, step: float) -> float:
        return math.prod(self._values(step))

    def __repr__(self) -> str:
        return _chain("*", self.parts, (Then, Sum))


@dataclasses.dataclass(frozen=True, repr=False)
class Sum(_Joined):
    """The sum of schedules and numbers."""

    def at(self, step: float) -> float:
        return sum(self._values(step))

    def __repr__(self) -> str:
        return _chain("+", self.parts, (Then,))


@dataclasses.dataclass(frozen=True, repr=False)
class Then(_Joined):
    """Schedules one after the other, each from its own step 0. A joint belongs to the one that begins there."""

    def _check(self) -> None:
        for part in self._schedules()[:-1]:
            if part.horizon == ENDLESS:
                raise ValueError(
                    f"{part!r} never ends, so that nothing can follow it; say how long it lasts: "
                    f"{_method(part, 'until(steps)')}"
                )

    @property
    def horizon(self) -> float:
        """All of them together."""
        return sum(part.horizon for part in self._schedules())

    def at(self, step: float) -> float:
        *parts, last = self._schedules()
        # Lengths that are no whole numbers may be rounded, and what is left be less than the last one's length.
        if step == self.horizon:
            return last._value(last.horizon)
        for part in parts:
            if step < part.horizon:
                return part._value(step)
            step -= part.horizon
        return last._value(step)

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.parts))


def _method(schedule: Schedule, call: str) -> str:
    return f"{_text(schedule, (Product, Sum, Then))}.{call}"


@dataclasses.dataclass(frozen=True, repr=False)
class Clipped(Schedule):
    """A schedule between two bounds."""

    schedule: Schedule
    min: float | None
    max: float | None

    def _check(self) -> None:
        bounds = {"min": self.min, "max": self.max}
        checks.finite("clip", **{name: bound for name, bound in bounds.items() if bound is not None})
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"clip: min must not be greater than max, got min={self.min} and max={self.max}")

    @property
    def horizon(self) -> float:
        return self.schedule.horizon

    def at(self, step: float) -> float:
        value = self.schedule._value(step)
        if self.min is not None:
            value = max(value, self.min)
        return value if self.max is None else min(value, self.max)

    def __repr__(self) -> str:
        bounds = [f"{name}={bound!r}" for name, bound in (("min", self.min), ("max", self.max)) if bound is not None]
        return _method(self.schedule, f"clip({', '.join(bounds)})")


@dataclasses.dataclass(frozen=True, repr=False)
class Repeated(Schedule):
    """A schedule over and over. Only the last time reaches the value at its horizon."""

    schedule: Schedule
    times: float

    def _check(self) -> None:
        if not 0 < self.schedule.horizon < ENDLESS:
            raise ValueError(
                f"repeat: {self.schedule!r} lasts {self.schedule.horizon} steps; only what ends, and after more than "
                "0, can be repeated: give it a length, or cut it with .until(steps)"
            )
        if self.times != ENDLESS and (checks.number("repeat", "times", self.times) < 1 or self.times % 1):
            raise ValueError(f"repeat: times must be a whole number >= 1, or inf, got {self.times!r}")

    @property
    def horizon(self) -> float:
        return self.schedule.horizon * self.times

    def at(self, step: float) -> float:
        length = self.schedule.horizon
        return self.schedule._value(length if step == self.horizon else step % length)

    def __repr__(self) -> str:
        return _method(self.schedule, f"repeat({'' if self.times == ENDLESS else repr(self.times)})")


@dataclasses.dataclass(frozen=True, repr=False)
class Stretched(Schedule):
    """A schedule with time running ``factor`` times as slowly."""

    schedule: Schedule
    factor: float

    def _check(self) -> None:
        checks.positive("stretch", factor=self.factor)

    @property
    def horizon(self) -> float:
        return self.schedule.horizon * self.factor

    def at(self, step: float) -> float:
        if step == self.horizon:
            return self.schedule._value(self.schedule.horizon)
        # The quotient may be rounded to less than the whole step at which something begins.
        inner = step / self.factor
        return self.schedule._value(round(inner) if round(inner) * self.factor == step else inner)

    def __repr__(self) -> str:
        return _method(self.schedule, f"stretch({self.factor!r})")


@dataclasses.dataclass(frozen=True, repr=False)
class Until(Schedule):
    """A schedule of another length: its value at ``steps`` is kept from there on."""

    schedule: Schedule
    steps: float

    def _check(self) -> None:
        checks.steps("until", steps=self.steps)

    @property
    def horizon(self) -> float:
        return self.steps

    def at(self, step: float) -> float:
        return self.schedule._value(step)

    def __repr__(self) -> str:
        return _method(self.schedule, f"until({self.steps!r})")
