"""What there is to see: views, answers, neighbours, a map; or why there is nothing to see."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.collate import Collator, LabelCollator
from super_selfish.data.pictures import displayable
from super_selfish.evaluation.plots import (
    plot_feature_map,
    plot_neighbours,
    plot_views,
    project_features,
)
from super_selfish.evaluation.report.html import (
    Html,
    absent,
    element,
    embedded,
    joined,
    paragraph,
    picture,
    text,
)
from super_selfish.evaluation.report.look import Look
from super_selfish.evaluation.report.record import Record
from super_selfish.evaluation.sheets import GAP
from super_selfish.evaluation.showcase import show_algorithm
from super_selfish.supervisors import Supervisor
from super_selfish.supervisors.diagnostics import STEPS_BEFORE_A_VERDICT
from super_selfish.supervisors.exhibits import NothingToShow, seen_views, spread_positions
from super_selfish.training.counting import plural

_WIDEST = 1350  # pixels of a row of images on a sheet: the width of the page
_VIEWED = 5  # images of which views are shown
_BESIDE = 8  # views side by side; of more, those of one image are shown in a square
_QUERIES, _NEIGHBOURS = 8, 7
_LEAST_MAPPED = 12  # images of which a map says anything
_NO_IMAGES = "There are no images: give the supervisor a dataset, or report() images=."
_NONE_READ = "There are no images, or none of them could be read."
_NO_LABELS = "The network learns from labels, and these images have none."
_NO_COLLATOR = "A function of your own makes the batches: it does not tell which are the views."

_VIEWS_ALONE = (
    "The algorithm has no exhibit of its own, so these are its views, with the names and the "
    "numbers that its collator gives them."
)

_NEAR = (
    "What lies side by side looks alike to the backbone; distances further than that, and the "
    "axes, mean nothing."
)
_VARIANCE = "The axes are the two directions of the largest variance."


def views(supervisor: Supervisor, seed: int) -> list[Html]:
    """A sheet of what the network is shown in training."""
    if reason := _why_no_views(supervisor):
        return [absent(reason)]
    try:
        shown = seen_views(supervisor, _VIEWED, seed)  # (R, V, C, H, W)
    except NothingToShow as error:
        return [absent(_sentence(error))]
    count = shown.shape[1]
    if count <= _BESIDE:
        rows: Sequence[Tensor] = list(shown)
        what = "A row for each image" if count == 1 else f"A row for each image, its {count} views"
    else:
        rows = shown[0].split(math.isqrt(count - 1) + 1)
        what = f"The {count} views of one image"
    rows = [_shrunk(row, len(rows[0])) for row in rows]
    alt = f"Sheet of images as the network sees them: {what[0].lower()}{what[1:]}"
    caption = f"{what}, as drawn with seed {seed}. Every epoch draws others."
    collator = supervisor.collate_fn
    if isinstance(collator, Collator) and collator.note:
        caption = f"{caption} {collator.note}"
    caption += _of_channels(shown.shape[2])
    return [
        paragraph(
            "Images after the augmentation of the algorithm, as they enter the network; where it "
            "paints, what it is to paint stands beside them. If something that matters to you is "
            "no longer visible here, it cannot be learned."
        ),
        embedded(plot_views(rows), alt, caption),
    ]


def exhibit(supervisor: Supervisor, record: Record | None, is_lent: bool, seed: int) -> list[Html]:
    """The algorithm's own question, and its answers about some images.

    Args:
        supervisor: With images.
        record: Of its run.
        is_lent: Whether the images are not the dataset that it was built with.
        seed: Of the augmentation.
    """
    if supervisor.source is None:
        return [absent(_NO_IMAGES)]
    is_own = type(supervisor).exhibit is not Supervisor.exhibit
    reason = _why_no_views(supervisor)
    if reason and not (is_own and reason == _NO_COLLATOR):
        return [absent(reason)]
    trained_on = None if record is None else record.provenance.get("num_images")
    if is_lent and supervisor.asks_by_number and trained_on != len(supervisor.source):
        return [
            absent(
                "The algorithm asks which of the images of its training it sees, by their number: "
                "give those as images=."
            )
        ]
    try:
        shown = show_algorithm(supervisor, seed=seed)
    except NothingToShow as error:
        return [absent(_sentence(error))]
    groups = []
    for group in shown.groups:
        figures = [
            element(
                "figure",
                picture(part.image, " ".join(part.caption.split())),
                element("figcaption", text(part.caption)),
                class_={None: "plain", True: "right", False: "wrong"}[part.is_right],
            )
            for part in group
        ]
        groups.append(element("div", *figures, class_="group many" if len(group) > 4 else "group"))
    body = [element("p", text(shown.question), class_="lead")] if shown.question else []
    if not is_own:
        body.append(paragraph(_VIEWS_ALONE))
    elif record is not None and record.steps is not None and record.steps < STEPS_BEFORE_A_VERDICT:
        body.append(
            paragraph(
                f"The network has taken {plural(record.steps, 'step')} only: what it says is "
                "hardly more than an untrained one would say."
            )
        )
    if shown.score is not None:
        right, total = shown.score
        are = "is" if right == 1 else "are"
        body.append(paragraph(f"{right} of the {plural(total, 'answer')} below {are} right."))
    if told := _of_channels(supervisor.in_channels):
        body.append(paragraph(told.strip()))
    return [*body, element("div", joined(groups), class_="exhibit")]


def neighbours(look: Look | None) -> list[Html]:
    """Some images, and those with the most similar features."""
    if look is None:
        return [absent(_NONE_READ)]
    if len(look.images) < 2:
        return [absent("One image alone has no neighbours.")]
    count = min(_NEIGHBOURS, len(look.images) - 1)
    figure = plot_neighbours(
        look.features,
        _shrunk(look.images, 1 + count),
        queries=min(_QUERIES, len(look.images)),
        neighbours=count,
    )
    return [
        paragraph(
            "On the left, framed, an image; beside it those whose features are most similar, with "
            "their cosine. A backbone that has learned puts things of one kind together; one that "
            "has not goes by colour and brightness."
        ),
        embedded(
            figure,
            f"Sheet of images, each with its {count} nearest neighbours and their cosines",
            f"Among {_how_many(look)}. If all cosines are close to 1, see what is said about the "
            f"health of the features.{_of_channels(look.images.shape[1])}",
        ),
    ]


def feature_map(look: Look | None, seed: int, method: str | None = None) -> list[Html]:
    """A map of the features with small images, and where there are labels one of classes."""
    if look is None:
        return [absent(_NONE_READ)]
    if len(look.images) < _LEAST_MAPPED:
        return [absent(f"A map needs at least {_LEAST_MAPPED} images.")]
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
    body = [
        paragraph(f"The features of {_how_many(look)} in two dimensions, by {name}. {how}"),
        embedded(
            thumbnails,
            f"Map of the features by {name}, drawn with small images",
            "Where several images fall into one cell, the one nearest to its centre is shown."
            + ("" if look.labels is None else " The frames tell the classes.")
            + _of_channels(look.images.shape[1]),
        ),
    ]
    if look.labels is not None:
        dots = plot_feature_map(
            look.features, labels=look.labels, classes=look.classes, coordinates=places
        )
        caption = (
            "The same map with a dot for each image, coloured by class. The labels were not used "
            "to make it."
        )
        body.append(embedded(dots, f"Map of the features by {name}, coloured by class", caption))
    return body


def _why_no_views(supervisor: Supervisor) -> str | None:
    """Why there is nothing that the network would see; `None` if there is."""
    if supervisor.source is None:
        return _NO_IMAGES
    if not isinstance(supervisor.collate_fn, Collator):
        return _NO_COLLATOR
    first = spread_positions(supervisor.source, 1)
    if not first:
        return _NONE_READ
    if isinstance(supervisor.collate_fn, LabelCollator):
        if supervisor.source.label(first[0]) is None:
            return _NO_LABELS
    return None


def _shrunk(images: Tensor, columns: int) -> Tensor:
    """Images `[N, C, H, W]`, so small that a row of them needs not be shrunk with its captions."""
    most = _WIDEST // columns - GAP
    if max(images.shape[-2:]) <= most:
        return images
    scale = most / max(images.shape[-2:])
    size = [max(1, round(scale * side)) for side in images.shape[-2:]]
    parts = [
        F.interpolate(displayable(part), size=size, mode="bilinear", antialias=True)
        for part in images.split(64)
    ]
    return torch.cat([(255 * part).round().byte() for part in parts])


def _sentence(error: NothingToShow) -> str:
    words = str(error)
    return f"{words[:1].upper()}{words[1:]}."


def _of_channels(channels: int) -> str:
    """A sentence, after a space, on channels that the pictures do not show; nothing if they do."""
    if channels == 2:
        return " Shown, in gray, is channel 1 of 2; the network sees both."
    if channels > 3:
        return (
            f" Shown, as red, green and blue, are channels 1 to 3 of {channels}; the network sees "
            "all."
        )
    return ""


def _how_many(look: Look) -> str:
    """Which images a section shows."""
    if len(look.images) == look.total:
        return f"all {look.total:,} images"
    return f"{len(look.images):,} of {look.total:,} images"
