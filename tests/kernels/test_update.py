"""The Triton backend in the interpreter: numbers, edges, launches, layouts."""

from types import SimpleNamespace

import pytest
import torch

from tests.choice import each_case
from torchopt_notes import SGD, Adam, AdamW
from torchopt_notes.testing import CASES, ParityError, assert_parity

pytestmark = pytest.mark.usefixtures("launches")
BLOCK = 1024
SIZES = [(1,), (63,), (100,), (BLOCK - 1,), (BLOCK,), (BLOCK + 1,), (2 * BLOCK + 7,), (0,), ()]
TRITON = {"backend": "triton"}


@pytest.fixture
def launches(monkeypatch):
    """The compile-time arguments of every launch."""
    from torchopt_notes.engine import fused, rows

    recorded = []
    genuine = fused.launch

    def recording(kernel, programs, **arguments):
        recorded.append({"kernel": kernel.fn.__name__, "programs": programs, **arguments})
        genuine(kernel, programs, **arguments)

    monkeypatch.setattr(fused, "launch", recording)
    monkeypatch.setattr(rows, "launch", recording)
    return recorded


@each_case(torch.float32, torch.bfloat16, torch.float16, torch.float64)
def test_awkward_sizes(case, dtype):
    assert_parity(
        case.optimizer,
        case.optimizer,
        kwargs=case.kwargs,
        candidate_kwargs=TRITON,
        dtype=dtype,
        shapes=SIZES,
        steps=2,
        ulp=case.units,
    )


@pytest.mark.parametrize("mistake", ["eps_inside", "one_step_late", "states_swapped"])
def test_a_wrong_kernel_is_caught(mistake, monkeypatch):
    from tests.kernels import wrong_rules
    from torchopt_notes.engine import launch

    monkeypatch.setattr(launch, "rule_kernel", lambda rule: SimpleNamespace(update=getattr(wrong_rules, mistake)))
    with pytest.raises(ParityError):
        assert_parity(Adam, Adam, candidate_kwargs=TRITON, shapes=SIZES, steps=2, ulp=2)


@pytest.mark.parametrize("mistake", ["buffer_forgotten", "uphill"])
def test_a_wrong_momentum_kernel_is_caught(mistake, monkeypatch):
    from tests.kernels import wrong_rules
    from torchopt_notes.engine import launch

    monkeypatch.setattr(launch, "rule_kernel", lambda rule: SimpleNamespace(update=getattr(wrong_rules, mistake)))
    with pytest.raises(ParityError):
        assert_parity(SGD, SGD, kwargs={"momentum": 0.9}, candidate_kwargs=TRITON, shapes=SIZES, steps=2, ulp=2)


def test_a_tensor_with_another_groups_numbers_is_caught(monkeypatch):
    from torchopt_notes.engine import rows

    def grouped(params, **kwargs):
        return AdamW([{"params": params[:4]}, {"params": params[4:], "lr": 0.1}], **kwargs)

    assert_parity(grouped, grouped, candidate_kwargs=TRITON, shapes=SIZES, steps=2, ulp=2)
    genuine = rows.HostRows.refresh

    def confused(self, optimizer, states, signal):
        genuine(self, optimizer, states, signal)
        self.tensor_row = 1 - self.tensor_row

    monkeypatch.setattr(rows.HostRows, "refresh", confused)
    with pytest.raises(ParityError):
        assert_parity(grouped, grouped, candidate_kwargs=TRITON, shapes=SIZES, steps=2, ulp=2)


def test_neighbouring_memory_is_left_alone():
    """Each tensor lies between NaNs, at a 16-byte boundary; a tail without its mask would read or write them."""
    size, margin = BLOCK + 3, 4
    buffers = [torch.full((size + 2 * margin,), torch.nan) for _ in range(4)]
    inner = [buffer[margin:-margin] for buffer in buffers]
    for tensor, value in zip(inner, (1.0, 1.0, 0.0, 0.0), strict=True):
        tensor.fill_(value)
    param = torch.nn.Parameter(inner[0])
    param.grad = inner[1]
    optimizer = Adam([param], backend="triton")
    optimizer.state[param] = {"step": torch.tensor(0.0), "exp_avg": inner[2], "exp_avg_sq": inner[3]}
    optimizer.step()
    assert param.data_ptr() == inner[0].data_ptr()
    assert all(tensor.isfinite().all() for tensor in inner)
    assert all(buffer[:margin].isnan().all() and buffer[-margin:].isnan().all() for buffer in buffers)


def test_one_launch_for_hundreds_of_groups(launches):
    params = [torch.nn.Parameter(torch.randn(3 + i % 5, dtype=dtype)) for i in range(465) for dtype in (torch.float32,)]
    params += [torch.nn.Parameter(torch.randn(4, dtype=torch.bfloat16)) for _ in range(3)]
    groups = [{"params": [param], "lr": 0.001 * (i + 1)} for i, param in enumerate(params)]
    twins = [torch.nn.Parameter(param.detach().clone()) for param in params]
    optimizer = AdamW(groups, backend="triton")
    twin = AdamW([{**group, "params": [t]} for group, t in zip(groups, twins, strict=True)], backend="eager")
    for param, other in zip(params, twins, strict=True):
        param.grad = torch.ones_like(param)
        other.grad = torch.ones_like(other)
    optimizer.step()
    twin.step()
    assert [launch["kernel"] for launch in launches] == ["update_bucket", "update_bucket"]
    for param, other in zip(params, twins, strict=True):
        torch.testing.assert_close(param, other)


def test_unaligned_tensors_go_in_a_launch_that_promises_nothing(launches):
    flat = torch.randn(2001)
    params = [torch.nn.Parameter(flat[1:1001]), torch.nn.Parameter(torch.randn(1000))]
    for param in params:
        param.grad = torch.randn(1000)
    AdamW(params, backend="triton").step()
    assert [(launch["ALIGNED"], launch["programs"]) for launch in launches] == [(True, 1), (False, 1)]


def test_states_of_two_precisions(launches):
    params = [torch.nn.Parameter(torch.ones(10, dtype=torch.bfloat16)) for _ in range(2)]
    optimizer = SGD(params, lr=0.1, momentum=0.9, backend="triton")
    for step in range(3):
        if step == 1:
            optimizer.state[params[0]]["momentum_buffer"] = optimizer.state[params[0]]["momentum_buffer"].float()
        for param in params:
            param.grad = torch.full_like(param, 1.0)
        optimizer.step()
    assert [len(launch["DTYPES"]) for launch in launches] == [3] * 5
    buffers = [optimizer.state[param]["momentum_buffer"] for param in params]
    assert [buffer.dtype for buffer in buffers] == [torch.float32, torch.bfloat16]
    torch.testing.assert_close(buffers[0], torch.full((10,), 2.71), rtol=1e-6, atol=0)


def test_channels_last_is_updated_where_it_lies(launches):
    weight = torch.randn(4, 6, 5, 7).contiguous(memory_format=torch.channels_last)
    param = torch.nn.Parameter(weight)
    param.grad = torch.randn(4, 6, 5, 7).contiguous(memory_format=torch.channels_last)
    optimizer = AdamW([param], backend="triton")
    optimizer.step()
    table = launches[0]["addresses"]
    state = optimizer.state[param]
    assert table[:, 0].tolist() == [t.data_ptr() for t in (param, param.grad, state["exp_avg"], state["exp_avg_sq"])]


def test_a_new_learning_rate_changes_no_compile_time_argument(launches):
    param = torch.nn.Parameter(torch.randn(10))
    optimizer = AdamW([param], backend="triton")
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        param.grad = torch.randn(10)
        optimizer.step()
    constants = [{k: v for k, v in launch.items() if k.isupper()} for launch in launches]
    assert constants[0] == constants[1] == constants[2]


def test_step_counts_on_the_device_add_one_launch(launches):
    params = [torch.nn.Parameter(torch.randn(10)) for _ in range(200)]
    for param in params:
        param.grad = torch.randn(10)
    Adam(params, capturable=True, backend="triton").step()
    assert [launch["kernel"] for launch in launches] == ["refresh_rows", "update_bucket"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numbers_worked_out_on_the_device(case):
    """They equal what the host works out in double precision, rounded once, at early and late steps."""
    from torchopt_notes.engine.plan import Plan
    from torchopt_notes.engine.rows import DeviceRows
    from torchopt_notes.engine.scalars import N_NUMBERS, row

    params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(6)]
    optimizer = case.optimizer(params, **case.kwargs)
    for param in params:
        param.grad = torch.zeros(1)
    (bucket,) = Plan(optimizer).buckets
    states = optimizer.gather_states(bucket)
    steps = [1, 2, 3, 10, 1000, 100000]
    carried = [[0.5 + 0.05 * i] * len(states.carried) for i in range(6)]
    rows = DeviceRows(bucket)
    if "step" in states.dicts[0]:
        for i, state in enumerate(states.dicts):
            state["step"].fill_(steps[i] - 1)
            for column, value in zip(states.carried, carried[i], strict=True):
                column[i].fill_(value)
    else:
        rows.refresh(optimizer, states, torch.zeros(3, dtype=torch.float64))
        steps, states = [2] * 6, states._replace(fresh=None)
    carried = [[column[i].double().numpy()[()] for column in states.carried] for i in range(6)]
    rows.refresh(optimizer, states, torch.zeros(3, dtype=torch.float64))
    group = optimizer.param_groups[0]
    expected = [
        row(optimizer, group, bucket.kind.variant, float(step), numbers).values()
        for step, numbers in zip(steps, carried, strict=True)
    ]
    torch.testing.assert_close(rows.rows, torch.tensor(expected), rtol=1.2e-7, atol=0)
    for k, column in enumerate(states.carried):
        torch.testing.assert_close(torch.stack(column), torch.tensor(expected)[:, N_NUMBERS + k], rtol=1.2e-7, atol=0)


def test_the_first_step_of_a_rule_without_a_count_on_the_device():
    results = []
    for backend in ("eager", "triton"):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.ones(5)) for _ in range(2)]
        optimizer = SGD(params, lr=0.1, momentum=0.9, dampening=0.5, backend=backend)
        if backend == "triton":
            optimizer.param_groups[0]["capturable"] = True
        for step in range(3):
            for param in params[: 1 + (step > 0)]:
                param.grad = torch.randn(5)
            optimizer.step()
        results.append(params)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_offsets_beyond_two_to_the_thirty_one(monkeypatch):
    """Only the last chunk is run: the pages of the rest are never touched, and cost nothing."""
    from torchopt_notes.engine import launch_table

    torch.use_deterministic_algorithms(False)
    size = 2**31 + BLOCK + 5
    param, grad = torch.empty(size, dtype=torch.float16), torch.empty(size, dtype=torch.float16)
    param[-BLOCK - 5 :], grad[-BLOCK - 5 :] = 1, 1

    def last_two(self, device, numels, chosen):
        self.programs = 2 * int(chosen.any())
        self.tensor = torch.zeros(2, dtype=torch.int32)
        self.index = torch.tensor([2**31 // BLOCK, 2**31 // BLOCK + 1], dtype=torch.int32)

    monkeypatch.setattr(launch_table.ChunkMap, "__init__", last_two)
    weight = torch.nn.Parameter(param)
    weight.grad = grad
    SGD([weight], lr=0.5, backend="triton").step()
    assert (weight[-BLOCK - 5 :] == 0.5).all()
