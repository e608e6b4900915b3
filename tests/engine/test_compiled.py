"""What the compiled backend promises beyond right numbers: nothing is compiled twice, and ``auto`` says why."""

import os
import subprocess
import sys

import pytest
import torch
from torch._dynamo.utils import counters

from tests.backends import MISSING
from torchopt_notes import LAMB, SGD, Adafactor, AdamW
from torchopt_notes.engine.backends import COMPILE_FROM, PER_TENSOR
from torchopt_notes.engine.compiler import compiled_update

pytestmark = pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))


@pytest.fixture
def compilations():
    """A function that returns how many graphs were compiled since the test began."""
    torch._dynamo.reset()
    compiled_update.cache_clear()
    counters.clear()
    return lambda: counters["stats"]["unique_graphs"]


def run(sizes, steps, optimizer_class=AdamW, **kwargs):
    params = [torch.nn.Parameter(torch.randn(size)) for size in sizes]
    optimizer = optimizer_class(params, backend="compiled", **kwargs)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / step
        for param in params:
            param.grad = torch.randn_like(param)
        optimizer.step()


def test_a_schedule_compiles_once(compilations):
    run([20_000, 3, (100, 200)], steps=12)
    assert compilations() == 1


def test_twenty_sizes_compile_once(compilations):
    small = [1, 2, 7, 16, 63, 64, 100, 1000, 1024, 4095, 8193, (100, 101)]
    large = [2**14 - 1, 2**14, 2**14 + 1, 2**15 + 1, 2**16, 77_777, 300_001, 10**6]
    for size in small + large:
        run([size], steps=2)
    assert compilations() == 1


def test_many_variants_do_not_exhaust_the_compiler(compilations):
    """torch.compile silently gives up on a function after 8 recompilations."""
    variants = [
        {"amsgrad": amsgrad, "maximize": maximize, "weight_decay": weight_decay}
        for amsgrad in (False, True)
        for maximize in (False, True)
        for weight_decay in (0.0, 0.1)
    ]
    for dtype in (torch.float32, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            for kwargs in variants:
                run([20_000], steps=2, **kwargs)
        finally:
            torch.set_default_dtype(torch.float32)
    assert compilations() == 2 * len(variants)


def test_a_flag_of_the_group_that_changes_no_code_does_not_compile(compilations):
    run([20_000], steps=2)
    run([20_000], steps=2, capturable=True)
    run([20_000], steps=2, fused=True)
    assert compilations() == 1


def test_small_tensors_share_their_calls(monkeypatch):
    from torchopt_notes.engine import staging

    calls = []
    genuine = staging.Staging.update
    monkeypatch.setattr(
        staging.Staging,
        "update",
        lambda self, function, values, grads: genuine(
            self, lambda *a: (calls.append(a[1].numel()), function(*a)), values, grads
        ),
    )
    run([1000] * 600, steps=1)
    assert sum(calls) >= 600_000
    assert len(calls) == 3


def through_torch_compile(monkeypatch, steps):
    """How often ``steps``, a function, goes through torch.compile rather than straight to the code."""
    from torchopt_notes.engine import compiler

    calls = []
    genuine = compiler.flat
    monkeypatch.setattr(compiler, "flat", lambda tensor: (calls.append("vector"), genuine(tensor))[1])
    genuine_matrix = compiler._outside_of_autograd
    monkeypatch.setattr(
        compiler, "_outside_of_autograd", lambda tensor: (calls.append("matrix"), genuine_matrix(tensor))[1]
    )
    steps()
    return len(calls)


@pytest.mark.parametrize("cls", [AdamW, Adafactor])
def test_a_later_step_goes_straight_to_the_code(cls, monkeypatch):
    param = torch.nn.Parameter(torch.randn(150, 140))
    optimizer = cls([param], lr=0.1, backend="compiled")

    def step():
        param.grad = torch.randn_like(param)
        optimizer.step()

    step()
    assert through_torch_compile(monkeypatch, step) == 0


def test_the_first_step_of_a_rule_does_not(compilations, monkeypatch):
    """A control for the test above."""
    assert through_torch_compile(monkeypatch, lambda: run([20_000], steps=1)) > 0


def test_code_that_sums_is_not_used_with_more_threads_than_it_has_room_for(compilations):
    """torch.compile guards on their number; the short way past its guards must too."""
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 2, 1, 2):
            torch.set_num_threads(number)
            run([20_000], steps=2, optimizer_class=LAMB)
    finally:
        torch.set_num_threads(threads)
    assert compilations() == 2


@pytest.mark.parametrize("missing", ["the code", "its source", "a length"])
def test_a_compiler_that_cannot_be_looked_at_is_used_the_long_way(missing, compilations, monkeypatch):
    from torch._inductor import compile_fx

    from torchopt_notes.engine import compiler

    genuine = compile_fx.compile_fx_inner

    class Closed:
        """What an inner compiler may return as well: something that is called, with a list."""

        _boxed_call = True

        def __init__(self, made):
            self._made = made

        def __call__(self, given):
            return self._made(given)

    def inner(*args, **kwargs):
        made = genuine(*args, **kwargs)
        if missing == "the code":
            return Closed(made)
        if missing == "its source":
            made.source_code = "extern_kernels.mm(a, b)"
        return made

    monkeypatch.setattr(compile_fx, "compile_fx_inner", inner)
    if missing == "a length":
        monkeypatch.setattr(compiler._Sizes, "of", classmethod(lambda cls, graph: None))
    param = torch.nn.Parameter(torch.zeros(20_000))
    optimizer = SGD([param], lr=0.5, backend="compiled")

    def step():
        param.grad = torch.ones(20_000)
        optimizer.step()

    step()
    assert through_torch_compile(monkeypatch, step) > 0
    assert torch.equal(param, torch.full_like(param, -1.0))


def test_code_that_was_made_for_some_sizes_is_not_used_for_others():
    """Adafactor's sums by blocks of rows are specialised to the number of blocks being none, one or more."""
    torch.manual_seed(0)
    for shape in [(150, 140), (20, 30), (33, 5), (64, 7), (150, 140), (5000, 3), (2, 3, 40), (20, 30)]:
        ours, reference = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
        fast = Adafactor([ours], lr=0.1, backend="compiled")
        eager = Adafactor([reference], lr=0.1, backend="eager")
        for _ in range(3):
            ours.grad = torch.randn(shape)
            reference.grad = ours.grad.clone()
            fast.step()
            eager.step()
        assert torch.allclose(ours, reference, rtol=1e-5, atol=1e-6), shape
        assert not torch.equal(ours, torch.ones(shape))


def test_a_gradient_whose_memory_is_shorter_is_refused():
    param = torch.nn.Parameter(torch.zeros(20_000))
    optimizer = AdamW([param], backend="compiled")
    param.grad = torch.ones(20_000)
    optimizer.step()
    before = param.detach().clone()
    param.grad.data = torch.ones(10_000)
    with pytest.raises(RuntimeError, match=r"shape \(20000,\) has a gradient of shape \(10000,\)"):
        optimizer.step()
    assert torch.equal(param, before)


def test_factors_that_do_not_lie_in_one_run_of_memory():
    """The code looks at addresses alone, so it must be given a copy."""
    found = []
    for spread in (False, True):
        torch.manual_seed(0)
        param = torch.nn.Parameter(torch.ones(150, 140))
        optimizer = Adafactor([param], lr=0.1, backend="compiled")
        for _ in range(3):
            param.grad = torch.randn(150, 140)
            optimizer.step()
            state = optimizer.state[param]
            if spread:
                wide = torch.full((1, 280), 7.0)
                wide[:, ::2] = state["col_var"]
                state["col_var"] = wide[:, ::2]
        found.append((param.detach().clone(), optimizer.state[param]["col_var"].clone()))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_auto_compiles_from_the_break_even_on():
    """A tensor counts for more than its elements."""
    enough = COMPILE_FROM - PER_TENSOR
    for sizes, backend, text in (
        ([enough], "compiled", f"in 1 tensors count as {COMPILE_FROM:,}, compiling pays from {COMPILE_FROM:,}"),
        ([enough - 1], "eager", f"count as {COMPILE_FROM - 1:,}, compiling would pay from {COMPILE_FROM:,}"),
        ([1] * (COMPILE_FROM // PER_TENSOR), "compiled", "pays from"),
        ([1] * (COMPILE_FROM // PER_TENSOR - 1), "eager", "would pay from"),
    ):
        (bucket,) = AdamW([torch.nn.Parameter(torch.zeros(size)) for size in sizes]).explain()
        assert bucket.backend == backend
        assert text in bucket.reason


def test_fused_compiles_on_cpu_and_keeps_torchs_step():
    param = torch.nn.Parameter(torch.zeros(10))
    optimizer = AdamW([param], fused=True)
    param.grad = torch.ones(10)
    optimizer.step()
    (bucket,) = optimizer.explain()
    assert (bucket.backend, bucket.reason) == ("compiled", "fused=True")
    assert optimizer.state[param]["step"].dtype == torch.float32


def test_a_state_that_is_shared_stays_so_through_a_checkpoint(tmp_path):
    params = [torch.nn.Parameter(torch.randn(100)) for _ in range(50)]
    optimizer = SGD(params, lr=0.1, momentum=0.9, backend="compiled")
    for param in params:
        param.grad = torch.randn(100)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    # 50 × 400 bytes of numbers; a copy of the shared memory for each would be 50 times that.
    assert (tmp_path / "state.pt").stat().st_size < 100_000


BROKEN = """
import torch, torchopt_notes
param = torch.nn.Parameter(torch.ones(2_000_000))
param.grad = torch.ones_like(param)
optimizer = torchopt_notes.AdamW([param], backend="compiled")
try:
    optimizer.step()
except RuntimeError as error:
    print(str(error).splitlines()[0])
print(dict(optimizer.state), param.min().item())
optimizer.backend = "auto"
optimizer.step()
print(optimizer.explain()[0].backend, optimizer.explain()[0].reason)
"""


def test_a_compiler_that_fails_changes_nothing_and_auto_does_without():
    environment = {**os.environ, "CXX": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    result = subprocess.run([sys.executable, "-c", BROKEN], env=environment, capture_output=True, text=True, check=True)
    refused, untouched, fallback = result.stdout.splitlines()
    assert refused.startswith("AdamW: backend 'compiled' (requested) cannot run here, the compiler failed")
    assert untouched == "{} 1.0"
    assert fallback.startswith("eager auto: compiling failed")


def test_explain_counts_what_is_trained():
    frozen = torch.nn.Parameter(torch.zeros(COMPILE_FROM), requires_grad=False)
    (bucket,) = AdamW([frozen, torch.nn.Parameter(torch.zeros(10))]).explain()
    assert (bucket.backend, bucket.elements) == ("eager", 10)
