"""Muon for the large matrices, AdamW for everything else, under one learning-rate schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from demo_model.network import Network

MUON_RATE = 0.008
ADAMW_RATE = 2.5e-3
_MOMENTUM = 0.95
_MUON_DECAY = 0.02
_ADAMW_DECAY = 0.05
_MUON_PARAMETERS = ("qkv_weight", "out_weight", "mlp1_weight", "mlp2_weight")


def _orthogonalise(matrices: Tensor) -> Tensor:
    """Move [..., rows, columns] close to the nearest matrices whose singular values are 1."""
    result: Tensor = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    is_tall = result.shape[-2] > result.shape[-1]
    if is_tall:
        result = result.mT
    for _ in range(5):
        square = result @ result.mT
        result = 3.4445 * result + (-4.7750 * square + 2.0315 * square @ square) @ result
    return result.mT if is_tall else result


class Optimiser:
    """One step of both optimisers."""

    def __init__(self, network: Network) -> None:
        named = list(network.named_parameters())
        self._muon = [p for name, p in named if name.endswith(_MUON_PARAMETERS)]
        self._momenta = [torch.zeros_like(p) for p in self._muon]
        self._others = [p for name, p in named if not name.endswith(_MUON_PARAMETERS)]
        self._adamw = torch.optim.AdamW(
            [
                {"params": [p for p in self._others if p.ndim >= 2], "weight_decay": _ADAMW_DECAY},
                {"params": [p for p in self._others if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=ADAMW_RATE,
            betas=(0.9, 0.98),
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients at `scale` times the full rates, and forget them."""
        nn.utils.clip_grad_norm_(self._others, 1.0)
        for group in self._adamw.param_groups:
            group["lr"] = ADAMW_RATE * scale
        self._adamw.step()
        for parameter, momentum in zip(self._muon, self._momenta, strict=True):
            assert parameter.grad is not None
            momentum.mul_(_MOMENTUM).add_(parameter.grad)
            direction = _orthogonalise(parameter.grad + _MOMENTUM * momentum)
            rate = MUON_RATE * scale
            shape_factor = max(1.0, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
            parameter.mul_(1 - rate * _MUON_DECAY).add_(direction, alpha=-rate * shape_factor)
        for parameter in (*self._muon, *self._others):
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed training needs."""
        return {"momenta": self._momenta, "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._adamw.load_state_dict(state["adamw"])
        for momentum, saved in zip(self._momenta, state["momenta"], strict=True):
            momentum.copy_(saved)
