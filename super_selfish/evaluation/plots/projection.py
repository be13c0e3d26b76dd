"""Features in two dimensions.

Three ways: PCA shows the two directions of the largest variance as they are; t-SNE and UMAP bend
the space so that what is near stays near, and what lies far apart means little.

van der Maaten, Hinton, 2008, "Visualizing Data using t-SNE", JMLR 9; McInnes, Healy, Melville,
2018, "UMAP: Uniform Manifold Approximation and Projection", arXiv 1802.03426.

Shapes: `N` images, `D` features.
"""

from __future__ import annotations

import importlib

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 5  # images of which a map says anything
_KEPT = 50  # principal components that t-SNE begins with, as its authors advise


def project_features(features: Tensor, method: str = "pca", seed: int = 0) -> Tensor:
    """Brings features to two dimensions.

    Args:
        features: `[N, D]`, at least five. PCA takes them as they are, t-SNE and UMAP by their
            cosine, as nearest neighbours do.
        method: `"pca"`, `"tsne"` (needs scikit-learn) or `"umap"` (needs umap-learn).
        seed: Of what t-SNE and UMAP draw.

    Returns:
        `[N, 2]` float32, on the CPU; the axes have no unit.

    Raises:
        ValueError: If the method is unknown, or features are not finite `[N, D]` with `N >= 5`.
        ImportError: If what the method needs is missing.
    """
    if method not in PROJECTIONS:
        raise ValueError(f"method must be one of {sorted(PROJECTIONS)}, got {method!r}")
    if features.dim() != 2 or len(features) < _LEAST or features.shape[1] == 0:
        raise ValueError(
            f"features must be [N, D] with N >= {_LEAST} and D >= 1, got {list(features.shape)}"
        )
    if not torch.isfinite(features).all():
        raise ValueError("features must be finite, got NaN or infinity")
    return PROJECTIONS[method](features.detach().cpu(), seed).float()


def principal_components(features: Tensor, count: int = 2) -> Tensor:
    """Coordinates along the directions of the largest variance.

    Args:
        features: `[N, D]`.
        count: Number of directions; zeros where there are no more.

    Returns:
        `[N, count]` float64, largest variance first. Of every direction the largest entry is
        positive, so that equal features give equal maps.
    """
    centred = features.double() - features.double().mean(dim=0)
    left, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
    largest = directions.abs().argmax(dim=1, keepdim=True)
    signs = directions.gather(1, largest).sign()[:, 0]
    coordinates = (left * lengths * signs)[:, :count]  # [N, min(N, D, count)]
    return F.pad(coordinates, (0, count - coordinates.shape[1]))


def _pca(features: Tensor, seed: int) -> Tensor:
    return principal_components(features)


def _tsne(features: Tensor, seed: int) -> Tensor:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            'method="tsne" needs scikit-learn: pip install scikit-learn, or super-selfish[maps]'
        ) from error
    kept = principal_components(F.normalize(features, dim=1), min(_KEPT, *features.shape))
    perplexity = min(30.0, (len(features) - 1) / 3)  # neighbours that count, about
    # Not init="pca", which divides by the spread: there is none in collapsed features.
    embedding = TSNE(perplexity=perplexity, init="random", random_state=seed)
    return torch.from_numpy(embedding.fit_transform(kept.numpy()))


def _umap(features: Tensor, seed: int) -> Tensor:
    try:
        umap = importlib.import_module("umap")
    except ImportError as error:
        raise ImportError(
            'method="umap" needs umap-learn: pip install umap-learn, or super-selfish[maps]'
        ) from error
    neighbours = min(15, len(features) - 1)
    # One job: with a seed UMAP works in one, and warns if it is not told so.
    embedding = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    return torch.as_tensor(embedding.fit_transform(features.float().numpy()))


PROJECTIONS = {"pca": _pca, "tsne": _tsne, "umap": _umap}
"""The methods of `project_features`, by name."""
