"""What the compiled backend promises beyond right numbers: nothing is compiled twice, and ``auto`` says why."""

import os
import subprocess
import sys

import pytest
import torch
from torch._dynamo.utils import counters

from tests.backends import MISSING
from torchopt_notes import SGD, AdamW
from torchopt_notes.engine.backends import COMPILE_FROM
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


def test_auto_compiles_from_the_break_even_on():
    large = AdamW([torch.nn.Parameter(torch.zeros(COMPILE_FROM))])
    small = AdamW([torch.nn.Parameter(torch.zeros(COMPILE_FROM - 1))])
    (large_bucket,), (small_bucket,) = large.explain(), small.explain()
    assert (large_bucket.backend, small_bucket.backend) == ("compiled", "eager")
    assert f"compiling pays from {COMPILE_FROM:,}" in large_bucket.reason
    assert f"compiling would pay from {COMPILE_FROM:,}" in small_bucket.reason


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
