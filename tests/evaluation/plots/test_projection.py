from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.plots.projection import principal_components, project_features


def clusters() -> tuple[Tensor, Tensor]:
    """Three far clusters of ten points in sixteen dimensions, and which is which."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(3, 16) * 5
    labels = torch.arange(3).repeat_interleave(10)
    return centres[labels] + 0.1 * torch.randn(30, 16, generator=generator), labels


@pytest.mark.parametrize("shape", [(40, 7), (6, 20)])
def test_pca_is_that_of_numpy(shape: tuple[int, int], generator: torch.Generator) -> None:
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    centred = features.numpy() - features.numpy().mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(centred.T))
    expected = centred @ directions[:, np.argsort(variances)[::-1][:2]]
    found = principal_components(features, 2).numpy()
    for column in range(2):  # the sign of a direction is free
        agreement = np.sign(found[:, column] @ expected[:, column])
        np.testing.assert_allclose(found[:, column], agreement * expected[:, column], atol=1e-9)


def test_pca_gives_equal_features_equal_maps_whatever_their_order() -> None:
    features, _ = clusters()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(project_features(features)[order], project_features(features[order]))


def test_features_of_one_dimension_lie_on_a_line() -> None:
    found = project_features(torch.arange(6.0)[:, None])
    assert found.shape == (6, 2)
    assert found[:, 1].abs().max() == 0


def test_collapsed_features_lie_on_one_point() -> None:
    assert project_features(torch.ones(8, 4)).abs().max() < 1e-6


def test_tsne_keeps_clusters_together_and_its_seed() -> None:
    pytest.importorskip("sklearn")
    features, labels = clusters()
    places = project_features(features, "tsne", seed=3)
    distances = torch.cdist(places, places).fill_diagonal_(torch.inf)
    assert (labels[distances.argmin(dim=1)] == labels).all()
    assert torch.equal(places, project_features(features, "tsne", seed=3))


def test_tsne_bears_collapsed_features() -> None:
    pytest.importorskip("sklearn")
    assert torch.isfinite(project_features(torch.ones(8, 4), "tsne")).all()


def test_umap_is_given_cosines_and_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    class UMAP:
        def __init__(self, **options: Any) -> None:
            assert options["metric"] == "cosine" and options["random_state"] == 7
            assert options["n_neighbors"] == 15

        def fit_transform(self, features: Any) -> Any:
            return features[:, :2]

    umap = types.ModuleType("umap")
    umap.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", umap)
    features, _ = clusters()
    assert torch.equal(project_features(features, "umap", seed=7), features[:, :2])


@pytest.mark.parametrize(
    ("method", "module", "package"),
    [("tsne", "sklearn.manifold", "scikit-learn"), ("umap", "umap", "umap-learn")],
)
def test_what_is_missing_is_named(
    method: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f'"{method}" needs {package}: pip install {package}'):
        project_features(torch.randn(10, 3), method)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"method must be one of .*, got 'mds'"):
        project_features(torch.randn(10, 3), "mds")
    with pytest.raises(ValueError, match=r"N >= 5 and D >= 1, got \[4, 3\]"):
        project_features(torch.randn(4, 3))
    with pytest.raises(ValueError, match="must be finite"):
        project_features(torch.full((6, 3), torch.nan))
