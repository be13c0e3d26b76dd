"""Protocols by name, and what their names hold."""

from __future__ import annotations

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.evaluation import protocols
from super_selfish.evaluation.few_label import FewLabels
from super_selfish.evaluation.protocols import (
    PROTOCOL_GROUPS,
    PROTOCOLS,
    check_layers,
    expand_protocols,
    find_protocol,
    rate_finetune,
    want_masks,
)
from super_selfish.evaluation.segmentation import Segmentation


def test_a_name_with_a_number_is_the_protocol_of_that_number() -> None:
    for name, protocol in PROTOCOLS.items():
        if isinstance(protocol, FewLabels):
            number, per_class = re.fullmatch(r"(\d+)(%|-per-class)", name).groups()  # type: ignore[union-attr]
            is_share = per_class == "%"
            share, images = int(number) / 100, int(number)
            assert protocol == (FewLabels(share=share) if is_share else FewLabels(per_class=images))
            assert name in PROTOCOL_GROUPS["few-label"]
    assert find_protocol("2.5%") == FewLabels(share=0.025)
    assert find_protocol("20-per-class") == FewLabels(per_class=20)
    assert find_protocol("knn") is PROTOCOLS["knn"]
    assert find_protocol("segmentation-2.5%") == Segmentation(share=0.025)
    assert find_protocol("segmentation-20-images") == Segmentation(images=20)
    named: Any = find_protocol("finetune-from-layer3.0")
    assert named.func is rate_finetune and named.keywords == {"freeze_until": "layer3.0"}
    assert [find_protocol(name) for name in ("x5%", "per-class", "finetune-from-")] == [None] * 3
    with pytest.raises(ValueError, match="0"):
        find_protocol("0-per-class")


def test_groups_stand_for_their_protocols_and_each_comes_once() -> None:
    assert list(expand_protocols(["knn", "few-label", "1%", "2%", "knn"])) == [
        *("knn", "1%", "10%", "1-per-class", "5-per-class", "10-per-class", "2%")
    ]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("knn", TypeError, "protocols must be a sequence of names, got the string 'knn'"),
        ([], ValueError, "got []"),
        (["knn", "lineer", "zzz"], ValueError, "got ['lineer', 'zzz']: did you mean 'linear'?"),
        (["qqqq"], ValueError, "got ['qqqq']"),
    ],
)
def test_unknown_names_are_refused(names: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        expand_protocols(names)
    assert str(caught.value).endswith(message)


def test_layers_in_names_are_those_of_the_backbone() -> None:
    backbone = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_layers(["knn", "finetune", "finetune-from-1"], backbone)
    with pytest.raises(ValueError, match="7"):
        check_layers(["knn", "finetune-from-7"], backbone)


@pytest.mark.parametrize(
    ("labels", "rates"),
    [
        ([0, 1, 2], (0.1,)),  # one image a class: nothing can be held out to choose by
        ([0, 1, 1], (0.3, 0.1)),
        ([[0, 1], [1, 0]], (0.3, 0.1)),
    ],
)
def test_fine_tuning_chooses_a_rate_where_images_can_be_held_out(
    labels: Any, rates: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def finetune(*images: Any, **settings: Any) -> Any:
        told.update(settings, images=images)
        return SimpleNamespace(logits=1, classes=2, settings={"lr": 3})

    monkeypatch.setattr(protocols, "finetune", finetune)
    monkeypatch.setattr(protocols, "score_predictions", lambda *given: given)
    subject: Any = SimpleNamespace(
        **{"backbone": "b", "labelled_train": "train", "test": "test", "preprocess": "p"},
        **{"num_workers": 4, "seed": 5, "test_labels": "t", "train_labels": torch.tensor(labels)},
    )
    rate = partial(rate_finetune, lrs=(0.3, 0.1), max_updates=9, backbone_lr_factor=0.2)
    found: Any = rate(subject, freeze_until="x", layer_decay=0.7)
    assert found == (1, 2, "t", {"lr": 3})
    assert told == {
        **{"images": ("b", "train", "test"), "preprocess": "p", "lrs": rates, "max_updates": 9},
        **{"backbone_lr_factor": 0.2, "layer_decay": 0.7, "freeze_until": "x"},
        **{"num_workers": 4, "seed": 5},
    }


def test_protocols_want_masks_or_labels() -> None:
    assert want_masks(expand_protocols(["segmentation", "segmentation-3-images"]))
    assert not want_masks(expand_protocols(["knn", "few-label", "finetune"]))
    mixed = expand_protocols(["segmentation", "5%", "knn"])
    with pytest.raises(ValueError, match=r"\['segmentation'\] want masks, but \['5%', 'knn'\]"):
        want_masks(mixed)
