"""Random compositions, and what they mean: an evaluator that knows the definitions and none of the code.

A tree is a tuple of a name and what belongs to it. Lengths and steps are multiples of powers of two, so that which part
a step falls into is a matter of definition, not of rounding.
"""

import math

from hypothesis import strategies as st

from torchopt_notes import schedules as S

INF = math.inf

LEAVES = {
    "constant": (lambda a: S.constant(a), lambda a, t: a, lambda a: INF),
    "hold": (lambda a, n: S.constant(a, steps=n), lambda a, n, t: a, lambda a, n: n),
    "linear": (
        lambda n, a, b: S.linear(n, a, b),
        lambda n, a, b, t: a + (b - a) * t / n if t < n else b,
        lambda n, a, b: n,
    ),
    "cosine": (
        lambda n, a, b: S.cosine(n, a, b),
        lambda n, a, b, t: b + (a - b) * (1 + math.cos(math.pi * t / n)) / 2 if t < n else b,
        lambda n, a, b: n,
    ),
    "warmup": (lambda n: S.warmup(n), lambda n, t: t / n if t < n else 1, lambda n: n),
    "exponential": (lambda g: S.exponential(g), lambda g, t: g**t, lambda g: INF),
    "step_decay": (lambda n, g: S.step_decay(n, g), lambda n, g, t: g ** (t // n), lambda n, g: INF),
    "restarts": (
        lambda n: S.warm_restarts(n),
        lambda n, t: (1 + math.cos(math.pi * (t % n) / n)) / 2,
        lambda n: INF,
    ),
}


def build(tree):
    """The tree as a schedule, by the operators that users write."""
    name, *rest = tree
    if name in LEAVES:
        return LEAVES[name][0](*rest)
    if name == "number":
        return rest[0]
    one = build(rest[0])
    if name in ("then", "times", "plus"):
        other = build(rest[1])
        return one >> other if name == "then" else one * other if name == "times" else one + other
    return getattr(one, name)(*rest[1:])


def horizon(tree):
    """How long it lasts."""
    name, *rest = tree
    if name in LEAVES:
        return LEAVES[name][2](*rest)
    if name == "number":
        return 0
    if name in ("times", "plus"):
        return max(map(horizon, rest))
    if name == "then":
        return horizon(rest[0]) + horizon(rest[1])
    if name == "clip":
        return horizon(rest[0])
    return rest[1] if name == "until" else horizon(rest[0]) * rest[1]


def value(tree, t):
    """What it is worth at step ``t``."""
    name, *rest = tree
    if name in LEAVES:
        return LEAVES[name][1](*rest, t)
    if name == "number":
        return rest[0]
    one = rest[0]
    if name == "then":
        return value(one, t) if t < horizon(one) else value(rest[1], t - horizon(one))
    if name == "times":
        return value(one, t) * value(rest[1], t)
    if name == "plus":
        return value(one, t) + value(rest[1], t)
    if name == "clip":
        return min(max(value(one, t), rest[1]), rest[2])
    if name == "stretch":
        return value(one, t / rest[1])
    if name == "until":
        return value(one, min(t, rest[1]))
    assert name == "repeat"
    length = horizon(one)
    return value(one, t % length if t < length * rest[1] else length)


def finite(tree):
    """A tree that ends, made of any."""
    return tree if horizon(tree) < INF else ("until", tree, 12)


def lasting(tree):
    """A tree that ends, and not at once."""
    return finite(tree) if horizon(tree) else ("until", tree, 12)


lengths = st.integers(0, 12)
sizes = st.integers(1, 12)
multipliers = st.sampled_from([-0.5, 0.0, 0.1, 0.3, 1.0, 1.5])
factors = st.sampled_from([0.25, 0.5, 1, 2, 4])
gammas = st.sampled_from([0.5, 0.9, 1.0])

leaves = st.one_of(
    st.tuples(st.just("constant"), multipliers),
    st.tuples(st.just("hold"), multipliers, lengths),
    st.tuples(st.sampled_from(["linear", "cosine"]), lengths, multipliers, multipliers),
    st.tuples(st.just("warmup"), lengths),
    st.tuples(st.just("exponential"), gammas),
    st.tuples(st.just("step_decay"), sizes, gammas),
    st.tuples(st.just("restarts"), sizes),
)


def _grown(trees):
    numbers = st.tuples(st.just("number"), multipliers)
    pairs = st.one_of(st.tuples(trees, trees), st.tuples(trees, numbers), st.tuples(numbers, trees))
    return st.one_of(
        st.tuples(st.just("then"), trees.map(finite), trees),
        st.builds(lambda name, pair: (name, *pair), st.sampled_from(["times", "plus"]), pairs),
        st.tuples(st.just("clip"), trees, st.just(0.2), st.just(0.7)),
        st.tuples(st.just("repeat"), trees.map(lasting), st.sampled_from([1, 2, 3, INF])),
        st.tuples(st.just("stretch"), trees, factors),
        st.tuples(st.just("until"), trees, lengths),
    )


_any = st.recursive(leaves, _grown, max_leaves=6)


@st.composite
def _drawn(draw):
    # A composite prints as its name; hypothesis finds what a recursive strategy prints overly long.
    return draw(_any)


trees = _drawn()
steps = st.one_of(st.integers(0, 150), st.integers(0, 400).map(lambda n: n / 4))


def steps_of(tree):
    """Steps where something may happen: anywhere, its end, shortly before and after that."""
    end = horizon(tree)
    if end == INF:
        return steps
    return steps | st.sampled_from([end, end + 0.25, end + 1, end + 1000, max(end - 0.25, 0), max(end - 1, 0)])
