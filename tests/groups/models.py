"""Small models that have what real ones have."""

import torch
from torch import nn


class RMSNorm(nn.Module):
    """Written by hand, with a gain per head: recognisable by its class's name only."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.norm = RMSNorm(2, width // 2)
        self.attn = nn.MultiheadAttention(width, 2)
        self.mlp = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width))
        self.layer_scale = nn.Parameter(torch.ones(width))


class GPT(nn.Module):
    """The output projection is the token embedding, as in GPT-2."""

    def __init__(self, depth=2):
        super().__init__()
        self.wte = nn.Embedding(7, 4)
        self.wpe = nn.Embedding(3, 4)
        self.h = nn.ModuleList(Block() for _ in range(depth))
        self.ln_f = nn.LayerNorm(4)
        self.lm_head = nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.wte.weight


class ViT(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.patch_embed = nn.Sequential(nn.Conv2d(1, 4, 2), nn.LayerNorm(4))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))


class ResNet(nn.Module):
    """Stages that are attributes: no container holds all of the layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        self.layer1 = nn.Sequential(self.block(), self.block())
        self.layer2 = nn.Sequential(self.block(), self.block())
        self.fc = nn.Linear(2, 3)

    @staticmethod
    def block():
        return nn.Sequential(nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())


def option(groups, name):
    """The value of an option by parameter name."""
    return {param_name: group.get(name) for group in groups for param_name, _ in group["params"]}
