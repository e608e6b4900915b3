"""Mistakes in the engine, around the rules."""

from .mutation import Mutation

CONTRACT = "tests/engine/test_contract.py"
BETWEEN = "tests/engine/test_between_steps.py"
GRADIENTS = "tests/gradients"
FOLDER = "tests/engine"

ENGINE = (
    Mutation(
        "clipping by norm blows gradients up to the limit",
        "torchopt_notes/engine/norms.py",
        "* max_norm).clamp(max=1.0)",
        "* max_norm).clamp(min=1.0)",
        f"{GRADIENTS}/test_clipping.py::test_a_step_is_the_one_after_torchs_clipping[adamw-torch.float32-2-eager]",
    ),
    Mutation(
        "gradients stay multiplied with the loss scale",
        "torchopt_notes/engine/decision.py",
        "scale.double() * inverse",
        "scale.double()",
        f"{GRADIENTS}/test_amp_by_hand.py::test_a_scale_that_is_set_by_hand[3-()-device-eager]",
    ),
    Mutation(
        "units are measured by the smaller of weight and ε",
        "torchopt_notes/engine/transform.py",
        "unit_norm(param).clamp(min=",
        "unit_norm(param).clamp(max=",
        f"{GRADIENTS}/test_adaptive.py::test_units_of_every_shape_and_layout[1.0-eager]",
    ),
    Mutation(
        "a decoupled decay lets weights grow",
        "torchopt_notes/engine/transform.py",
        "decay=1 - decay if",
        "decay=1 + decay if",
        "tests/optim/test_bitwise.py::test_equal_bits[adamw-torch.float32]",
    ),
    Mutation(
        "a coupled decay is turned with the gradient's sign",
        "torchopt_notes/engine/transform.py",
        "add_(grad, param, numbers.decay)  # needs",
        "add_(grad, param, -numbers.decay)  # needs",
        "tests/optim/test_bitwise.py::test_equal_bits[sgd-maximize-torch.float32]",
    ),
    Mutation(
        "a cautious decay of the weights that move away from zero",
        "torchopt_notes/engine/transform.py",
        "agrees = (before - param) * before >= 0",
        "agrees = (before - param) * before <= 0",
        f"{GRADIENTS}/test_decay.py::test_what_looks_at_the_step[AdamW-eager]",
    ),
    Mutation(
        "a cautious decay rests where there is no step",
        "torchopt_notes/engine/transform.py",
        "agrees = (before - param) * before >= 0",
        "agrees = (before - param) * before > 0",
        f"{GRADIENTS}/test_decay.py::test_cautious_decay_of_a_weight_without_a_gradient[False-0-AdamW-eager]",
    ),
    Mutation(
        "a gradient that needs no clipping is turned where it is",
        "torchopt_notes/engine/transform.py",
        "ours = grad is not given",
        "ours = True",
        f"{GRADIENTS}/test_clipping.py::test_gradients_that_are_not_clipped_are_not_written_either[maximize-eager]",
    ),
    Mutation(
        "every group gets the first group's numbers",
        "torchopt_notes/engine/eager.py",
        "else (member.group, step, *carried)",
        "else (0, step, *carried)",
        f"{CONTRACT}::test_many_groups[eager]",
    ),
    Mutation(
        "a step that the device skips is counted",
        "torchopt_notes/engine/eager.py",
        "states.steps[i].add_(1 - signal.skip)",
        "states.steps[i].add_(1)",
        f"{GRADIENTS}/test_skip.py::test_a_bad_step_leaves_no_trace_where_the_device_decides[adamw-eager]",
    ),
    Mutation(
        "a step that the device skips keeps the new numbers",
        "torchopt_notes/engine/eager.py",
        "torch.where(signal.skipped, old, as_it_is(stored))",
        "torch.where(signal.skipped, as_it_is(stored), old)",
        f"{GRADIENTS}/test_skip.py::test_a_bad_step_leaves_no_trace_where_the_device_decides[adamw-eager]",
    ),
    Mutation(
        "bfloat16 is rounded after every operation",
        "torchopt_notes/engine/eager.py",
        "if param.dtype in (torch.float16, torch.bfloat16):",
        "if param.dtype in (torch.float16,):",
        f"{GRADIENTS}/test_decay.py::test_bf16_weights_really_decay[decoupled-AdamW-eager]",
    ),
    Mutation(
        "a loaded state is not restored to the precision it was saved with",
        "torchopt_notes/engine/state.py",
        "self.state[param][name] = value.to(current.device)",
        "self.state[param][name] = current",
        f"{CONTRACT}::test_checkpoints_load_with_weights_only_and_keep_their_dtypes[eager]",
    ),
    Mutation(
        "a late parameter takes the others' step count",
        "torchopt_notes/engine/compiled.py",
        "step, carried = float(self.steps.values[first])",
        "step, carried = float(self.steps.values[0])",
        f"{CONTRACT}::test_gradients_that_are_late_or_come_and_go[adamw-compiled]",
    ),
    Mutation(
        "a launch reads the first group's numbers for every tensor",
        "torchopt_notes/engine/rows.py",
        "[member.group for member in bucket.members]",
        "[0 for member in bucket.members]",
        f"{CONTRACT}::test_many_groups[triton]",
        interpreted=True,
    ),
    Mutation(
        "a launch table keeps the addresses that it began with",
        "torchopt_notes/engine/launch_table.py",
        "if not (self._outdated or in_graph) and np.array_equal(addresses, self._noted):",
        "if not (self._outdated or in_graph):",
        f"{BETWEEN}::test_a_change_is_noticed[gradients elsewhere-guards-triton]",
        interpreted=True,
    ),
    Mutation(
        "tensors that nobody has looked at are read by the function that cannot refuse them",
        "torchopt_notes/engine/addresses.py",
        "if alike and self._comparable else None",
        "if self._comparable else None",
        f"{FOLDER}/test_addresses.py::test_tensors_are_met_in_python_first",
    ),
    Mutation(
        "parameter groups that part go on sharing their numbers",
        "torchopt_notes/engine/group_options.py",
        "if len(found) > self._rows:",
        "if len(found) > len(rates):",
        f"{FOLDER}/test_group_options.py::test_groups_that_agree_and_part_again[True-compiled]",
    ),
    Mutation(
        "an option that was changed goes unnoticed",
        "torchopt_notes/engine/group_options.py",
        "if not all(map(is_, map(group.get, names, repeat(self)), values)):",
        "if not values:",
        f"{FOLDER}/test_group_options.py::test_a_change_is_noticed[another value]",
    ),
    Mutation(
        "the numbers of the first learning rate are kept",
        "torchopt_notes/engine/scalars.py",
        "if lr is not self._lr or options is not self._options",
        "if options is not self._options",
        f"{CONTRACT}::test_parity_with_the_reference[adamw-torch.float32-compiled]",
    ),
    Mutation(
        "hooks after the step are forgotten",
        "torchopt_notes/engine/step_hooks.py",
        "or optimizer._optimizer_step_post_hooks",
        "or False",
        f"{FOLDER}/test_step_hooks.py::test_nobody_notices",
    ),
    Mutation(
        "compiled code is called as if the number of threads were what it was",
        "torchopt_notes/engine/compiler.py",
        "and torch.get_num_threads() == self._threads",
        "and self._threads",
        f"{FOLDER}/test_compiled.py::test_code_that_sums_is_not_used_with_more_threads_than_it_has_room_for",
    ),
)
