"""How good is a backbone? Every protocol, for the backbone and for its untrained twin.

A number without its baseline says little: random convolutions followed by a good classifier get
surprisingly far. So each protocol also rates a network of the same architecture that has learned
nothing, and the table ends with what pretraining added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from super_selfish.data.sources import Sample
from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.evaluation.protocols import PROTOCOLS
from super_selfish.evaluation.subject import Score, Subject, no_labels
from super_selfish.models.backbones import untrained_twin


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of a backbone and of its untrained twin; prints as a table.

    Attributes:
        pretrained: Accuracy by protocol, in [0, 1].
        untrained: The same for the network that has learned nothing; `None` if there was none.
        chance: Accuracy of always saying the test part's most frequent class.
        train_images: Images that protocols learned from.
        test_images: Images that the accuracies are of.
        classes: Classes of the training part.
        settings: What each protocol chose, by protocol: for "pretrained", and for "untrained".
    """

    pretrained: dict[str, float]
    untrained: dict[str, float] | None
    chance: float
    train_images: int
    test_images: int
    classes: int
    settings: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def difference(self) -> dict[str, float] | None:
        """What pretraining added, by protocol; `None` without an untrained network."""
        if self.untrained is None:
            return None
        return {name: self.pretrained[name] - self.untrained[name] for name in self.pretrained}

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON."""
        return {
            "pretrained": dict(self.pretrained),
            "untrained": None if self.untrained is None else dict(self.untrained),
            "difference": self.difference,
            "chance": self.chance,
            "train_images": self.train_images,
            "test_images": self.test_images,
            "classes": self.classes,
            "settings": {
                network: {protocol: dict(chosen) for protocol, chosen in protocols.items()}
                for network, protocols in self.settings.items()
            },
        }

    def __str__(self) -> str:
        """A table in percent: a row for each network, a column for each protocol."""
        rows = [_row("pretrained", self.pretrained, "{:.1f}")]
        if self.untrained is not None and self.difference is not None:
            rows.append(_row("untrained", self.untrained, "{:.1f}"))
            rows.append(_row("difference", self.difference, "{:+.1f}"))
        header = ["", *self.pretrained]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in [header, *rows]
        ]
        return "\n".join(
            [
                *lines,
                f"accuracy in %; {self.train_images} training and {self.test_images} test images, "
                f"{self.classes} classes, chance {100 * self.chance:.1f}",
            ]
        )


def evaluate(
    backbone: Any,
    train: Any,
    test: Any,
    *,
    protocols: Sequence[str] = ("knn", "linear"),
    untrained: nn.Module | str | None = "twin",
    batch_size: int = 256,
    num_workers: int = 0,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    preprocess: nn.Module | None = None,
    seed: int = 0,
) -> Evaluation:
    """Rates a backbone on labelled images, beside an untrained network of the same architecture.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`, or a supervisor:
            anything with `get_backbone()`, whose `preprocess`, `image_size` and `in_channels` are
            then used unless they are given here.
        train: Labelled images that protocols learn from: whatever `as_source` takes, or a pair
            `(images, labels)`.
        test: Labelled images that accuracies are of, of the same kind; they are brought to the
            size and channels of `train`.
        protocols: Names from `PROTOCOLS`, in the order of the columns.
        untrained: "twin" for a freshly initialised copy of the backbone, a module of your own, or
            `None` for no comparison.
        batch_size: Images per forward pass.
        num_workers: Processes that load images; 0 loads in this one.
        image_size: Images are brought to this size in pixels, a side or (height, width).
        in_channels: Images are brought to this many channels.
        preprocess: Applied to images in [0, 1] before the backbone (also the untrained one).
        seed: Of the twin's initialisation and of everything that protocols draw.

    Returns:
        The accuracies.

    Raises:
        ValueError: If a protocol is unknown, or a part has no labels.
        TypeError: If `backbone` or `untrained` is none of the above.
    """
    _check_protocols(protocols)
    if callable(getattr(backbone, "get_backbone", None)):
        if preprocess is None:
            preprocess = getattr(backbone, "preprocess", None)
        if image_size is None:
            image_size = getattr(backbone, "image_size", None)
        if in_channels is None:
            in_channels = getattr(backbone, "in_channels", None)
        backbone = backbone.get_backbone()
    if not isinstance(backbone, nn.Module):
        raise TypeError(
            f"backbone must be an nn.Module or have get_backbone(), got {type(backbone).__name__}"
        )
    train_source = open_data(train, image_size, in_channels)
    test_source = open_data(test, train_source.images.image_size, train_source.images.in_channels)
    _check_first_label(train_source, "train")
    _check_first_label(test_source, "test")

    networks = {"pretrained": backbone}
    baseline = _untrained_network(untrained, backbone, seed)
    if baseline is not None:
        networks["untrained"] = baseline
    scores: dict[str, dict[str, Score]] = {}
    for network, module in networks.items():
        subject = Subject(
            module, train_source, test_source, preprocess, batch_size, num_workers, seed
        )
        scores[network] = {name: PROTOCOLS[name](subject) for name in protocols}
        train_labels, test_labels = subject.train_features[1], subject.test_features[1]

    accuracies = {
        network: {name: score.accuracy for name, score in row.items()}
        for network, row in scores.items()
    }
    return Evaluation(
        pretrained=accuracies["pretrained"],
        untrained=accuracies.get("untrained"),
        chance=test_labels.unique(return_counts=True)[1].max().item() / len(test_labels),
        train_images=len(train_labels),
        test_images=len(test_labels),
        classes=len(train_labels.unique()),
        settings={
            network: {name: dict(score.settings) for name, score in row.items()}
            for network, row in scores.items()
        },
    )


def _check_protocols(protocols: Sequence[str]) -> None:
    """Refuses names that are not in `PROTOCOLS`, and an empty list."""
    if isinstance(protocols, str):
        raise TypeError(f"protocols must be a sequence of names, got the string {protocols!r}")
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown or not protocols:
        raise ValueError(f"protocols must be some of {sorted(PROTOCOLS)}, got {list(protocols)}")


def _untrained_network(
    untrained: nn.Module | str | None, backbone: nn.Module, seed: int
) -> nn.Module | None:
    """The network to compare with."""
    if untrained is None or isinstance(untrained, nn.Module):
        return untrained
    if untrained != "twin":
        raise TypeError(f'untrained must be "twin", an nn.Module or None, got {untrained!r}')
    return untrained_twin(backbone, seed=seed)


def _check_first_label(source: LabelledSource, part: str) -> None:
    """Notices missing labels before the first forward pass."""
    if source.labels is None:
        sample = source.images[0]
        if isinstance(sample, Sample) and sample.label is None:
            raise ValueError(no_labels(part))


def _row(name: str, accuracies: Mapping[str, float], form: str) -> list[str]:
    """Cells of a row of the table, in percent."""
    return [name, *(form.format(100 * accuracy) for accuracy in accuracies.values())]
