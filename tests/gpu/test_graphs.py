"""Steps captured in CUDA graphs, replayed with other gradients and learning rates, and mixed with ordinary steps."""

import gc

import pytest
import torch

from tests.gpu.common import DEVICE, assert_close, assert_same_bits, make_gradients, make_params, numbers
from torchopt_notes import SGD, Adam, AdamW
from torchopt_notes.testing import CASES

KINDS = {
    "adamw": (AdamW, torch.optim.AdamW, {"weight_decay": 0.1}, {"capturable": True}),
    "adam-fused": (Adam, torch.optim.Adam, {"amsgrad": True}, {"capturable": True, "fused": True}),
    # SGD has no capturable: a learning rate on the device is enough.
    "sgd": (SGD, torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}, {}),
}
WARM_UP = 3


def learning_rate(seed):
    return 0.1 / (1 + seed)


class Training:
    """Minimises Σ (w·x + w²/2), whose gradient x + w is worked out alike wherever and however it runs."""

    def __init__(self, optimizer_class, *, device=None, **kwargs):
        self.params = make_params(device=device)
        self.inputs = [torch.zeros_like(param) for param in self.params]
        self.lr = torch.tensor(0.0, device=self.params[0].device)
        self.optimizer = optimizer_class(self.params, lr=self.lr, **kwargs)

    def load(self, seed):
        for x, value in zip(self.inputs, make_gradients(self.params, seed), strict=True):
            x.copy_(value)
        self.lr.fill_(learning_rate(seed))

    def backward_and_step(self):
        loss = sum((w * x + w.square() / 2).sum() for w, x in zip(self.params, self.inputs, strict=True))
        loss.backward()
        self.optimizer.step()

    def write_gradients_and_step(self, gradients=None):
        """Into the gradients that are there, or into ``gradients`` and with these."""
        for i, (param, x) in enumerate(zip(self.params, self.inputs, strict=True)):
            if gradients is not None:
                param.grad = gradients[i]
            param.grad.copy_(x)
        self.optimizer.step()

    def run(self, seeds):
        for seed in seeds:
            self.load(seed)
            self.optimizer.zero_grad(set_to_none=True)
            self.backward_and_step()


def warm_up(seeds, training, step):
    """On a side stream, as torch asks for before a capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for seed in seeds:
            training.load(seed)
            step()
    torch.cuda.current_stream().wait_stream(side)


def capture(function):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph


def with_gradients(training):
    for param in training.params:
        param.grad = torch.zeros_like(param)
    return [param.grad for param in training.params]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_training_step(kind):
    """The canonical pattern: the capture's backward allocates gradients where no step has seen any."""
    ours, theirs, kwargs, extra = KINDS[kind]
    captured, plain = (Training(ours, backend="triton", **kwargs, **extra) for _ in range(2))
    on_host = Training(theirs, device="cpu", **kwargs)

    def step():
        captured.optimizer.zero_grad(set_to_none=True)
        captured.backward_and_step()

    warm_up(range(WARM_UP), captured, step)
    captured.optimizer.zero_grad(set_to_none=True)
    graph = capture(captured.backward_and_step)
    seeds = range(WARM_UP, WARM_UP + 6)
    for seed in seeds:
        captured.load(seed)
        graph.replay()
    for twin in (plain, on_host):
        twin.run([*range(WARM_UP), *seeds])
    assert_same_bits(numbers(captured.optimizer), numbers(plain.optimizer))
    assert_close(captured.params, on_host.params, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_rule_replays(case):
    """What a graph replays is what ordinary steps do, while the learning rate changes."""
    kwargs = {**case.kwargs, "backend": "triton", "capturable": True}
    kwargs.pop("lr", None)
    captured, plain = (Training(case.optimizer, **kwargs) for _ in range(2))
    with_gradients(captured)
    warm_up(range(WARM_UP), captured, captured.write_gradients_and_step)
    graph = capture(captured.optimizer.step)
    with_gradients(plain)
    for seed in range(WARM_UP):
        plain.load(seed)
        plain.write_gradients_and_step()
    for seed in range(WARM_UP, WARM_UP + 4):
        for training in (captured, plain):
            training.load(seed)
            for param, x in zip(training.params, training.inputs, strict=True):
                param.grad.copy_(x)
        graph.replay()
        plain.optimizer.step()
    assert_same_bits(numbers(captured.optimizer), numbers(plain.optimizer))


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_alone(kind):
    ours, theirs, kwargs, extra = KINDS[kind]
    captured = Training(ours, backend="triton", **kwargs, **extra)
    with_gradients(captured)
    warm_up(range(WARM_UP), captured, captured.write_gradients_and_step)
    graph = capture(captured.optimizer.step)
    seeds = range(WARM_UP, WARM_UP + 6)
    for seed in seeds:
        captured.load(seed)
        for param, x in zip(captured.params, captured.inputs, strict=True):
            param.grad.copy_(x)
        graph.replay()
    on_host = Training(theirs, device="cpu", **kwargs)
    with_gradients(on_host)
    for seed in [*range(WARM_UP), *seeds]:
        on_host.load(seed)
        on_host.write_gradients_and_step()
    assert_close(captured.params, on_host.params, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("moved", [False, True], ids=["same-gradients", "new-gradients-in-the-capture"])
@pytest.mark.parametrize("sequence", ["rrr", "rer", "rsr", "srs", "ers", "eresr"])
def test_ordinary_steps_between_replays(sequence, moved):
    """r: a replay. s: a step with the gradients that were captured. e: a step with others, which stay alive."""
    captured, plain = (Training(AdamW, backend="triton", capturable=True) for _ in range(2))
    first = with_gradients(captured)
    with_gradients(plain)
    warm_up(range(WARM_UP), captured, captured.write_gradients_and_step)
    static = with_gradients(captured) if moved else first
    others = [torch.zeros_like(gradient) for gradient in static]
    graph = capture(captured.optimizer.step)
    for seed, kind in enumerate(sequence, start=WARM_UP):
        captured.load(seed)
        if kind == "r":
            for gradient, x in zip(static, captured.inputs, strict=True):
                gradient.copy_(x)
            graph.replay()
        else:
            captured.write_gradients_and_step(others if kind == "e" else static)
    for seed in range(WARM_UP + len(sequence)):
        plain.load(seed)
        plain.write_gradients_and_step()
    assert_same_bits(numbers(captured.optimizer), numbers(plain.optimizer))
    assert all(gradient.isfinite().all() for gradient in first)


def test_two_graphs_of_one_optimizer():
    captured, plain = (Training(AdamW, backend="triton", capturable=True) for _ in range(2))
    with_gradients(plain)
    gradients = [with_gradients(captured) for _ in range(2)]
    warm_up(range(WARM_UP), captured, captured.write_gradients_and_step)
    graphs = []
    for chosen in gradients:
        for param, gradient in zip(captured.params, chosen, strict=True):
            param.grad = gradient
        graphs.append(capture(captured.optimizer.step))
    seeds = range(WARM_UP, WARM_UP + 5)
    for seed in seeds:
        captured.load(seed)
        for gradient, x in zip(gradients[seed % 2], captured.inputs, strict=True):
            gradient.copy_(x)
        graphs[seed % 2].replay()
    for seed in [*range(WARM_UP), *seeds]:
        plain.load(seed)
        plain.write_gradients_and_step()
    assert_same_bits(numbers(captured.optimizer), numbers(plain.optimizer))


def test_what_a_graph_reads_outlives_a_new_plan(monkeypatch):
    """Looked up in the allocator's own books: reading freed tables could end the process's use of the device."""
    from torchopt_notes.engine import fused, rows

    pointers = set()
    genuine = fused.launch

    def recording(kernel, programs, **arguments):
        if torch.cuda.is_current_stream_capturing():
            pointers.update(value.data_ptr() for value in arguments.values() if isinstance(value, torch.Tensor))
        genuine(kernel, programs, **arguments)

    monkeypatch.setattr(fused, "launch", recording)
    monkeypatch.setattr(rows, "launch", recording)
    captured = Training(AdamW, backend="triton", capturable=True)
    with_gradients(captured)
    warm_up(range(WARM_UP), captured, captured.write_gradients_and_step)
    graph = capture(captured.optimizer.step)
    assert pointers
    captured.optimizer.backend = "triton"  # forgets what was planned
    gc.collect()
    torch.cuda.synchronize()
    lost = [pointer for pointer in pointers if not is_held(pointer)]
    assert not lost, f"the graph reads {len(lost)} of {len(pointers)} tables that were freed"
    del graph


def is_held(pointer):
    """Whether memory at this address is allocated, or reserved for a graph."""
    for segment in torch.cuda.memory_snapshot():
        if segment["address"] <= pointer < segment["address"] + segment["total_size"]:
            if tuple(segment["segment_pool_id"]) != (0, 0):
                return True
            start = segment["address"]
            for block in segment["blocks"]:
                if start <= pointer < start + block["size"]:
                    return block["state"] == "active_allocated"
                start += block["size"]
    return False


@pytest.mark.parametrize("optimizer_class", [Adam, AdamW])
def test_a_capture_without_capturable_is_refused(optimizer_class):
    params = make_params()
    optimizer = optimizer_class(params, lr=0.1, backend="triton")
    for param in params:
        param.grad = torch.ones_like(param)
    for _ in range(2):
        optimizer.step()
    before = [value.clone() for value in numbers(optimizer)]
    with pytest.raises(RuntimeError, match="capturable"):
        capture(optimizer.step)
    torch.cuda.synchronize()
    assert_same_bits(numbers(optimizer), before)
    optimizer.step()
    assert optimizer.state[params[0]]["step"].item() == 3
    assert params[0].device.type == torch.device(DEVICE).type
