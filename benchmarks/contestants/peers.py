"""Other packages. Each entry has the arguments that make its optimizer the same as everybody's; the gate finds where
they do not."""

from __future__ import annotations

from .contestant import MOST_COMPILED, Contestant, Entry

# apex's, and those made after it.
_FUSED_ADAM = {
    "adam": Entry("FusedAdam", fixed={"adam_w_mode": False}),
    "adamw": Entry("FusedAdam", fixed={"adam_w_mode": True}),
}

PEERS = (
    Contestant(
        "optimi",
        "torch-optimi",
        "optimi",
        {
            "adam": Entry("Adam"),
            "adamw": Entry("AdamW"),
            "sgd": Entry("SGD", fixed={"torch_init": True}),
            "radam": Entry("RAdam"),
            "lion": Entry("Lion"),
            "adan": Entry("Adan"),
            "stableadamw": Entry("StableAdamW"),
        },
    ),
    Contestant(
        "pytorch_optimizer",
        "pytorch_optimizer",
        "pytorch_optimizer",
        {
            "lion": Entry("Lion"),
            "adabelief": Entry("AdaBelief", fixed={"rectify": False}),
            "adan": Entry("Adan", fixed={"weight_decouple": True}),
            "adopt": Entry("ADOPT", fixed={"clip_lambda": lambda step: (step - 1) ** 0.25}),  # it counts from 1
            "ademamix": Entry("AdEMAMix", fixed={"weight_decouple": True}),
            "laprop": Entry("LaProp"),
            "lamb": Entry("Lamb", fixed={"max_grad_norm": 0.0}),
            "lars": Entry("LARS"),
            "novograd": Entry("NovoGrad"),
            "stableadamw": Entry("StableAdamW", fixed={"kahan_sum": False}),
            "signum": Entry("SignSGD"),
        },
    ),
    Contestant(
        "timm",
        "timm",
        "timm.optim",
        {
            "lion": Entry("Lion"),
            "adabelief": Entry("AdaBelief", fixed={"rectify": False}),
            "adan": Entry("Adan"),
            "adopt": Entry("Adopt"),
            "laprop": Entry("LaProp"),
            "lamb": Entry("Lamb", fixed={"max_grad_norm": None}),
            "lars": Entry("Lars"),
            "novograd": Entry("NvNovoGrad"),
        },
    ),
    Contestant(
        "bitsandbytes",
        "bitsandbytes",
        "bitsandbytes.optim",
        {
            "adam": Entry("Adam32bit"),
            "adamw": Entry("AdamW32bit"),
            "sgd": Entry("SGD32bit"),
            "rmsprop": Entry("RMSprop32bit"),
            "adagrad": Entry("Adagrad32bit"),
            "lion": Entry("Lion32bit"),
            "ademamix": Entry("AdEMAMix32bit"),
            "lamb": Entry("LAMB32bit"),
            "lars": Entry("LARS32bit"),
        },
        devices=("cuda",),
    ),
    Contestant(
        "flashoptim",
        "flashoptim",
        "flashoptim",
        {
            "adam": Entry("FlashAdam", fixed={"quantize": False, "master_weight_bits": None}),
            "adamw": Entry("FlashAdamW", fixed={"quantize": False, "master_weight_bits": None}),
            "sgd": Entry("FlashSGD", fixed={"quantize": False, "master_weight_bits": None}),
            "lion": Entry("FlashLion", fixed={"quantize": False, "master_weight_bits": None}),
        },
        devices=("cuda",),
    ),
    Contestant(
        "heavyball",
        "heavyball",
        "heavyball",
        {
            "adamw": Entry("AdamW"),
            "adopt": Entry("ADOPT"),
            "ademamix": Entry("AdEMAMix"),
            "laprop": Entry("LaProp"),
            "nadam": Entry("NAdam"),
            "sgd": Entry("SGD", renamed={"momentum": "beta"}),
        },
        most_tensors=MOST_COMPILED,  # it compiles its step
    ),
    Contestant("lion-pytorch", "lion-pytorch", "lion_pytorch", {"lion": Entry("Lion")}),
    Contestant(
        "apex",
        "apex",
        "apex.optimizers",
        {
            **_FUSED_ADAM,
            "sgd": Entry("FusedSGD"),
            "adagrad": Entry("FusedAdagrad"),
            "lamb": Entry("FusedLAMB", fixed={"max_grad_norm": 0.0}),
            "novograd": Entry("FusedNovoGrad"),
        },
        devices=("cuda",),
    ),
    Contestant(
        "Transformer Engine",
        "transformer-engine",
        "transformer_engine.pytorch.optimizers",
        {
            **_FUSED_ADAM,
            "sgd": Entry("FusedSGD"),
        },
        devices=("cuda",),
    ),
    Contestant(
        "DeepSpeed",
        "deepspeed",
        "deepspeed.ops.adam",
        _FUSED_ADAM,
        devices=("cuda",),
    ),
    Contestant(
        "DeepSpeed CPU",
        "deepspeed",
        "deepspeed.ops.adam",
        {"adamw": Entry("DeepSpeedCPUAdam", fixed={"adamw_mode": True})},
        devices=("cpu",),
    ),
)
