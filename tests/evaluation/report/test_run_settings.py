"""The settings of a page, from a supervisor that one can read."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.evaluation.report.descriptions import Algorithm
from super_selfish.evaluation.report.record import Record
from super_selfish.evaluation.report.run_settings import settings, trained_on
from super_selfish.supervisors.arguments import shown

CROSS = "\N{MULTIPLICATION SIGN}"


def supervisor(**changed: Any) -> Any:
    backbone, head = nn.Linear(3, 4), nn.Linear(4, 2)
    head.weight.requires_grad_(False)
    parameters = [*backbone.parameters(), *head.parameters()]
    values = {
        **{"arguments": {"dataset": "left out", "width": 3}, "image_size": (32, 48)},
        **{"in_channels": 3, "value_range": None, "device": torch.device("cpu"), "source": None},
        **{"model": SimpleNamespace(predictor=head), "parameters": lambda: parameters},
        "get_backbone": lambda: backbone,
    }
    return SimpleNamespace(**{**values, **changed})


def source(count: int = 1200, **changed: Any) -> Any:
    class Source:
        def __len__(self) -> int:
            return count

    made: Any = Source()
    told = {"dataset": torch.zeros(2, 3), "remark": None, "classes": None, "values_in_words": "w"}
    for name, value in {**told, **changed}.items():
        setattr(made, name, value)
    return made


def rows(record: Record | None = None, images: Any = None, **changed: Any) -> dict[str, Any]:
    algorithm = Algorithm("T", "", "", "It differs.")
    found = settings(supervisor(**changed), record, algorithm, images, "today")
    assert found.differences == "It differs."
    return {block.title: {str(name): value for name, value in block.rows} for block in found.blocks}


def record(**provenance: Any) -> Record:
    return Record(
        [], 1, 0, {"epochs": 2, "optimizer": "adam"}, provenance, images=0, seconds=0, waited=0
    )


def test_without_a_record_nothing_is_told_of_training() -> None:
    found = rows()
    assert found["Algorithm"] == {"width": "3"}
    assert found["Training"] == {}
    assert found["Images"] == {"size": f"32 {CROSS} 48 pixels", "channels": 3}
    assert found["Networks"] == {
        "backbone": "Linear, 16 parameters",
        "predictor": "Linear, 10 parameters",
        "trained parameters": "18",
    }
    machine = found["Machine and versions"]
    assert machine["trained"] == machine["processes"] == "not known"
    assert str(machine["device"]) == "cpu" and machine["page written"] == "today"
    assert "torch" in machine
    alone = rows(model=SimpleNamespace(predictor=None))["Networks"]
    assert list(alone) == ["backbone", "trained parameters"]


def test_what_a_record_knows_goes_before_what_is_here() -> None:
    known = {"dataset": "that of then", "num_images": 5000, "device": "cuda", "processes": 2}
    known |= {"versions": {"ours": "1.0"}, "date": "2026-01-02T03:04:00+00:00"}
    found = rows(record(**known), source())
    assert found["Training"] == {"epochs": "2", "optimizer": "adam"}
    assert found["Images"]["dataset"] == "that of then" and found["Images"]["images"] == "5,000"
    assert found["Images"]["looked at"].endswith(", 1,200 images")
    assert found["Machine and versions"] == {
        **{"trained": "2026-01-02 03:04 UTC", "device": "cuda", "processes": 2, "ours": "1.0"},
        "page written": "today",
    }


def test_images_are_told_with_their_numbers_and_classes() -> None:
    own = source(classes=[f"c{n}" for n in range(11)], remark="odd")
    found = rows(record(dataset="x"), own, source=own, value_range=(0, 4095))["Images"]
    assert found["images"] == "1,200" and found["numbers"] == "w"
    assert found["black and white"] == "(0, 4095)"
    assert found["classes"] == f"11: {', '.join(f'c{n}' for n in range(10))}, ..."
    assert "looked at" not in found
    few = source(classes=[f"c{n}" for n in range(10)])
    lent = rows(record(), few)["Images"]  # of whose data set nothing else is known
    assert lent["classes"].endswith(", c9") and lent["classes"].startswith("10: c0")
    assert "numbers" not in lent and "looked at" not in lent and "dataset" in lent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 3), "tensor of shape [2, 3]"),
        ("adam", "adam"),
        (0.5, "0.5"),
        ((1, nn.Linear(1, 1)), "(1, Linear(...))"),
        (nn.Linear, "Linear"),
        (partial(print, 1), "partial(...)"),
        (None, "None"),
    ],
)
def test_a_setting_is_shown_as_short_as_it_is_understood(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("channels", "words"), [(1, "1 channel"), (3, "3 channels")])
def test_the_images_of_the_training_are_told_in_a_sentence(channels: int, words: str) -> None:
    known = record(dataset="photographs", num_images=5000)
    told = trained_on(supervisor(in_channels=channels), known, None)
    assert told == f"5,000 images of 32 {CROSS} 48 pixels, {words}: photographs."
    assert trained_on(supervisor(), None, None) == ""
    assert trained_on(supervisor(), record(dataset="photographs"), None) == ""
