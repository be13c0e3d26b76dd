"""What the page beside given weights is told of their run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.export import Story
from super_selfish.supervisors import LabelSupervisor, RotateNetSupervisor
from super_selfish.supervisors.story import story_of

Backbones = Callable[..., nn.Module]
FOUND: dict[str, Any] = {"pretrained": {}}


class NamelessSupervisor(RotateNetSupervisor):
    title = ""


def test_who_has_learned_nothing_here_has_no_story_but_what_was_found(
    tiny_backbone: Backbones,
) -> None:
    supervisor = RotateNetSupervisor(None, tiny_backbone(), image_size=32)
    assert story_of(supervisor) == Story()
    for given in (FOUND, SimpleNamespace(as_dict=lambda: FOUND)):
        assert story_of(supervisor, given) == Story(evaluation=FOUND)
    for wrong in ({"linear": 0.5}, [FOUND]):
        with pytest.raises(TypeError, match=f"evaluation must be .*got a {type(wrong).__name__}$"):
            story_of(supervisor, wrong)  # type: ignore[arg-type]


def test_a_run_is_told_as_it_was_and_as_its_checkpoint_has_it(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"rotations": (0, 90), "normalize": "imagenet", "device": "cpu"}
    supervisor = NamelessSupervisor(images, tiny_backbone(), **arguments)
    supervisor.supervise(epochs=1, batch_size=22, name=tmp_path / "run", progress=False)
    told = story_of(supervisor, FOUND)
    assert (told.algorithm, told.uses_labels, told.start) == ("Nameless", False, None)
    assert told.options == {"rotations": (0, 90), "crop": True}  # the rest is elsewhere
    assert told.provenance is not None and told.provenance["settings"]["epochs"] == 1
    assert told.evaluation == FOUND
    supervisor.start = SimpleNamespace(origin="its published weights")  # type: ignore[assignment]
    monkeypatch.setattr(NamelessSupervisor, "title", "RotNet")
    told_again = story_of(supervisor)
    assert (told_again.algorithm, told_again.start) == ("RotNet", "its published weights")
    loaded = NamelessSupervisor(None, tiny_backbone(), image_size=32).load(tmp_path / "run")
    stored = story_of(loaded).provenance
    assert loaded.run is None and stored is not None
    assert {**stored, "date": told.provenance["date"]} == told.provenance  # told a second later


def test_whoever_learns_from_labels_says_so(images: Tensor, tiny_backbone: Backbones) -> None:
    labelled = (images, torch.arange(22) % 2)
    supervisor = LabelSupervisor(labelled, tiny_backbone(), value_range=(-45, 255))
    supervisor.supervise(epochs=1, batch_size=22, name=None, progress=False)
    told = story_of(supervisor)
    assert told.uses_labels and told.algorithm == "Label"
    assert told.value_range == (-45, 255)
