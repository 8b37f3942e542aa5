"""MXFP4: blocks of 32 values, each a sign and one of eight magnitudes, and their power of two."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK_SIZE = 32
MAGNITUDES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_MIDPOINTS = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
_SIGN_BIT = 8


def quantise(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Round [..., columns] to codes uint8 [..., blocks, 32] and exponents float [..., blocks].

    The block's largest magnitude allows two scales: the smaller one clips it, the larger one is
    coarser. The one with the smaller squared error wins.
    """
    blocks = weights.detach().float().reshape(*weights.shape[:-1], -1, BLOCK_SIZE)
    largest = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-12)
    small_exponent = torch.floor(torch.log2(largest)) - 2

    def attempt(exponent: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude indices and the squared error of each block."""
        scaled = (blocks.abs() * torch.exp2(-exponent)).contiguous()
        indices = torch.bucketize(scaled, _MIDPOINTS)
        error = (
            ((MAGNITUDES[indices] - scaled) * torch.exp2(exponent)).square().sum(-1, keepdim=True)
        )
        return indices, error

    indices, error = attempt(small_exponent)
    other_indices, other_error = attempt(small_exponent + 1)
    better = other_error < error
    indices = torch.where(better, other_indices, indices)
    exponent = torch.where(better, small_exponent + 1, small_exponent)
    codes = (indices + _SIGN_BIT * (blocks < 0)).to(torch.uint8)
    return codes, exponent.squeeze(-1)


def round_to_mxfp4(weights: Tensor) -> Tensor:
    """Quantise and dequantise: same shape, float."""
    codes, exponent = quantise(weights)
    signs = torch.where(codes >= _SIGN_BIT, -1.0, 1.0)
    values = MAGNITUDES[(codes & 7).long()] * signs * torch.exp2(exponent)[..., None]
    return values.flatten(-2)


def pack(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pack as OpenAI does: uint8 [..., blocks, 16], low half first; scales with bias 127."""
    codes, exponent = quantise(weights)
    blocks = (codes[..., 0::2] | (codes[..., 1::2] << 4)).contiguous()
    scales = (exponent + 127).clamp(0, 254).to(torch.uint8).contiguous()
    return blocks, scales


class _StraightThrough(torch.autograd.Function):
    """Rounds in the forward pass and lets the gradient through as if it had not."""

    @staticmethod
    def forward(context: Any, weights: Tensor) -> Tensor:
        """Round."""
        return round_to_mxfp4(weights)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Pass the gradient on."""
        return gradients[0]


def round_straight_through(weights: Tensor) -> Tensor:
    """Round to MXFP4 in the forward pass only."""
    apply: Any = _StraightThrough.apply
    rounded: Tensor = apply(weights)
    return rounded
