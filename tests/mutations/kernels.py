"""Mistakes in the Triton kernels."""

from .mutation import Mutation

UPDATE = "tests/kernels/test_update.py"
SIZES = f"{UPDATE}::test_awkward_sizes"
GRADIENTS = "tests/gradients"
NEIGHBOURS = "tests/properties/test_neighbours.py::test_numbers_next_to_a_tensor_stay_as_they_are"


def kernel(name: str, file: str, before: str, after: str, test: str, occurrence: int = 1, of: int = 1) -> Mutation:
    """A mistake in a file of ``kernels/``, which only the interpreter shows here."""
    return Mutation(name, f"kernels/{file}", before, after, test, interpreted=True, occurrence=occurrence, of=of)


KERNELS = (
    kernel(
        "a store without its tail mask",
        "skeleton.py",
        "tl.store(p_tensor, b_value, mask=m_chunk)",
        "tl.store(p_tensor, b_value)",
        f"{UPDATE}::test_neighbouring_memory_is_left_alone",
    ),
    kernel(
        "a mask that lets one element too many pass",
        "skeleton.py",
        "m_chunk = o_chunk < numel - start",
        "m_chunk = o_chunk <= numel - start",
        f"{NEIGHBOURS}[adam]",
    ),
    kernel(
        "the last chunk is taken for a whole one",
        "skeleton.py",
        "if start + BLOCK <= numel:",
        "if start <= numel:",
        f"{UPDATE}::test_neighbouring_memory_is_left_alone",
    ),
    kernel(
        "bfloat16 is cut off instead of rounded",
        "skeleton.py",
        "rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16",
        "rounded = bits >> 16",
        f"{SIZES}[adam-torch.bfloat16]",
    ),
    kernel(
        "every tensor reads the first row of numbers",
        "skeleton.py",
        "row = load_row(rows + tl.load(tensor_row + t) * ROW_LENGTH, ROW_LENGTH)",
        "row = load_row(rows, ROW_LENGTH)",
        "tests/engine/test_contract.py::test_many_groups[triton]",
    ),
    kernel(
        "a decoupled decay acts on what the rule is not given",
        "skeleton.py",
        "b_param *= numbers[3]",
        "b_param *= 1",
        f"{SIZES}[adamw-torch.float32]",
    ),
    kernel(
        "clipping by value forgets the negative side",
        "skeleton.py",
        "tl.maximum(b_grad, -numbers[0], propagate_nan",
        "tl.maximum(b_grad, b_grad, propagate_nan",
        f"{GRADIENTS}/test_value_and_order.py::test_the_order[triton]",
    ),
    kernel(
        "a step count on the device is not advanced before it is used",
        "skeleton.py",
        "step = carried[0] + 1",
        "step = carried[0] + 0",
        "tests/engine/test_contract.py::test_capturable_reads_nothing_on_the_host[triton]",
    ),
    kernel(
        "Adam's kernel climbs",
        "adam.py",
        "param -= divide(step_size * exp_avg, divide(square_root(exp_avg_sq)",
        "param += divide(step_size * exp_avg, divide(square_root(exp_avg_sq)",
        f"{SIZES}[adam-torch.float32]",
    ),
    kernel(
        "Adam's kernel adds up gradients without squaring them",
        "adam.py",
        "weight2 * grad * grad",
        "weight2 * grad",
        f"{SIZES}[adam-torch.float32]",
    ),
    kernel(
        "Adam's kernel swaps the states that it stores",
        "adam.py",
        "return param, (exp_avg, exp_avg_sq)",
        "return param, (exp_avg_sq, exp_avg)",
        f"{SIZES}[adam-torch.float32]",
    ),
    kernel(
        "AMSGrad's kernel keeps the smallest second moment",
        "adam.py",
        "tl.maximum(state[2], exp_avg_sq",
        "tl.minimum(state[2], exp_avg_sq",
        f"{SIZES}[adam-amsgrad-torch.float32]",
    ),
    kernel(
        "Adam's second bias correction on the device takes β₁",
        "adam.py",
        "power(beta2, step)",
        "power(beta1, step)",
        f"{UPDATE}::test_numbers_worked_out_on_the_device[adam]",
    ),
    kernel(
        "Adamax's kernel takes gradients with their sign",
        "adamax.py",
        "tl.abs(grad) + eps",
        "grad + eps",
        f"{SIZES}[adamax-torch.float32]",
    ),
    kernel(
        "Lion's kernel renews its momentum with β₁",
        "lion.py",
        "state[0] + weight2 * (grad - state[0])",
        "state[0] + weight1 * (grad - state[0])",
        f"{SIZES}[lion-torch.float32]",
    ),
    kernel(
        "a layer-wise mask that lets one element too many pass",
        "layerwise.py",
        "m_chunk = o_chunk < numel - start",
        "m_chunk = o_chunk <= numel - start",
        f"{NEIGHBOURS}[lamb]",
        occurrence=2,
        of=2,
    ),
    kernel(
        "LAMB's kernel takes a square for a norm",
        "lamb.py",
        "update_norm = tl.sqrt(sums[1])",
        "update_norm = sums[1]",
        f"{SIZES}[lamb-torch.float32]",
    ),
    kernel(
        "RMSprop's kernel puts ε into the root",
        "rmsprop.py",
        "root = square_root(variance) + eps",
        "root = square_root(variance + eps)",
        f"{SIZES}[rmsprop-torch.float32]",
    ),
    kernel(
        "a unit adds the first run of its neighbour",
        "units.py",
        "m_unit & (i < runs)",
        "m_unit & (i <= runs)",
        f"{GRADIENTS}/test_adaptive.py::test_units_longer_than_what_one_program_sums_up[(3, 8193)-triton]",
    ),
    kernel(
        "the kernel's clipping blows gradients up to the limit",
        "norms.py",
        "scale = tl.minimum(inverse(padded) * limit, 1.0,",
        "scale = tl.maximum(inverse(padded) * limit, 1.0,",
        f"{GRADIENTS}/test_clipping.py::test_a_step_is_the_one_after_torchs_clipping[adamw-torch.float32-2-triton]",
    ),
    kernel(
        "the kernel leaves gradients multiplied with the loss scale",
        "norms.py",
        "scale.to(tl.float64) * unscale",
        "scale.to(tl.float64)",
        f"{GRADIENTS}/test_amp_by_hand.py::test_a_scale_that_is_set_by_hand[3-()-device-triton]",
    ),
    kernel(
        "chunks beyond the first round of a norm are lost",
        "layerwise.py",
        "m_chunk = start + o_chunk < n_chunks",
        "m_chunk = start + start + o_chunk < n_chunks",
        "tests/kernels/test_layerwise.py::test_sums_that_take_several_rounds[lamb]",
    ),
)
