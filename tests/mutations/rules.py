"""Mistakes in the eager rules."""

from .mutation import Mutation

BITS = "tests/optim/test_bitwise.py::test_equal_bits"
PAPER = "tests/optim/test_papers.py::test_the_paper"

RULES = (
    Mutation(
        "Adam climbs",
        "torchopt_notes/optim/adam.py",
        "addcdiv_(param, exp_avg, denom, -h.step_size)",
        "addcdiv_(param, exp_avg, denom, h.step_size)",
        f"{BITS}[adam-torch.float32]",
    ),
    Mutation(
        "AMSGrad keeps the smallest second moment",
        "torchopt_notes/optim/adam.py",
        "torch.maximum(past, new)",
        "torch.minimum(past, new)",
        f"{BITS}[adam-amsgrad-torch.float32]",
    ),
    Mutation(
        "Adam corrects the second moment's bias with β₁",
        "torchopt_notes/optim/adam.py",
        "bias_correction2 = 1 - corrected * beta2**step",
        "bias_correction2 = 1 - corrected * beta1**step",
        f"{BITS}[adam-torch.float32]",
    ),
    Mutation(
        "Adam's bias corrections are one step ahead",
        "torchopt_notes/optim/adam.py",
        "bias_correction1 = 1 - corrected * beta1**step",
        "bias_correction1 = 1 - corrected * beta1 ** (step + 1)",
        f"{BITS}[adam-torch.float32]",
    ),
    Mutation(
        "Adam's first moment moves by β₁ instead of 1 - β₁",
        "torchopt_notes/optim/adam.py",
        "weight1=1 - beta1,",
        "weight1=beta1,",
        f"{BITS}[adam-torch.float32]",
    ),
    Mutation(
        "Adagrad adds up gradients without squaring them",
        "torchopt_notes/optim/adagrad.py",
        "addcmul_(total, grad, grad, 1.0)",
        "add_(total, grad, 1.0)",
        f"{BITS}[adagrad-start-torch.float32]",
    ),
    Mutation(
        "Adagrad's ε slips into the root",
        "torchopt_notes/optim/adagrad.py",
        "add_number(total.sqrt(), h.eps)",
        "add_number(total, h.eps).sqrt()",
        f"{BITS}[adagrad-torch.float64]",
    ),
    Mutation(
        "Adamax takes gradients with their sign",
        "torchopt_notes/optim/adamax.py",
        "add_number(grad.abs(), h.eps)",
        "add_number(grad, h.eps)",
        f"{BITS}[adamax-torch.float32]",
    ),
    Mutation(
        "centered RMSprop takes the mean off without squaring it",
        "torchopt_notes/optim/rmsprop.py",
        "square_avg.addcmul(grad_avg, grad_avg, value=-1)",
        "square_avg.add(grad_avg, alpha=-1)",
        f"{BITS}[rmsprop-centered-torch.float32]",
    ),
    Mutation(
        "SGD dampens its first step",
        "torchopt_notes/optim/sgd.py",
        "first = step == 1",
        "first = step == 0",
        f"{BITS}[sgd-dampening-torch.float32]",
    ),
    Mutation(
        "RAdam rectifies where ρ is exactly too small",
        "torchopt_notes/optim/radam.py",
        "rho <= 5",
        "rho <= 6",
        f"{BITS}[radam-torch.float32]",
    ),
    Mutation(
        "Lion renews its momentum with β₁",
        "torchopt_notes/optim/sign.py",
        "lerp_(exp_avg, grad, h.weight2)",
        "lerp_(exp_avg, grad, h.weight1)",
        f"{PAPER}[eager-lion-0]",
    ),
    Mutation(
        "Adam swaps its moments",
        "torchopt_notes/optim/adam.py",
        "exp_avg, exp_avg_sq = state[:2]",
        "exp_avg_sq, exp_avg = state[:2]",
        f"{BITS}[adam-torch.float32]",
    ),
    Mutation(
        "a trust ratio upside down",
        "torchopt_notes/optim/lamb.py",
        "trust_ratio(weight_norm, norm(update))",
        "trust_ratio(norm(update), weight_norm)",
        f"{PAPER}[eager-lamb-0]",
    ),
)
