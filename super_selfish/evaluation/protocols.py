"""The protocols by name: each is a function from a `Subject` to a `Score`.

Those with a number or a layer in their name need no line here: "0.5%", "20-per-class",
"segmentation-20-images" and "finetune-from-blocks.2" (layers before `blocks.2` are frozen) are
built from it. One that learns from masks has an attribute `wants_masks`. One's own joins by
its line: `PROTOCOLS["thrice"] = FewLabels(per_class=5, draws=3)`, or
`PROTOCOLS["quick"] = partial(rate_finetune, lrs=(1e-3,), max_updates=50)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from super_selfish.evaluation.few_label import FALLBACK, FewLabels
from super_selfish.evaluation.finetune import BACKBONE_LR_FACTOR, LRS, MAX_UPDATES, finetune
from super_selfish.evaluation.knn import default_neighbours, knn_scores
from super_selfish.evaluation.label_checks import count_classes, is_multilabel
from super_selfish.evaluation.linear import fit_linear_probe
from super_selfish.evaluation.scoring import Score, Subject, score_predictions
from super_selfish.evaluation.segmentation import Segmentation
from super_selfish.models.freezing import check_layer
from super_selfish.training.spelling import did_you_mean

Protocol = Callable[[Subject], Score]


def rate_knn(subject: Subject) -> Score:
    """Weighted k-nearest neighbours on the features, see `knn_scores`."""
    features, labels = subject.train_features
    test_features, test_labels = subject.test_features
    k = default_neighbours(len(labels), count_classes(labels))
    votes = knn_scores(features, labels, test_features, k=k)
    return score_predictions(votes.scores, votes.classes, test_labels, {"k": k})


def rate_linear(subject: Subject) -> Score:
    """Linear probe on the features, see `fit_linear_probe`."""
    probe = fit_linear_probe(*subject.train_features, seed=subject.seed, fallback=FALLBACK)
    test_features, test_labels = subject.test_features
    settings = {"regularization": probe.regularization}
    return score_predictions(probe(test_features), probe.classes, test_labels, settings)


def rate_finetune(
    subject: Subject,
    *,
    lrs: Sequence[float] = LRS,
    max_updates: int = MAX_UPDATES,
    backbone_lr_factor: float = BACKBONE_LR_FACTOR,
    layer_decay: float = 1.0,
    freeze_until: str | None = None,
) -> Score:
    """Fine-tunes a copy of the whole network, see `finetune`; takes minutes rather than seconds.

    Where no class has two images, and so no learning rate can be chosen, it is the smallest.

    Args:
        subject: The network and the data.
        lrs: As for `finetune`.
        max_updates: As for `finetune`.
        backbone_lr_factor: As for `finetune`.
        layer_decay: As for `finetune`.
        freeze_until: As for `finetune`.
    """
    labels = subject.train_labels
    if not is_multilabel(labels) and count_classes(labels) == len(labels):
        lrs = (min(lrs),)
    result = finetune(
        subject.backbone,
        subject.labelled_train,
        subject.test,
        preprocess=subject.preprocess,
        lrs=lrs,
        max_updates=max_updates,
        backbone_lr_factor=backbone_lr_factor,
        layer_decay=layer_decay,
        freeze_until=freeze_until,
        num_workers=subject.num_workers,
        seed=subject.seed,
    )
    return score_predictions(result.logits, result.classes, subject.test_labels, result.settings)


PROTOCOLS: dict[str, Protocol] = {
    "knn": rate_knn,
    "linear": rate_linear,
    "finetune": rate_finetune,
    "1%": FewLabels(share=0.01),
    "10%": FewLabels(share=0.1),
    "1-per-class": FewLabels(per_class=1),
    "5-per-class": FewLabels(per_class=5),
    "10-per-class": FewLabels(per_class=10),
    "segmentation": Segmentation(),
}

# Names that stand for several protocols.
PROTOCOL_GROUPS: dict[str, tuple[str, ...]] = {
    "few-label": ("1%", "10%", "1-per-class", "5-per-class", "10-per-class"),
}


# Names that hold what they need; the part in brackets is given to the function.
FINETUNE_FROM = "finetune-from-"
_FAMILIES: tuple[tuple[str, Callable[[str], Protocol]], ...] = (
    (r"(\d+(?:\.\d+)?)%", lambda share: FewLabels(share=float(share) / 100)),
    (r"(\d+)-per-class", lambda images: FewLabels(per_class=int(images))),
    (r"segmentation-(\d+(?:\.\d+)?)%", lambda share: Segmentation(share=float(share) / 100)),
    (r"segmentation-(\d+)-images", lambda images: Segmentation(images=int(images))),
    (FINETUNE_FROM + "(.+)", lambda layer: partial(rate_finetune, freeze_until=layer)),
)


def find_protocol(name: str) -> Protocol | None:
    """The protocol of a name, from `PROTOCOLS` or built from the name; `None` if there is none.

    Raises:
        ValueError: If the number in the name is out of range.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    for pattern, build in _FAMILIES:
        match = re.fullmatch(pattern, name)
        if match is not None:
            return build(match[1])
    return None


def expand_protocols(names: Sequence[str]) -> dict[str, Protocol]:
    """Protocols by name, each once, with groups replaced by what they stand for.

    Args:
        names: From `PROTOCOLS` and `PROTOCOL_GROUPS`, or "2%", "20-per-class",
            "segmentation-20-images", "segmentation-5%", "finetune-from-LAYER" with any number or
            layer.

    Raises:
        TypeError: If `names` is a string.
        ValueError: If a name is unknown, or there is none.
    """
    if isinstance(names, str):
        raise TypeError(f"protocols must be a sequence of names, got the string {names!r}")
    expanded = [part for name in names for part in PROTOCOL_GROUPS.get(name, (name,))]
    found = {name: find_protocol(name) for name in expanded}
    known = {name: protocol for name, protocol in found.items() if protocol is not None}
    if not known or len(known) < len(found):
        names_known = [*PROTOCOLS, *PROTOCOL_GROUPS]
        families = (
            '"2%", "20-per-class", "segmentation-20-images", "segmentation-5%" (any number) or '
            f'"{FINETUNE_FROM}LAYER"'
        )
        unknown = [name for name in found if name not in known]
        near = [did_you_mean(str(name), names_known) for name in unknown]
        meant = ", ".join(repr(name) for name in dict.fromkeys(near) if name)
        guess = f": did you mean {meant}?" if meant else ""
        raise ValueError(
            f"protocols must be some of {names_known}, or {families}, got {unknown}{guess}"
        )
    return known


def want_masks(columns: Mapping[str, Protocol]) -> bool:
    """Whether protocols learn from masks rather than from labels.

    Args:
        columns: By name, at least one.

    Raises:
        ValueError: If some do and some do not.
    """
    dense = [name for name, rate in columns.items() if getattr(rate, "wants_masks", False)]
    if 0 < len(dense) < len(columns):
        others = [name for name in columns if name not in dense]
        raise ValueError(
            f"{dense} want masks, but {others} want one label an image: ask for them in two calls"
        )
    return bool(dense)


def check_layers(names: Sequence[str], backbone: nn.Module) -> None:
    """Refuses protocols that name a layer which the backbone has not.

    Raises:
        ValueError: Lists layers whose names are near.
    """
    for name in names:
        if name not in PROTOCOLS and name.startswith(FINETUNE_FROM):
            check_layer(backbone, name.removeprefix(FINETUNE_FROM))
