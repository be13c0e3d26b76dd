"""The protocols by name: each is a function from a `Subject` to a `Score`.

One's own joins by its line: `PROTOCOLS["2%"] = FewLabels(share=0.02)`, or
`PROTOCOLS["top"] = partial(rate_finetune, freeze_until="layer4")`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from super_selfish.evaluation.few_label import FALLBACK, FewLabels
from super_selfish.evaluation.finetune import BACKBONE_LR_FACTOR, LRS, MAX_UPDATES, finetune
from super_selfish.evaluation.knn import default_neighbours, knn_scores
from super_selfish.evaluation.labels import count_classes, is_multilabel
from super_selfish.evaluation.linear import fit_linear_probe
from super_selfish.evaluation.subject import Score, Subject, score_predictions


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
    freeze_until: str | None = None,
) -> Score:
    """Fine-tunes a copy of the whole network, see `finetune`; takes minutes rather than seconds.

    Where no class has two images, and so no learning rate can be chosen, it is the smallest.

    Args:
        subject: The network and the data.
        lrs: As for `finetune`.
        max_updates: As for `finetune`.
        backbone_lr_factor: As for `finetune`.
        freeze_until: As for `finetune`.
    """
    labels, test_labels = subject.train_features[1], subject.test_features[1]
    if not is_multilabel(labels) and count_classes(labels) == len(labels):
        lrs = (min(lrs),)
    result = finetune(
        subject.backbone,
        subject.train,
        subject.test,
        preprocess=subject.preprocess,
        lrs=lrs,
        max_updates=max_updates,
        backbone_lr_factor=backbone_lr_factor,
        freeze_until=freeze_until,
        num_workers=subject.num_workers,
        seed=subject.seed,
    )
    return score_predictions(result.logits, result.classes, test_labels, result.settings)


PROTOCOLS: dict[str, Callable[[Subject], Score]] = {
    "knn": rate_knn,
    "linear": rate_linear,
    "finetune": rate_finetune,
    "1%": FewLabels(share=0.01),
    "10%": FewLabels(share=0.1),
    "1-per-class": FewLabels(per_class=1),
    "5-per-class": FewLabels(per_class=5),
    "10-per-class": FewLabels(per_class=10),
}

# Names that stand for several protocols.
PROTOCOL_GROUPS: dict[str, tuple[str, ...]] = {
    "few-label": ("1%", "10%", "1-per-class", "5-per-class", "10-per-class"),
}


def expand_protocols(names: Sequence[str]) -> list[str]:
    """Names from `PROTOCOLS`, each once, with groups replaced by what they stand for.

    Args:
        names: From `PROTOCOLS` and `PROTOCOL_GROUPS`.

    Raises:
        TypeError: If `names` is a string.
        ValueError: If a name is unknown, or there is none.
    """
    if isinstance(names, str):
        raise TypeError(f"protocols must be a sequence of names, got the string {names!r}")
    expanded = [part for name in names for part in PROTOCOL_GROUPS.get(name, (name,))]
    if not expanded or not set(expanded) <= PROTOCOLS.keys():
        known = [*PROTOCOLS, *PROTOCOL_GROUPS]
        raise ValueError(f"protocols must be some of {known}, got {list(names)}")
    return list(dict.fromkeys(expanded))
