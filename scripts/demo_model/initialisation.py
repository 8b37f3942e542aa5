"""Start values that already copy: finding that out would take most of the training time."""

from __future__ import annotations

import torch
from torch import Tensor

from demo_model.network import Block, Network

_NUM_FAST = 10  # rotary dimensions that turn fast enough to tell neighbouring positions apart
_FIRST_SLOW = 12  # from here on they turn so slowly that content survives


def _orthogonal(rows: int, columns: int) -> Tensor:
    """Draw [rows, columns] with orthonormal rows, rows <= columns."""
    basis: Tensor = torch.linalg.qr(torch.randn(columns, rows)).Q
    return basis.T.contiguous()


@torch.no_grad()
def initialise(network: Network, sharpness: float = 4.5) -> None:
    """Make two heads of layer 0 look one and two tokens back, and one of layers 1 and 3 copy.

    A previous-token head needs no content: constant biases in the fast rotary dimensions of query
    and key, turned by the offset, score highest at that distance. Copying then is: layer 0 writes
    each token's predecessor into its residual, and the later head matches the current token with
    these predecessors, that is with places where the same token stood just before.
    """
    config = network.config
    hidden, head_dim = config.hidden_size, config.head_dim
    half = head_dim // 2
    first_key = config.num_attention_heads * head_dim
    first_value = first_key + config.num_key_value_heads * head_dim
    # What an embedding reads is what the unembedding writes: a copied token is its own prediction.
    network.unembedding.copy_(network.embedding * 0.09)

    layer = network.blocks[0]
    assert isinstance(layer, Block)
    layer.qkv_bias[first_key : first_key + _NUM_FAST] = sharpness
    layer.qkv_weight[first_key : first_key + head_dim].mul_(0.1)
    for head, offset in ((0, 1), (1, 2)):
        angle = -network.frequencies[:_NUM_FAST] * offset
        start = head * head_dim
        layer.qkv_bias[start : start + _NUM_FAST] = sharpness * torch.cos(angle)
        layer.qkv_bias[start + half : start + half + _NUM_FAST] = sharpness * torch.sin(angle)
        layer.qkv_weight[start : start + head_dim].mul_(0.1)
    reading = _orthogonal(head_dim, hidden)
    previous = _orthogonal(head_dim, hidden)
    before_previous = _orthogonal(head_dim, hidden)
    layer.qkv_weight[first_value : first_value + head_dim] = reading
    layer.out_weight[:, :head_dim] = previous.T
    layer.out_weight[:, head_dim : 2 * head_dim] = before_previous.T * 0.5

    slow = [*range(_FIRST_SLOW, half), *range(_FIRST_SLOW + half, head_dim)]
    for index, gain in ((1, 2.2), (3, 1.5)):
        layer = network.blocks[index]
        assert isinstance(layer, Block)
        matching = _orthogonal(len(slow), head_dim) * gain
        query, key = torch.zeros(head_dim, hidden), torch.zeros(head_dim, hidden)
        query[slow] = matching @ reading
        key[slow] = matching @ previous
        layer.qkv_weight[:head_dim] = query
        layer.qkv_weight[first_key : first_key + head_dim] = key
        copied = _orthogonal(head_dim, hidden)
        layer.qkv_weight[first_value : first_value + head_dim] = copied
        layer.out_weight[:, :head_dim] = copied.T
