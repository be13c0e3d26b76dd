"""How good is a backbone? Every protocol, for the backbone and for its untrained twin.

A number without its baseline says little: random convolutions followed by a good classifier get
surprisingly far. So each protocol also rates a network of the same architecture that has learned
nothing, and the table ends with what pretraining added. Where training began from weights, they
are a row too: what they knew is not what training taught.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.baselines import (
    AUTO,
    TWIN,
    Given,
    beside,
    start_network,
    untrained_network,
)
from super_selfish.evaluation.checking.quick import warn_of_shared
from super_selfish.evaluation.evaluation import (
    AVERAGED,
    DIFFERENCE,
    PRETRAINED,
    SINCE_START,
    START,
    UNTRAINED,
    Evaluation,
)
from super_selfish.evaluation.feature_cache import FeatureCache
from super_selfish.evaluation.feature_maps import require_map
from super_selfish.evaluation.features import LabelledSource, labelled_only, open_data
from super_selfish.evaluation.label_checks import count_classes, is_multilabel
from super_selfish.evaluation.masked_data import open_masked
from super_selfish.evaluation.metrics import (
    chance_iou,
    chance_level,
    commonest_iou,
    commonest_level,
)
from super_selfish.evaluation.protocols import check_layers, expand_protocols, want_masks
from super_selfish.evaluation.rated_network import Network, open_network
from super_selfish.evaluation.rating import Rating
from super_selfish.evaluation.scoring import check_parts_fit, metric_of
from super_selfish.models.dry_run import feature_shape
from super_selfish.supervisors.averaging import averaged_backbone
from super_selfish.training.averaging import Average
from super_selfish.training.counting import plural
from super_selfish.training.distributed import rank

__all__ = ["Evaluation", "evaluate"]

_NAMED = 5  # classes in a sentence


def evaluate(
    backbone: Any,
    train: Any,
    test: Any,
    *,
    protocols: Sequence[str] = ("knn", "linear"),
    untrained: Given = TWIN,
    start: nn.Module | str | None = AUTO,
    others: Mapping[str, Any] | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    preprocess: nn.Module | None = None,
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Rates a backbone on labelled images, beside an untrained network of the same architecture.

    The features of each network are computed once and serve all protocols on frozen features.
    Hyperparameters are chosen on a part of the training part; the test part is read once, last.

    Of several processes (`torchrun`) each computes the features of a part of the images; the first
    one does what protocols do with them, and all of them return the same. So all of them must call
    this; one that does so by itself enters `super_selfish.training.alone()` first.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`, or a supervisor:
            anything with `get_backbone()`, whose `preprocess`, `image_size` and `in_channels` are
            then used unless they are given here. Averaged weights of a supervisor are a row of
            their own, "averaged".
        train: Labelled images that protocols learn from: whatever `as_source` takes, or a pair
            `(images, labels)`. A label is an integer, or a row of zeros and ones where an image
            may have several classes; the figures are then mean average precisions. Images of a
            table without a label, or with -1 as their label, are left out. For "segmentation" a
            mask: see `open_masked` for the forms, `MaskFolder` for folders.
        test: Labelled images that accuracies are of, of the same kind; they are brought to the
            size and channels of `train`.
        protocols: Names from `PROTOCOLS`, in the order of the columns: "knn", "linear",
            "finetune", "1%", "10%", "5-per-class", ...; "few-label" stands for all of the latter.
            Also "2%", "20-per-class", or "finetune-from-blocks.2", with any number or layer: what
            comes before that layer is frozen. "segmentation", "segmentation-20-images" and
            "segmentation-5%" rate the maps of a backbone by masks; their figure is mean IoU.
        untrained: "twin" for the network before training: the backbone's own first weights where
            a supervisor was given a new network, else one that is drawn anew as its class draws it
            (the table says which); a module, or a function that makes one; `None` for no
            comparison.
        start: "auto" for the weights from which a supervisor's last run began, if these were
            trained before (a pretrained network, a checkpoint, an earlier run); or a module; `None`
            for no such row.
        others: Further backbones or supervisors by name, each a row. They are given the very same
            images; of a supervisor, `preprocess` is used unless it is given here.
        batch_size: Images per forward pass.
        num_workers: Processes that load images; 0 loads in this one.
        image_size: Images are brought to this size in pixels, a side or (height, width).
        in_channels: Images are brought to this many channels.
        preprocess: Applied to images in [0, 1] before the backbone (also the untrained one).
        cache: A folder where features are kept for the next call, see `feature_cache.py` for how
            they are told apart; `None` keeps them for this call only.
        seed: Of the twin's initialisation and of everything that protocols draw.
        progress: Whether to show how far it is, once it takes longer than some seconds.

    Returns:
        The scores.

    Raises:
        ValueError: If a protocol or a layer is unknown, a part has no labels, all training images
            have the same, the labels of both parts are not of one kind, a name of `others` is
            taken, or a network cannot take such images.
        TypeError: If `backbone`, `untrained`, `start` or one of `others` is none of the above.

    Warns:
        UserWarning: Test images are among those that the supervisor trains on, or among those of
            `train`, as far as the same files, items or rows of arrays tell; or some have no label.
    """
    columns = expand_protocols(protocols)
    has_masks = want_masks(columns)
    opened = open_masked if has_masks else open_data
    rated = open_network(backbone, preprocess, image_size, in_channels)
    networks = {PRETRAINED: rated}
    average = getattr(backbone, "averaged", None)  # of a supervisor
    if isinstance(average, Average) and average.is_begun:
        networks[AVERAGED] = rated._replace(module=averaged_backbone(backbone))
    networks |= _other_networks(others, preprocess)
    baselines = {
        START: start_network(start, backbone, rated.module),
        UNTRAINED: untrained_network(untrained, rated.module, seed),
    }
    train_source = opened(train, rated.image_size, rated.in_channels, rated.reading)
    train_source = labelled_only(train_source, "train")
    size, channels = train_source.images.image_size, train_source.images.in_channels
    test_source = labelled_only(opened(test, size, channels, rated.reading), "test")
    check_parts_fit(train_source, test_source)
    notes = dict(_of_what_was_seen(backbone))
    if not isinstance(train, LabelledSource) and rank() == 0:  # else who opened them has looked
        own = getattr(backbone, "source", None)  # of a supervisor
        seen = {"the training images": train_source.images}
        if isinstance(own, ImageSource) and own.has_random_access:
            seen = {"the images that the supervisor trains on": own, **seen}
        warn_of_shared(test_source.images, seen)
    for name, baseline in baselines.items():
        if baseline is not None:
            check_layers(list(columns), baseline.network)
            settled = beside(baseline, rated, train_source.images, num_workers, seed)
            networks[name] = rated._replace(module=settled.network)
            notes |= {} if settled.note is None else {name: settled.note}
    for name, network in networks.items():
        check_layers(list(columns), network.module)
        is_other = name not in (PRETRAINED, AVERAGED, START, UNTRAINED)
        if is_other and network.takes_images_as_they_are:
            # The first is asked at once anyway; these would be after all protocols of the first.
            form = train_source.images
            feature_shape(network.module, form.in_channels, form.image_size)
        if has_masks:
            require_map(network, train_source.images, name)

    rating = Rating(
        networks,
        columns,
        train_source,
        test_source,
        batch_size,
        num_workers,
        seed,
        None if cache is None else FeatureCache(cache),
        progress,
    )
    scores, train_labels, test_labels = rating()
    if train_labels is None or test_labels is None:
        facts = _facts_of_masks(train_source, test_source)
    else:
        facts = _facts_of_labels(train_source, train_labels, test_labels)
        notes |= _unknown_classes(train_labels, test_labels, facts["class_names"])
    return Evaluation(
        scores=scores,
        metric=metric_of(train_source),
        notes=notes,
        knows_untrained=all(b is None or b.is_known for b in baselines.values()),
        **facts,
    )


def _of_what_was_seen(backbone: Any) -> dict[str, str]:
    """Says of a run that was loaded without its images that these may be among those of the test.

    Args:
        backbone: What is evaluated.
    """
    is_loaded = getattr(backbone, "loaded", None) is not None
    if not is_loaded or getattr(backbone, "source", None) is not None:
        return {}
    return {
        PRETRAINED: "loaded without the images that it was trained on, so whether test images are "
        "among them is not known here: super_selfish.check(those images, test) tells"
    }


def _facts_of_labels(
    train: LabelledSource, train_labels: torch.Tensor, test_labels: torch.Tensor
) -> dict[str, Any]:
    """What is known of the data without a network."""
    classes = count_classes(train_labels)
    has_several = is_multilabel(train_labels)
    return {
        "chance": chance_level(test_labels, classes),
        "commonest": None if has_several else commonest_level(train_labels, test_labels),
        "train_images": len(train_labels),
        "test_images": len(test_labels),
        "classes": classes,
        "class_names": _class_names(train, train_labels, test_labels),
    }


def _unknown_classes(
    train_labels: torch.Tensor, test_labels: torch.Tensor, class_names: Sequence[str]
) -> dict[str, str]:
    """What is to be said of test classes that nothing can learn."""
    if is_multilabel(train_labels):
        return {}
    every = torch.cat([train_labels, test_labels]).unique()  # as they are named
    is_unknown = ~torch.isin(every, train_labels)
    if not bool(is_unknown.any()):
        return {}
    names = [class_names[place] for place in is_unknown.nonzero().flatten().tolist()]
    images = int(torch.isin(test_labels, every[is_unknown]).sum())
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    share = 100 * (1 - images / len(test_labels))
    return {
        "test": f"no training image has {'the class' if len(names) == 1 else 'the classes'} "
        f"{', '.join(names[:_NAMED])}{more} of {plural(images, 'test image')}, which count as "
        f"wrong: accuracy is at most {share:.1f}"
    }


def _facts_of_masks(train: LabelledSource, test: LabelledSource) -> dict[str, Any]:
    """The same of images with masks."""
    assert train.masks is not None and test.masks is not None  # noqa: S101
    counts, test_counts = train.masks.counts, test.masks.counts
    names = {**test.masks.names, **train.masks.names}
    classes = (counts + test_counts).nonzero().flatten().tolist()
    return {
        "chance": chance_iou(counts, test_counts),
        "commonest": commonest_iou(counts, test_counts),
        "train_images": len(train.images),
        "test_images": len(test.images),
        "classes": len(train.masks.classes),
        "class_names": tuple(names.get(number, str(number)) for number in classes),
    }


def _other_networks(
    others: Mapping[str, Any] | None, preprocess: nn.Module | None
) -> dict[str, Network]:
    """The networks that are rated as well, by name."""
    if others is None:
        return {}
    if not isinstance(others, Mapping):
        raise TypeError(
            f'others must give each backbone a name, as {{"mine": backbone}}, '
            f"got {type(others).__name__}"
        )
    taken = {PRETRAINED, AVERAGED, START, UNTRAINED, DIFFERENCE, SINCE_START} & others.keys()
    if taken:
        raise ValueError(f"others must have names of their own, got {sorted(taken)}")
    return {
        name: open_network(other, preprocess, name=f"others[{name!r}]")
        for name, other in others.items()
    }


def _class_names(
    source: LabelledSource, train_labels: torch.Tensor, test_labels: torch.Tensor
) -> tuple[str, ...]:
    """Names of all classes, or their numbers where the data set does not tell the names."""
    if is_multilabel(train_labels):
        values = list(range(train_labels.shape[1]))
    else:
        values = torch.cat([train_labels, test_labels]).unique().tolist()
    names = source.images.classes
    # Labels that came apart from the images are not those that the data set has names for.
    if names is None or source.labels is not None or not set(values) <= set(range(len(names))):
        return tuple(map(str, values))
    return tuple(str(names[value]) for value in values)
