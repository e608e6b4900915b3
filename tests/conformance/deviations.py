"""What ours does otherwise than torch's optimizers. The tests consult this: an entry that is no longer true fails."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

TORCH = "2.13."
"""The release that the list is about."""


@dataclass(frozen=True)
class Deviation:
    """One difference.

    Attributes:
        optimizers: the classes' names, or patterns of them.
        check: the name of the check that finds it.
        cases: a pattern of the inputs with which it does.
        torch, ours: what each does.
        reason: why ours does.
        shows: what the parts of the check that then fail say, as regular expressions of whole sentences: each of them
            says one of these, and each of these is said. All other parts of the check hold.
        but: the names of optimizers that it is not true of.
        backends: a pattern of the backends that it is true of.
    """

    optimizers: tuple[str, ...]
    check: str
    cases: str
    torch: str
    ours: str
    reason: str
    shows: tuple[str, ...]
    but: tuple[str, ...] = ()
    backends: str = "*"

    def concerns(self, optimizer: str, check: str, case: str, backend: str) -> bool:
        """Whether it is about this cell."""
        return (
            check == self.check
            and any(fnmatchcase(optimizer, pattern) for pattern in self.optimizers)
            and optimizer not in self.but
            and fnmatchcase(case, self.cases)
            and fnmatchcase(backend, self.backends)
        )


EVERY = ("*",)
FUSED_ON_CPU = ("Adagrad", "Adam", "AdamW", "SGD")

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        EVERY,
        "error_inputs_raise_what_torch_raises",
        "*cannot have duplicate parameters",
        torch="warns that a group holds the same parameter twice, and updates it twice per step",
        ours="raises `ValueError`",
        reason="torch announces the error for a later release, and what a fast backend would do with it is undefined",
        shows=(
            r"ValueError\('\w+: a parameter group holds the same parameter twice \(index 1\); list it once'\) "
            r"instead of UserWarning",
            r"ValueError\('\w+: a parameter group holds the same parameter twice \(index 1\); list it once'\) "
            r"does not say '\.\*a parameter group with duplicate parameters\.\*'",
        ),
    ),
    Deviation(
        ("Adafactor",),
        "error_inputs_raise_what_torch_raises",
        "*does not support complex parameters",
        torch="refuses complex parameters at the first step, with `RuntimeError`",
        ours="refuses them at construction, with `ValueError` and the same words",
        reason="what can never work is refused before training begins, as in torch's own SparseAdam",
        shows=(
            r"raised at construction: ValueError\('Adafactor does not support complex parameters: .*'\)",
            r"ValueError\('Adafactor does not support complex parameters: .*'\) instead of RuntimeError",
        ),
    ),
    Deviation(
        EVERY,
        "bad_parameters_are_refused_as_torch_refuses_them",
        "a group without parameters",
        torch="raises `KeyError`, with the key for its only word",
        ours="raises `ValueError`, and says which keys the group has",
        reason="a message that says what is missing",
        shows=(
            r"ours: ValueError\(\"\w+: a parameter group needs 'params', got \['lr'\]\"\); torch: KeyError\('params'\)",
        ),
    ),
    Deviation(
        ("AdamW",),
        "gradients_of_the_other_layout_are_refused_as_torch_refuses_them",
        "*",
        torch="says that Adam does not support sparse gradients",
        ours="says that AdamW does not; the rest of the message is the same",
        reason="the class's own name",
        shows=(
            r"ours: RuntimeError\('AdamW( does not support sparse gradients, please consider SparseAdam instead)'\); "
            r"torch: RuntimeError\('Adam\1'\)",
        ),
    ),
    Deviation(
        EVERY,
        "parameters_on_the_meta_device_do_as_in_torch",
        "*",
        torch="takes steps of parameters on the meta device, which hold no data",
        ours="raises `RuntimeError`",
        reason="such a step changes nothing: the model was never given weights (torch's ASGD, Adafactor and SparseAdam "
        "raise as well)",
        shows=(r"ours: RuntimeError\('\w+: parameters on the meta device hold no data; .*'\); torch: None",),
        but=("ASGD", "Adafactor", "SparseAdam"),
    ),
    Deviation(
        ("SparseAdam",),
        "parameters_on_the_meta_device_do_as_in_torch",
        "*",
        torch="raises `NotImplementedError`, which is a `RuntimeError`, for an operation that the meta device has not",
        ours="raises `RuntimeError`, as all of ours do for such parameters",
        reason="a message about the parameters; which operation is not there says nothing about them",
        shows=(
            r"ours: RuntimeError\('SparseAdam: parameters on the meta device hold no data; .*'\); "
            r"torch: NotImplementedError\(.*\)",
        ),
    ),
    Deviation(
        ("Adam", "AdamW"),
        "differentiable_works_with_amsgrad_as_in_torch",
        "*",
        torch="loses the history of `differentiable` steps with `amsgrad`: the backward pass raises",
        ours="works",
        reason="a limitation of torch's implementation, not of the rule",
        shows=(
            r"ours: None; torch: RuntimeError\('one of the variables needed for gradient computation has been modified "
            r"by an inplace operation: .*'\)",
        ),
    ),
    Deviation(
        EVERY,
        "capturable_on_the_cpu_does_as_in_torch",
        "*",
        torch="refuses `capturable=True` for parameters on the CPU",
        ours="works, with the numbers of `capturable=False` within rounding",
        reason="the same script then runs with and without a GPU",
        shows=(r"ours: None; torch: AssertionError\(.If capturable=True, .* must be on supported devices: .*\)",),
    ),
    Deviation(
        FUSED_ON_CPU,
        "fused_false_asks_for_the_loop_as_in_torch",
        "*",
        torch="runs its loop over the parameters with `fused=False`",
        ours='`fused=False` asks for nothing; `backend="eager"` is how to ask for the loop',
        reason="the backend alone decides, and all of them agree",
        shows=("runs on the compiled backend",),
    ),
    Deviation(
        FUSED_ON_CPU,
        "scaled_gradients_are_afterwards_what_torch_leaves",
        "*",
        torch="a fused step that unscales gradients for `GradScaler` writes them back, unscaled",
        ours="leaves `param.grad` as it was",
        reason="gradients are not written, which saves a pass over memory; `scaler.unscale_` is for who reads them",
        shows=(r"params\[\d\]\.grad: \[8\.0\] instead of \[1\.0\]",),
    ),
    Deviation(
        ("Adafactor",),
        "a_tensor_for_a_learning_rate_takes_torchs_steps",
        "lr as a tensor of * dimension*",
        torch="rounds the size of the step to the precision of a learning rate in a tensor",
        ours="takes the steps that the same number gives",
        reason="the result of a number and of a tensor that holds it should not differ",
        shows=(r"params\[\d\]: tensor\(.*",),
        backends="eager",
    ),
    Deviation(
        ("SGD",),
        "older_ones_load",
        "*",
        torch="gives a state dict that lacks `fused` the value `False`",
        ours="gives it `None`, as all of torch's other optimizers do",
        reason="`None` is the argument's default; both ask for nothing here",
        shows=("group 0, fused: NoneType instead of bool",),
    ),
    Deviation(
        ("SparseAdam",),
        "older_ones_load",
        "*",
        torch="leaves a state dict that lacks `maximize` without it, and takes that for `False` at every step",
        ours="gives it `False`",
        reason="as torch's other optimizers do; a group then has the same keys whatever it was loaded from",
        shows=("group 0, maximize: False instead of no such key",),
    ),
    Deviation(
        EVERY,
        "states_get_the_parameters_dtype_as_in_torch",
        "*",
        torch="casts a state that it loads to its parameter's dtype",
        ours="keeps the dtype that it was saved with",
        reason="fp32 moments of bf16 parameters would lose their digits with every checkpoint",
        shows=(r"state \d, \w+: torch\.float32 instead of torch\.bfloat16",),
        but=("SparseAdam",),
    ),
)


def find(optimizer: str, check: str, case: str, backend: str) -> Deviation | None:
    """The entry about a cell, or None."""
    found = [deviation for deviation in DEVIATIONS if deviation.concerns(optimizer, check, case, backend)]
    assert len(found) <= 1, f"more than one entry about {optimizer}, {check}, {case}"
    return found[0] if found else None
