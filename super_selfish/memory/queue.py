"""The queue of MoCo: the newest keys, first in, first out.

Shapes: `B` batch, `D` embedding, `K` queue.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """Keeps the last `size` keys as negatives (He et al., 2019, arXiv 1911.05722, section 3.2).

    Rows are stored as they come, normalised by the caller, and never normalised again. Everything
    is a persistent buffer, the position included, so a checkpoint continues where it was saved.
    All index arithmetic happens on the device of the queue: no step waits for it.

    Before the first keys come the queue holds random unit vectors, like the authors'. A snapshot
    is therefore always full, but random vectors are easy negatives: with similar keys
    (`cos+ = 0.95`, temperature 0.2) the loss starts at about `log(1 + K exp(-cos+ / t + 1 /
    (2 D t^2)))`, 3.7 for 4096 keys of 128 numbers, and rises while the queue fills. Only for a
    real queue of the network's own keys it is near `log(1 + K)`.

    Attributes:
        keys: `[size, dim]`.
        pointer: Where the next key goes; int64 scalar.
        num_valid: How many rows were enqueued, at most `size`; int64 scalar.
    """

    keys: Tensor
    pointer: Tensor
    num_valid: Tensor

    def __init__(self, size: int, dim: int, *, seed: int = 0) -> None:
        """Fills the queue with random unit vectors.

        Args:
            size: `K`, number of keys.
            dim: `D`.
            seed: Of the random vectors.

        Raises:
            ValueError: If size or dim is below 1.
        """
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"size and dim must be >= 1, got {size} and {dim}")
        generator = torch.Generator().manual_seed(seed)
        keys = F.normalize(torch.randn(size, dim, generator=generator), dim=1)
        self.register_buffer("keys", keys)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("num_valid", torch.zeros((), dtype=torch.int64))

    def snapshot(self) -> Tensor:
        """A copy of all rows, `[K, D]`: backward may still need it when the queue has moved on."""
        return self.keys.clone()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replaces the oldest keys.

        A batch may wrap around the end; of a batch larger than the queue the newest keys stay.

        Args:
            keys: `[B, D]`, unit vectors, oldest first. In several processes: gathered, so that all
                queues stay equal.

        Raises:
            ValueError: If they are not `[B, D]`.
        """
        size, dim = self.keys.shape
        if keys.ndim != 2 or keys.shape[1] != dim:
            raise ValueError(f"keys must be [B, {dim}], got {list(keys.shape)}")
        batch = len(keys)
        newest = keys[max(batch - size, 0) :].to(self.keys)
        positions = torch.arange(batch - len(newest), batch, device=self.keys.device)
        self.keys.index_copy_(0, (self.pointer + positions) % size, newest)
        self.pointer.add_(batch).remainder_(size)
        self.num_valid.add_(batch).clamp_(max=size)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Which row has the largest product with each vector; of equal ones the first.

        Args:
            vectors: `[B, D]`.

        Returns:
            `[B]`, int64, rows of `keys`.

        Raises:
            ValueError: If they are not `[B, D]`.
        """
        dim = self.keys.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ValueError(f"vectors must be [B, {dim}], got {list(vectors.shape)}")
        return (vectors.to(self.keys) @ self.keys.T).argmax(dim=1)

    def extra_repr(self) -> str:
        """Shows the shape."""
        return f"size={self.keys.shape[0]}, dim={self.keys.shape[1]}"
