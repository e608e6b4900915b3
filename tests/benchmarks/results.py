"""Results that nobody has measured, for what is made of results."""

from dataclasses import asdict

from benchmarks.study import Row


def row(contestant="ours", *, seconds=1e-3, speed=1.0, case="one-20m", optimizer="adamw", operation="step", **more):
    """A row in which every round took ``seconds``, or one after the other if they are several."""
    seconds = [seconds] * 5 if isinstance(seconds, float) else seconds
    known = {
        "version": "1.0",
        "tensors": 1,
        "elements": 20_000_000,
        "device": "cpu",
        "dtype": "float32",
        "host": seconds,
        "ours": [1e-3] * len(seconds),
    }
    made = Row(
        case=case,
        optimizer=optimizer,
        operation=operation,
        contestant=contestant,
        seconds=seconds,
        speed=speed,
        **{**known, **more},
    )
    return asdict(made)


def wrong(contestant, reason, **more):
    """A row of whom the gate has refused."""
    return row(contestant, seconds=[], wrong=reason, **more)


def result(*rows, device="cpu", skipped=(), curves=(), **more):
    """What a campaign returns."""
    machine = {
        "cpu": "A processor",
        "cores": 2,
        "threads": 2,
        "torch": "2.13.0",
        "python": "3.13.1",
        "torchopt_notes": "0.1.0",
        "commit": "abcdef0",
    }
    return {
        "measured": "2026-11-21T12:00:00+00:00",
        "quick": False,
        "device": device,
        "machine": machine | ({"gpu": "A GPU"} if device == "cuda" else {}),
        "limits": [{"copy": 0.9e12, "add in place": 2e12}, {"copy": 1e12, "add in place": 1.5e12}],
        "rows": list(rows),
        "skipped": list(skipped),
        "curves": {"elements": list(curves), "tensors": []},
        **more,
    }


def whole(**more):
    """A result with something in every table and plot."""
    return result(
        row(bytes=560_000_000, backend="compiled"),
        row("torch fused", seconds=2e-3, speed=2.0),
        row("torch default", seconds=8e-3, speed=8.0),
        wrong("sloppy", "scenario longer: step 1 | params[0]: 3 | 4"),
        row(operation="clip", backend="compiled"),
        row("torch fused", operation="clip", seconds=3e-3, speed=3.0),
        row(optimizer="lion", bytes=400_000_000, backend="compiled"),
        row("AdamW of torch, fused", optimizer="lion", seconds=2e-3, speed=2.0, bytes=560_000_000),
        row("torch default", optimizer="lion", seconds=4e-3, speed=4.0),
        row("lion-pytorch", optimizer="lion", seconds=5e-3, speed=5.0),
        skipped=[
            {"case": "one-20m", "optimizer": name, "contestant": "apex", "reason": "ModuleNotFoundError: no apex"}
            for name in ("adamw", "lion")
        ],
        curves=[
            row(case=f"elements: {n}", elements=n, seconds=n * 1e-9, contestant=who)
            for n in (1_000, 100_000)
            for who in ("ours", "torch fused")
        ],
        training=[
            {
                "contestant": "ours",
                "total": 10.0,
                "first": 1.0,
                "step": 0.03,
                "update": 0.001,
                "share": 0.05,
                "final_loss": 2.5,
            },
            {"contestant": "apex", "skipped": "ModuleNotFoundError: no apex"},
        ],
        host={"optimizer": "AdamW", "tensors": 1_000, "steady": 0.4e-6, "moving": 0.9e-6, "raw": {}},
        **{"import": {"torch": 1.0, "package": 0.001, "with an optimizer": 0.03, "raw": []}},
        **{"first step": {"ours": 5.0}},
        linearity={"elements": [1, 10], "ratio": 1.01, "raw": {}},
        **more,
    )
