"""Kernels that measure whole tensors, in the interpreter: launches, sums, memory, and mistakes that must be noticed."""

from types import SimpleNamespace

import pytest
import torch

from torchopt_notes import LAMB, LARS, Adafactor, NovoGrad, StableAdamW
from torchopt_notes.testing import CASES, ParityError, assert_parity

BLOCK = 1024
TRITON = {"backend": "triton"}
LAYERWISE = [case for case in CASES if case.optimizer.rule.norms is not None]
RULES = [
    pytest.param(LAMB, {}, id="lamb"),
    pytest.param(LARS, {"lr": 0.1, "weight_decay": 0.1}, id="lars"),
    pytest.param(NovoGrad, {"weight_decay": 0.1}, id="novograd"),
    pytest.param(StableAdamW, {}, id="stable-adamw"),
    pytest.param(Adafactor, {"weight_decay": 0.1}, id="adafactor"),
]
PASSES = ["measure_bucket", "finish_bucket", "apply_bucket"]
FACTORS = ["factor_bucket", "fold_bucket", "mean_rows"]


@pytest.fixture
def launches(monkeypatch):
    """Every launch: its kernel, and all it is given."""
    from torchopt_notes.engine import factored, fused, layerwise, rows

    recorded = []
    genuine = fused.launch

    def recording(kernel, programs, **arguments):
        recorded.append(SimpleNamespace(kernel=kernel.fn.__name__, programs=programs, **arguments))
        genuine(kernel, programs, **arguments)

    for module in (factored, fused, layerwise, rows):
        monkeypatch.setattr(module, "launch", recording)
    return recorded


def make_params(shapes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(dtype)
    return params


def kernels(launches):
    return [launch.kernel for launch in launches]


@pytest.mark.parametrize("n", [1, 80])
@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_three_launches_however_many_tensors(rule, arguments, n, launches):
    sizes = [(1 + 700 * (i % 4),) for i in range(n)]
    rule(make_params(sizes), **arguments, **TRITON).step()
    assert kernels(launches) == PASSES
    chunks = sum(-(-size // BLOCK) for (size,) in sizes)
    assert [launch.programs for launch in launches] == [chunks, n, chunks]


@pytest.mark.parametrize("n", [1, 40])
def test_six_launches_for_matrices_with_factors(n, launches):
    shapes = [(2, 33, 129) if i % 2 else (40, 60) for i in range(n)]
    Adafactor(make_params(shapes), **TRITON).step()
    assert kernels(launches) == [*FACTORS, *PASSES]
    # Tiles of 32 x 128; 128 rows or columns at a time; a mean per matrix; chunks of 1024; numbers per tensor.
    one, other = [2, 2, 1, 3, 1, 3], [8, 4, 2, 9, 1, 9]
    expected = [a * (n - n // 2) + b * (n // 2) for a, b in zip(one, other, strict=True)]
    assert [launch.programs for launch in launches] == expected


@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_unaligned_tensors_take_one_launch_more_per_pass(rule, arguments, launches):
    params = make_params([(2 * BLOCK,), (10,)])
    flat = torch.randn(2 * BLOCK + 1)
    params.insert(1, torch.nn.Parameter(flat[1:]))
    params[1].grad = torch.randn(2 * BLOCK)
    twins = [torch.nn.Parameter(param.detach().clone()) for param in params]
    for twin, param in zip(twins, params, strict=True):
        twin.grad = param.grad
    rule(twins, backend="eager", **arguments).step()
    rule(params, **arguments, **TRITON).step()
    torch.testing.assert_close(params, twins)
    measure, finish, apply = PASSES
    assert kernels(launches) == [measure, measure, finish, apply, apply]
    assert [launch.programs for launch in launches] == [3, 2, 3, 3, 2]
    assert [launch.ALIGNED for launch in launches if launch.kernel != finish] == [True, False] * 2
    assert [launch.first_partial for launch in launches[:2]] == [0, 3]
    assert launches[2].first_chunk.tolist() == [0, 3, 2]


def test_one_bucket_per_code_path(launches):
    shapes = [(3, 4), (5,), (6, 7), ()]
    Adafactor(make_params(shapes), **TRITON).step()
    assert kernels(launches) == [*FACTORS, *PASSES, *PASSES]
    launches.clear()
    LAMB(make_params(shapes), exempt_1d=True, **TRITON).step()
    assert kernels(launches) == PASSES * 2
    launches.clear()
    LAMB(make_params(shapes), capturable=True, **TRITON).step()
    assert kernels(launches) == ["refresh_rows", *PASSES]
    launches.clear()
    Adafactor(make_params([(3, 4)]), capturable=True, **TRITON).step()
    assert kernels(launches) == ["refresh_rows", *FACTORS, *PASSES]


@pytest.fixture
def small_blocks(monkeypatch):
    """So that adding up a tensor's chunks, or a matrix's rows, takes several rounds."""
    from torchopt_notes.engine import factored, launch

    monkeypatch.setattr(launch, "FINISH_BLOCK", 4)
    monkeypatch.setattr(factored, "FINISH_BLOCK", 4)


@pytest.mark.parametrize("shape", [(10 * BLOCK + 7,), (70, 150)], ids=str)
@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_a_tensor_gets_the_same_bits_in_any_company(rule, arguments, shape, small_blocks):
    results = []
    for before, after in [([], []), ([(3000,), (5,)], [(9, 9)]), ([(9, 9)] * 3, [(40, 41), ()])]:
        (param,), others = make_params([shape]), make_params([*before, *after], seed=1)
        params = [*others[: len(before)], param, *others[len(before) :]]
        optimizer = rule(params, **arguments, **TRITON)
        for _ in range(2):
            optimizer.step()
        results.append([param, *optimizer.state[param].values()])
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("case", LAYERWISE, ids=lambda case: case.name)
def test_sums_that_take_several_rounds(case, small_blocks):
    shapes = [(5 * BLOCK + 7,), (70, 150)]
    compare(case.optimizer, case.kwargs, shapes, ulp=case.units)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", LAYERWISE, ids=lambda case: case.name)
def test_gradients_are_never_written(case, dtype):
    params = make_params([(17, 31), (BLOCK + 1,), (), (2, 3, 4), (5, 6)], dtype)
    params[-1].grad = params[-1].grad.mT.contiguous().mT
    before = [param.grad.clone() for param in params]
    addresses = [param.grad.data_ptr() for param in params]
    optimizer = case.optimizer(params, **case.kwargs, **TRITON)
    for _ in range(2):
        optimizer.step()
    assert all(torch.equal(param.grad, gradient) for param, gradient in zip(params, before, strict=True))
    assert addresses == [param.grad.data_ptr() for param in params]


MARGIN = 4


class Guard:
    """Memory between NaNs, at a 16-byte boundary."""

    def __init__(self):
        self.buffers = []
        self.zeros = torch.zeros

    def __call__(self, value):
        """The same value there."""
        buffer = torch.full((value.numel() + 2 * MARGIN,), torch.nan, dtype=value.dtype)
        self.buffers.append(buffer)
        return buffer[MARGIN : MARGIN + value.numel()].view(value.shape).copy_(value)

    def guarded_zeros(self, *size, **options):
        """In place of ``torch.zeros``."""
        value = self.zeros(*size, **options)
        return self(value) if value.is_floating_point() else value

    def check(self):
        assert all(buffer[:MARGIN].isnan().all() and buffer[-MARGIN:].isnan().all() for buffer in self.buffers)


AWKWARD = [(BLOCK + 3,), (33, 129), (1, 1000), (1000, 1), (3, 5, 7), (2, 0), (2, 0, 3), (0, 4), (32, 128), (2, 31, 127)]


@pytest.mark.parametrize("shape", AWKWARD, ids=str)
@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_neighbouring_memory_is_left_alone(rule, arguments, shape, monkeypatch):
    """That of weights, gradients and states, and that of the sums and numbers between the launches."""
    guard = Guard()
    (twin,) = make_params([shape])
    eager = rule([twin], backend="eager", **arguments)
    eager.step()
    param = torch.nn.Parameter(guard(twin.detach()))
    param.grad = guard(twin.grad)
    optimizer = rule([param], **arguments, **TRITON)
    state = {name: guard(value) for name, value in eager.state[twin].items()}
    optimizer.state[param] = state
    users = dict(state)  # before the step counts move to a place of their own
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros", guard.guarded_zeros)
        optimizer.step()
    eager.step()
    guard.check()
    assert len(guard.buffers) >= 2 + len(users) + 2
    torch.testing.assert_close(param, twin)
    for name in users.keys() - {"step"}:
        torch.testing.assert_close(users[name], eager.state[twin][name])


def compare(rule, arguments, shapes, **more):
    return assert_parity(
        rule, rule, kwargs=arguments, candidate_kwargs=TRITON, shapes=shapes, steps=2, **{"ulp": 4, **more}
    )


MISTAKES = [
    (LAMB, {}, "finish", "inverted"),
    (LAMB, {}, "finish", "without_roots"),
    (LARS, {"lr": 0.1, "weight_decay": 0.1}, "measure", "decay_measured"),
    (NovoGrad, {}, "finish", "one_step_late"),
    (StableAdamW, {}, "finish", "not_a_mean"),
    (Adafactor, {"eps": (1e-7, 1e-3)}, "finish", "unlimited"),
]


@pytest.mark.parametrize(("rule", "arguments", "part", "mistake"), MISTAKES)
def test_a_wrong_kernel_is_caught(rule, arguments, part, mistake, monkeypatch):
    from tests.kernels import wrong_layerwise
    from torchopt_notes.engine import launch

    genuine = launch.rule_kernel
    shapes = [(63,), (BLOCK + 1,), (17, 31)]
    compare(rule, arguments, shapes)
    wrong = {part: getattr(wrong_layerwise, mistake)}
    monkeypatch.setattr(launch, "rule_kernel", lambda rule: SimpleNamespace(**{**vars(genuine(rule)), **wrong}))
    with pytest.raises(ParityError):
        compare(rule, arguments, shapes)


@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_another_tensors_norm_is_caught(rule, arguments, monkeypatch):
    from torchopt_notes.engine.layerwise import LayerwiseLaunches

    genuine = LayerwiseLaunches._lay_out

    def shifted(self):
        genuine(self)
        self._first = self._first.roll(1)

    monkeypatch.setattr(LayerwiseLaunches, "_lay_out", shifted)
    with pytest.raises(ParityError):
        compare(rule, arguments, [(63,), (63,)])


@pytest.mark.parametrize(("rule", "arguments"), RULES)
def test_a_lost_chunk_is_caught(rule, arguments, monkeypatch):
    """A single element out of 1025 is missing in the sum."""
    from torchopt_notes.engine import layerwise

    genuine = layerwise.finish_constants
    compare(rule, arguments, [(BLOCK + 1,)])
    monkeypatch.setattr(layerwise, "finish_constants", lambda *given: {**genuine(*given), "CHUNK": 2 * BLOCK})
    with pytest.raises(ParityError):
        compare(rule, arguments, [(BLOCK + 1,)])


@pytest.mark.parametrize("places", [[3, 2], [3, 3], [2, 2]], ids=["swapped", "columns twice", "rows twice"])
def test_rows_taken_for_columns_are_caught(places, monkeypatch):
    from torchopt_notes.engine.factored import Factors

    genuine = Factors.__init__

    def confused(self, *given):
        genuine(self, *given)
        self.layout[:, [2, 3]] = self.layout[:, places]

    compare(Adafactor, {}, [(40, 40)])
    monkeypatch.setattr(Factors, "__init__", confused)
    with pytest.raises(ParityError):
        compare(Adafactor, {}, [(40, 40)])


@pytest.mark.parametrize("rule", [LAMB, StableAdamW, Adafactor])
def test_states_rounded_before_their_use_are_caught(rule, monkeypatch):
    from torchopt_notes.engine.layerwise import LayerwiseLaunches

    genuine = LayerwiseLaunches.__init__

    def hasty(self, *given):
        genuine(self, *given)
        self.early = True

    arguments = {"eps": (1e-7, 1e-3)} if rule is Adafactor else {}
    compare(rule, {"lr": 0.1, **arguments}, [(500,)], dtype=torch.bfloat16)
    monkeypatch.setattr(LayerwiseLaunches, "__init__", hasty)
    with pytest.raises(ParityError):
        compare(rule, {"lr": 0.1, **arguments}, [(500,)], dtype=torch.bfloat16)
