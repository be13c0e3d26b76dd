"""The memory bank of instance discrimination: one unit vector per image of the dataset.

Shapes: `B` batch, `D` embedding, `K` negatives, `N` images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Below this length a blend has no direction worth keeping.
_NO_DIRECTION = 1e-6


class MemoryBank(nn.Module):
    """Remembers an embedding of every image (Wu et al., 2018, arXiv 1805.01978, section 3.1).

    Rows have length 1 at all times. The rows are a persistent buffer; a checkpoint of another
    size or dimension is refused when it is loaded. No call costs time in proportion to `N`.

    How negatives are drawn: uniformly from all `N` images, with replacement, so one may come more
    than once and then counts as often; the same `K` for all images of a batch. An image that was
    drawn for itself is masked in its own row of the loss and not replaced, so it has `K` negatives
    less the times it was drawn, which is `K / N` times on average. Given that, each negative is
    uniform over the other `N - 1` images. (The algorithms' collators draw by the same rule; where
    `K` would reach `N` they take every image once.)

    Attributes:
        rows: `[N, D]`.
        momentum: Weight of the old row, in [0, 1].
    """

    rows: Tensor

    def __init__(self, size: int, dim: int, momentum: float = 0.5, *, seed: int = 0) -> None:
        """Fills the bank with random unit vectors: uniform entries, then normalised.

        Args:
            size: `N`, number of images.
            dim: `D`.
            momentum: Weight of the old row, in [0, 1]; 0 replaces rows.
            seed: Of the random vectors.

        Raises:
            ValueError: If a number lies outside its range.
        """
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"size and dim must be >= 1, got {size} and {dim}")
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum is a weight in [0, 1], got {momentum}")
        self.momentum = momentum
        generator = torch.Generator().manual_seed(seed)
        entries = torch.rand(size, dim, generator=generator).mul_(2.0).sub_(1.0)
        self.register_buffer("rows", F.normalize(entries, dim=1))

    @torch.no_grad()
    def update(self, index: Tensor, embeddings: Tensor) -> None:
        """Blends embeddings into their rows: `normalise(momentum * old + (1 - momentum) * new)`.

        Where an image appears twice its last embedding counts, on every device. A row whose blend
        is zero (the embedding is opposite) stays as it was.

        Args:
            index: `[B]`, int64, images of the dataset.
            embeddings: `[B, D]`, unit vectors. In several processes: gathered, like the index.

        Raises:
            ValueError: If shapes do not fit or a CPU index is out of range.
            TypeError: If the index is not int64.
        """
        self.rows.index_copy_(0, *self._blended(index, embeddings))

    @torch.no_grad()
    def change(self, index: Tensor, embeddings: Tensor) -> Tensor:
        """By how much `update` with the same arguments would move its rows, on average.

        Args:
            index: `[B]`, int64, images of the dataset.
            embeddings: `[B, D]`, unit vectors.

        Returns:
            Scalar in [0, 2].

        Raises:
            ValueError: If shapes do not fit or a CPU index is out of range.
            TypeError: If the index is not int64.
        """
        ordered, blended = self._blended(index, embeddings)
        return (blended - self.rows[ordered]).norm(dim=1).mean()

    def _blended(self, index: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """The index in order, and the rows that belong there after an update."""
        index = self._checked(index)
        if embeddings.shape != (len(index), self.rows.shape[1]):
            raise ValueError(
                f"embeddings must be {[len(index), self.rows.shape[1]]}, "
                f"got {list(embeddings.shape)}"
            )
        # Sorted stably, equal indices form a run whose last element came last. All members of a
        # run write that one's value, so their order does not matter: deterministic, and nothing
        # waits for the device to count distinct indices.
        ordered, order = index.sort(stable=True)
        last_of_run = torch.searchsorted(ordered, ordered, right=True) - 1
        new = embeddings.detach().to(self.rows)[order[last_of_run]]
        old = self.rows[ordered]
        blended = old.lerp(new, 1.0 - self.momentum)
        has_direction = blended.norm(dim=1, keepdim=True) > _NO_DIRECTION
        return ordered, torch.where(has_direction, F.normalize(blended), old)

    @torch.no_grad()
    def lookup(self, index: Tensor) -> Tensor:
        """Copies rows.

        Args:
            index: `[B]` or `[K]`, int64, images of the dataset.

        Returns:
            `[B, D]`, unit vectors without gradient; a copy, which later updates do not change.

        Raises:
            ValueError: If the index is not one-dimensional or, on the CPU, out of range.
            TypeError: If it is not int64.
        """
        return self.rows.index_select(0, self._checked(index))

    def draw_negatives(
        self, count: int, generator: torch.Generator, device: torch.device | str | None = None
    ) -> Tensor:
        """Draws images uniformly, with replacement, once for the whole batch.

        An image of the batch may be among them: mask it with `own_entry_mask`. Shared negatives
        cost `K D` numbers instead of `B K D`.

        Args:
            count: `K`.
            generator: CPU generator.
            device: Where the index is wanted; that of the bank for `None`.

        Returns:
            `[K]`, int64.

        Raises:
            ValueError: If count is below 1 or the bank has one row, which has no negatives.
        """
        size = len(self.rows)
        if count < 1:
            raise ValueError(f"count must be >= 1, got {count}")
        if size < 2:
            raise ValueError("a bank of 1 row has no negatives: use a dataset of 2 images or more")
        drawn = torch.randint(size, (count,), generator=generator)
        return drawn.to(self.rows.device if device is None else device, non_blocking=True)

    @staticmethod
    def own_entry_mask(index: Tensor, drawn: Tensor) -> Tensor:
        """Where a shared negative is the image itself.

        Args:
            index: `[B]`, images of the batch.
            drawn: `[K]`, from `draw_negatives`.

        Returns:
            `[B, K]`, bool, on the device of `drawn`; the `exclude` of `info_nce`.
        """
        return index.to(drawn.device, non_blocking=True)[:, None] == drawn[None, :]

    def extra_repr(self) -> str:
        """Shows shape and momentum."""
        return f"size={self.rows.shape[0]}, dim={self.rows.shape[1]}, momentum={self.momentum}"

    def _checked(self, index: Tensor) -> Tensor:
        if index.dtype != torch.int64:
            raise TypeError(f"index must be int64, got {index.dtype}")
        if index.ndim != 1:
            raise ValueError(f"index must be one-dimensional, got {list(index.shape)}")
        # Only there the values can be looked at without waiting for a device.
        if index.device.type == "cpu" and len(index) > 0:
            lowest, highest = (int(bound) for bound in index.aminmax())
            if lowest < 0 or highest >= len(self.rows):
                raise ValueError(
                    f"index must lie in [0, {len(self.rows)}), got {lowest} to {highest}: was the "
                    "bank made for another dataset?"
                )
        return index.to(self.rows.device, non_blocking=True)
