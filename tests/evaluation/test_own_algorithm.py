"""An algorithm of the user's own, as a user writes it, gets all that the library's have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("matplotlib")

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data import Batch, Collator, Picture, picture
from super_selfish.evaluation import (
    compare,
    health,
    plot_exhibits,
    plot_reconstructions,
    show_algorithm,
    write_report,
)
from super_selfish.models import Classification
from super_selfish.supervisors import RotateNetSupervisor, Supervisor, seen_batch

Backbones = Callable[..., nn.Module]


class Flips(NamedTuple):
    views: Tensor  # (B, C, H, W)
    targets: Tensor  # (B,) int64, 1: upside down


class FlipCollator(Collator):
    def augment(self, batch: Batch, generator: torch.Generator) -> Flips:
        images = to_unit_range(batch.images)
        targets = torch.randint(2, (len(images),), generator=generator)
        return Flips(
            torch.where(targets[:, None, None, None] == 1, images.flip(-2), images), targets
        )


class FlipSupervisor(Supervisor):
    """Says which images stand on their heads."""

    def __init__(self, dataset: Any = None, backbone: Any = None) -> None:
        super().__init__(None, dataset, nn.CrossEntropyLoss(), FlipCollator())
        self.model = self._combine(backbone, None, lambda f: Classification(f.dim, 2))

    def _forward(self, data: Flips) -> Tensor:
        return self.loss(self.model(data.views), data.targets)


class TalkingFlipSupervisor(FlipSupervisor):
    title = "Flip <script>alert(1)</script>"
    question = "Which <b>way</b> is up?"
    against_collapse = "turn more images"
    paints = True

    def exhibit(self, index: Sequence[int], seed: int) -> list[list[Picture]]:
        data = seen_batch(self, index, seed)
        right = self.model(data.views).argmax(dim=1) == data.targets
        shown = zip(data.views, right.tolist(), strict=True)
        return [[picture(view, "says so", ok)] for view, ok in shown]


class OurSubclass(RotateNetSupervisor):
    """A variant of one of ours."""


def section(page: Path, anchor: str) -> str:
    parts = page.read_text(encoding="utf-8").split("<section")[1:]
    return next(part for part in parts if f'id="{anchor}"' in part)


def trained(kind: Any, images: Tensor, backbone: nn.Module) -> Any:
    torch.manual_seed(0)
    return kind(images, backbone=backbone).supervise(
        epochs=1, batch_size=11, name=None, progress=False
    )


def test_its_views_are_a_section_of_the_report(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = trained(FlipSupervisor, images, tiny_backbone())
    page = write_report(supervisor, tmp_path / "run", most_images=4, seed=1)
    text = page.read_text(encoding="utf-8")
    assert "<h1>FlipSupervisor</h1>" in text and "Says which images stand on" in text
    answers = section(page, "answers")
    targets = seen_batch(supervisor, [0, 7, 14, 21], 1).targets.tolist()
    assert {0, 1} == set(targets)
    assert answers.count("<img") == 4
    for target in (0, 1):
        assert answers.count(f"<figcaption>views\ntargets {target}<") == targets.count(target)
    assert "has no exhibit of its own" in answers and 'class="lead"' not in answers


def test_what_it_says_is_shown_and_its_words_are_never_tags(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = trained(TalkingFlipSupervisor, images, tiny_backbone())
    page = write_report(supervisor, tmp_path / "run", most_images=4)
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text
    assert "<h1>Flip &lt;script&gt;alert(1)&lt;/script&gt;</h1>" in text
    answers = section(page, "answers")
    assert "Which &lt;b&gt;way&lt;/b&gt; is up?" in answers and "has no exhibit" not in answers
    assert "of the 4 answers below" in answers


def test_a_function_that_makes_batches_hides_no_exhibit_of_its_own(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    class Told(FlipSupervisor):
        def exhibit(self, index: Sequence[int], seed: int) -> list[list[Picture]]:
            return [[picture(images[position], "as it is")] for position in index]

    supervisor = Told(images, tiny_backbone())
    supervisor.collate_fn = list
    page = write_report(supervisor, tmp_path / "run", most_images=4)
    assert section(page, "answers").count("as it is</figcaption>") == 4
    assert "A function of your own makes the batches" in section(page, "views")


def test_a_batch_without_images_is_told_in_the_report(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    class Rows(Collator):
        def augment(self, batch: Batch, generator: torch.Generator) -> Tensor:
            return batch.images.flatten(1)

    supervisor = Supervisor(FlipSupervisor(images, tiny_backbone()).model, images, None, Rows())
    page = write_report(supervisor, tmp_path / "run", most_images=4)
    for anchor in ("views", "answers"):
        assert '<p class="absent">The collator makes no images' in section(page, anchor)


def test_it_has_a_row_in_a_gallery(images: Tensor, tiny_backbone: Backbones) -> None:
    silent = show_algorithm(FlipSupervisor(images, tiny_backbone()))
    talking = show_algorithm(TalkingFlipSupervisor(images, tiny_backbone()))
    assert silent[:2] == ("FlipSupervisor", "") and silent.score is None
    assert talking.score is not None and talking.score[1] == 4
    figure = plot_exhibits([silent, talking])
    assert len(figure.axes) == 8
    assert "FlipSupervisor" in [text.get_text() for text in figure.texts]


def test_one_that_paints_has_reconstructions(images: Tensor, tiny_backbone: Backbones) -> None:
    assert len(plot_reconstructions(TalkingFlipSupervisor(images, tiny_backbone())).axes) == 4
    with pytest.raises(ValueError, match="FlipSupervisor paints no images"):
        plot_reconstructions(FlipSupervisor(images, tiny_backbone()))


def test_its_health_is_judged_with_its_own_advice(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = trained(TalkingFlipSupervisor, images, tiny_backbone())
    for parameter in supervisor.get_backbone().parameters():
        nn.init.zeros_(parameter)
    for module in supervisor.get_backbone().modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(1000)
    assert health(supervisor, images).verdict.endswith("; turn more images")


def test_it_is_compared_by_a_name_of_its_own(images: Tensor, tiny_backbone: Backbones) -> None:
    labels = torch.arange(11) % 2
    found = compare(
        {"flip": FlipSupervisor, "rotate": RotateNetSupervisor},
        (images[:11], labels),
        (images[11:], labels),
        epochs=1,
        backbone=tiny_backbone(),
        seeds=1,
        protocols=("knn",),
        path=None,
        progress=False,
    )
    assert sorted(entry.algorithm for entry in found.leaderboard) == ["flip", "rotate"]
    assert not any(entry.has_failed for entry in found.leaderboard)


def test_a_subclass_of_ours_has_the_section_of_its_parent(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = OurSubclass(images, backbone=tiny_backbone())
    page = write_report(supervisor, tmp_path / "run", most_images=4)
    assert "By how many degrees was this image turned?" in section(page, "answers")
    text = page.read_text(encoding="utf-8")
    assert "<h1>RotateNet</h1>" in text and "Gidaris, Singh, Komodakis, 2018" in text
