"""What lies beside what in the eyes of the backbone: nearest neighbours, and a map."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from super_selfish.evaluation.plots import plot_feature_map, plot_neighbours, project_features
from super_selfish.evaluation.report.html import Plate, plate
from super_selfish.evaluation.report.page_images import NONE_READ, of_channels, shrunk
from super_selfish.evaluation.report.sample_images import Look

_QUERIES, _NEIGHBOURS = 8, 7
_LEAST_MAPPED = 12  # images of which a map says anything
_NEAR = (
    "What lies side by side looks alike to the backbone; distances further than that, and the "
    "axes, mean nothing."
)
_VARIANCE = "The axes are the two directions of the largest variance."


def neighbours(look: Look | None) -> Plate | str:
    """Some images, and those with the most similar features."""
    if look is None:
        return NONE_READ
    if len(look.images) < 2:
        return "One image alone has no neighbours."
    count = min(_NEIGHBOURS, len(look.images) - 1)
    figure = plot_neighbours(
        look.features,
        shrunk(look.images, 1 + count),
        queries=min(_QUERIES, len(look.images)),
        neighbours=count,
    )
    return plate(
        figure,
        f"Sheet of images, each with its {count} nearest neighbours and their cosines",
        f"Among {_how_many(look)}. If all cosines are close to 1, see what is said about the "
        f"health of the features.{of_channels(look.images.shape[1])}",
    )


class FeatureMap(NamedTuple):
    """How the map was made, and the map: with images, and where there are labels with dots."""

    how: str
    maps: list[Plate]


def feature_map(look: Look | None, seed: int, method: str | None = None) -> FeatureMap | str:
    """A map of the features with small images, and where there are labels one of classes."""
    if look is None:
        return NONE_READ
    if len(look.images) < _LEAST_MAPPED:
        return f"A map needs at least {_LEAST_MAPPED} images."
    how = _NEAR
    if method == "pca":
        how = _VARIANCE
    elif method is None and importlib.util.find_spec("sklearn") is None:
        method = "pca"
        how = f"{_VARIANCE} With scikit-learn installed this would be a t-SNE, which shows more."
    method = method or "tsne"
    places = project_features(look.features, method, seed)
    name = {"tsne": "t-SNE", "pca": "PCA", "umap": "UMAP"}[method]
    thumbnails = plot_feature_map(
        look.features, look.images, labels=look.labels, classes=look.classes, coordinates=places
    )
    maps = [
        plate(
            thumbnails,
            f"Map of the features by {name}, drawn with small images",
            "Where several images fall into one cell, the one nearest to its centre is shown."
            + ("" if look.labels is None else " The frames tell the classes.")
            + of_channels(look.images.shape[1]),
        )
    ]
    if look.labels is not None:
        dots = plot_feature_map(
            look.features, labels=look.labels, classes=look.classes, coordinates=places
        )
        caption = (
            "The same map with a dot for each image, coloured by class. The labels were not used "
            "to make it."
        )
        maps.append(plate(dots, f"Map of the features by {name}, coloured by class", caption))
    return FeatureMap(
        f"The features of {_how_many(look)} in two dimensions, by {name}. {how}", maps
    )


def _how_many(look: Look) -> str:
    """Which images a section shows."""
    if len(look.images) == look.total:
        return f"all {look.total:,} images"
    return f"{len(look.images):,} of {look.total:,} images"
