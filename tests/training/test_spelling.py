from __future__ import annotations

import pytest

from super_selfish.training.spelling import did_you_mean, unknown_keyword

KNOWN = ["epochs", "batch_size", "lr"]


def test_the_nearest_name_is_meant_if_there_is_one() -> None:
    assert did_you_mean("batchsize", KNOWN) == "batch_size"
    assert did_you_mean("colour", KNOWN) is None
    assert did_you_mean("size", KNOWN) is None  # which is less than six tenths of any


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("epoch", "f() takes no epoch=: did you mean epochs=?"),
        ("dataset", "f() takes no dataset=: that is an argument of X()"),
        ("data_set", "f() takes no data_set=: X() has dataset="),
        ("colour", "f() takes no colour=: it takes epochs=, batch_size=, lr="),
    ],
)
def test_an_unknown_keyword_is_told_what_was_meant(wrong: str, sentence: str) -> None:
    error = unknown_keyword("f()", wrong, KNOWN, {"X()": ["dataset"]})
    assert isinstance(error, TypeError) and str(error) == sentence


def test_what_belongs_nowhere_else_is_told_with_all_that_there_is() -> None:
    sentence = "f() takes no colour=: it takes epochs=, batch_size=, lr="
    assert str(unknown_keyword("f()", "colour", KNOWN)) == sentence


def test_what_other_libraries_call_it_is_known() -> None:
    known = ["lr", "optimizer", "lr_scheduler", "epochs"]
    for wrong, meant in {"learning_rate": "lr", "num_epochs": "epochs"}.items():
        said = str(unknown_keyword("supervise()", wrong, known))
        assert said == f"supervise() takes no {wrong}=: did you mean {meant}=?"
