"""The example of the one call hands on what it is told."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import super_selfish

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain.py"


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `pretrain` was called with."""
    calls: list[Any] = []

    def pretrain(*given: Any, **named: Any) -> str:
        calls.append((*given, named))
        return "what came of it"

    monkeypatch.setattr(super_selfish, "pretrain", pretrain)
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *words])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_a_folder_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, called: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--data", "mine", "--time", "2h", "--out", "there", "--algorithm", "moco")
    named = {"test": None, "algorithm": "moco", "overwrite": False}
    assert called == [("mine", "there", "2h", named)]
    assert capsys.readouterr().out == "what came of it\n"


def test_without_one_photographs_are_trained_on_and_others_tested(
    monkeypatch: pytest.MonkeyPatch, called: list[Any]
) -> None:
    run(monkeypatch)
    images, out, time, named = called[0]
    assert (out, time) == ("store/pretrained", "4min")
    assert images[0][0].shape == named["test"][0][0].shape == (3, 64, 64)
    assert images.classes == named["test"].classes
