"""The model: a small character-level GPT with pre-norm blocks and tied embeddings, in plain PyTorch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each on a residual branch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, block, width) in and out."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.transpose(1, 3).unbind(2)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(attended.transpose(1, 2).flatten(-2))
        return cast(Tensor, x + self.down(functional.gelu(self.up(self.feed_forward_norm(x)))))


class GPT(nn.Module):
    """A decoder-only transformer; about 0.6 M parameters with the defaults.

    Args:
        vocabulary: number of characters.
        block: longest window.
        layers: number of blocks.
        width: of the residual stream.
        heads: of the attention; must divide ``width``.
    """

    def __init__(self, vocabulary: int, block: int, layers: int = 4, width: int = 112, heads: int = 4) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(block, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for layer in cast("list[Block]", list(self.blocks)):
            # 2 · layers branches add up in the residual stream; this keeps its variance at one branch's (GPT-2).
            for projection in (layer.attention_out, layer.down):
                nn.init.normal_(projection.weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Character indices of shape (batch, block) to logits of shape (batch, block, vocabulary)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.blocks(self.token(tokens) + self.position(positions))
        return functional.linear(self.norm(x), self.token.weight)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats per character."""
        return functional.cross_entropy(self(tokens).flatten(0, 1), targets.flatten())


def parameter_count(model: nn.Module) -> int:
    """Trainable numbers in ``model``; shared tensors count once."""
    return sum(parameter.numel() for parameter in model.parameters())
