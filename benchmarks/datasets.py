"""Real data sets of a folder on disk, as tensors.

The folder (`--root`) holds what torchvision knows (`FashionMNIST/raw/*.gz`, `cifar-100-python`, and
for CIFAR-10 either `cifar-10-batches-py` or lossless WebP sheets with `labels.npz`).
"""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Split = tuple[Tensor, Tensor]  # images (N, C, H, W) uint8, labels (N,) int64


def load(name: str, root: Path) -> tuple[Split, Split]:
    """Training and test part of `"fashion"`, `"cifar10"` or `"cifar100"`."""
    if name == "fashion":
        return fashion_mnist(root, "train"), fashion_mnist(root, "t10k")
    if name == "cifar10":
        return cifar10(root, train=True), cifar10(root, train=False)
    if name == "cifar100":
        return cifar100(root, "train"), cifar100(root, "test")
    raise ValueError(f"the data set is fashion, cifar10 or cifar100, got {name!r}")


def fashion_mnist(root: Path, part: str) -> Split:
    """Images `[N, 1, 28, 28]` and labels of a part, `"train"` or `"t10k"`."""

    def read(kind: str, offset: int) -> np.ndarray:
        path = root / "FashionMNIST" / "raw" / f"{part}-{kind}-ubyte.gz"
        return np.frombuffer(gzip.open(path).read(), np.uint8, offset=offset).copy()

    images = torch.from_numpy(read("images-idx3", 16)).view(-1, 1, 28, 28)
    return images, torch.from_numpy(read("labels-idx1", 8)).long()


def cifar10(root: Path, train: bool) -> Split:
    """Images `[N, 3, 32, 32]` and labels of a part."""
    names = [f"data_batch_{number}" for number in range(1, 6)] if train else ["test_batch"]
    parts = [_cifar10_batch(root, name) for name in names]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _cifar10_batch(root: Path, name: str) -> Split:
    sheet = root / "cifar10" / f"{name}.webp"
    if sheet.is_file():
        tiles = np.asarray(Image.open(sheet)).reshape(100, 32, 100, 32, 3).swapaxes(1, 2)
        images = torch.from_numpy(tiles.reshape(-1, 32, 32, 3).copy()).permute(0, 3, 1, 2)
        labels = np.load(root / "cifar10" / "labels.npz")[f"{name}_labels"]
        return images.contiguous(), torch.from_numpy(labels).long()
    with (root / "cifar-10-batches-py" / name).open("rb") as file:
        batch = pickle.load(file, encoding="bytes")
    images = torch.from_numpy(batch[b"data"]).view(-1, 3, 32, 32)
    return images, torch.tensor(batch[b"labels"])


def cifar100(root: Path, part: str) -> Split:
    """Images `[N, 3, 32, 32]` and fine labels of a part, `"train"` or `"test"`."""
    with (root / "cifar-100-python" / part).open("rb") as file:
        batch = pickle.load(file, encoding="bytes")
    images = torch.from_numpy(batch[b"data"]).view(-1, 3, 32, 32)
    return images, torch.tensor(batch[b"fine_labels"])
