"""What goes into torch.compile, and what it makes of whole tensors."""

import warnings

import pytest
import torch
from torch._dynamo.utils import counters

from tests.backends import MISSING
from torchopt_notes import Adafactor
from torchopt_notes.engine.compiled import CompiledRunner
from torchopt_notes.engine.compiler import compiled_update, store_early

SHAPES = [(*stack, rows, 20) for stack in ((), (3,)) for rows in (5, 32, 33, 40, 64, 65, 70)]
"""Matrices of all kinds that code is made for: by rank, and by how many rows are left when blocks are cut off."""

VIEWS = {"through a view": torch.ops.aten.view.default, "through its double": torch.ops.aten._unsafe_view.default}

compiles = pytest.mark.skipif(MISSING["compiled"] is not None, reason=str(MISSING["compiled"]))


def stored(needed: str) -> tuple[torch.fx.GraphModule, list[str]]:
    """A graph that renews its argument, as the compiler sees it, after its writes were moved; and what it does."""
    aten, graph = torch.ops.aten, torch.fx.Graph()
    state, grad = graph.placeholder("state"), graph.placeholder("grad")
    old = graph.call_function(VIEWS[needed], (state, [-1])) if needed in VIEWS else state
    new = graph.call_function(aten.add.Tensor, (state, grad))
    root = graph.call_function(aten.sqrt.default, (new,))
    update = graph.call_function(aten.mul.Tensor, (root, grad if needed == "no" else old))
    graph.call_function(aten.copy_.default, (state, new))
    graph.output(update)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store_early(graph)
    graph.lint()
    done = [str(node.target).split(".")[1] for node in graph.nodes if node.op == "call_function"]
    return torch.fx.GraphModule({}, graph), done


@pytest.mark.parametrize("needed", ["no", "directly", *VIEWS])
def test_states_are_stored_where_they_are_known(needed):
    """Unless the value from before the step is needed after that."""
    module, done = stored(needed)
    before = [str(VIEWS[needed]).split(".")[1]] if needed in VIEWS else []
    late = [*before, "add", "sqrt", "mul", "copy_"]
    assert done == (["add", "copy_", "sqrt", "mul"] if needed == "no" else late)
    state = torch.tensor([1.0, 2.0])
    update = module(state, torch.tensor([3.0, 7.0]))
    assert torch.equal(state, torch.tensor([4.0, 9.0]))
    assert torch.equal(update, torch.tensor([6.0, 21.0] if needed == "no" else [2.0, 6.0]))


def assert_means(shape: tuple[int, ...]) -> None:
    """Adafactor's states after a step without a past are the means of g² over rows and columns."""
    torch.manual_seed(0)
    param = torch.nn.Parameter(torch.randn(shape))
    optimizer = Adafactor([param], backend="compiled", beta2_decay=0.0)
    param.grad = torch.randn(shape)
    optimizer.step()
    square, state = param.grad.double().square(), optimizer.state[param]
    torch.testing.assert_close(state["row_var"].double(), square.mean(-1, keepdim=True), rtol=1e-6, atol=0)
    torch.testing.assert_close(state["col_var"].double(), square.mean(-2, keepdim=True), rtol=1e-6, atol=0)


@compiles
@pytest.mark.parametrize("shape", [(5, 7), (64, 9), (70, 33), (3, 70, 6)])
def test_rows_and_columns_are_summed_in_blocks(shape):
    assert_means(shape)


@compiles
@pytest.mark.full
def test_matrices_of_all_kinds_in_one_process(monkeypatch):
    """torch would give up after compiling eight of them. And all is compiled before anything is changed."""
    compiled = []
    original = CompiledRunner.run

    def run(self, *args):
        before = counters["stats"]["unique_graphs"]
        original(self, *args)
        compiled.append(counters["stats"]["unique_graphs"] - before)

    monkeypatch.setattr(CompiledRunner, "run", run)
    compiled_update.cache_clear()
    before = counters["stats"]["unique_graphs"]
    for shape in SHAPES:
        assert_means(shape)
    assert compiled == [0] * len(SHAPES)
    assert counters["stats"]["unique_graphs"] - before > 8
