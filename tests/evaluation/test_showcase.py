from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

pytest.importorskip("matplotlib")

from super_selfish.data.pictures import Group, picture
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.sheets import ACCENT, GOOD, QUIET
from super_selfish.evaluation.showcase import Exhibit, plot_exhibits, show_algorithm
from super_selfish.supervisors import SUPERVISORS, RotateNetSupervisor
from super_selfish.supervisors.exhibits import seen_batch

Backbones = Callable[..., nn.Module]
EXAMPLE = Path(__file__).parents[2] / "examples" / "all_algorithms.py"


def build(algorithm: str, images: Any, backbone: nn.Module, **options: Any) -> Any:
    torch.manual_seed(0)
    return SUPERVISORS[algorithm](images, backbone=backbone, **options)


class Says(nn.Module):
    """Always names the same classes."""

    def __init__(self, classes: list[int], total: int) -> None:
        super().__init__()
        self.logits = nn.functional.one_hot(torch.tensor(classes), total).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


class Silent(RotateNetSupervisor):
    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        return []


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_every_algorithm_shows_pictures_with_captions(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    exhibit = show_algorithm(build(algorithm, images, tiny_backbone()))
    assert exhibit.title and exhibit.question.endswith("?")
    assert len(exhibit.groups) >= 2
    for group in exhibit.groups:
        for shown in group:
            assert shown.image.ndim == 3 and len(shown.image) == 3
            assert torch.isfinite(shown.image).all()
            assert 0 <= shown.image.min() and shown.image.max() <= 1
            assert 1 <= len(shown.caption.splitlines()) <= 2
            assert max(map(len, shown.caption.splitlines())) <= 13  # else captions overlap


def test_every_algorithm_has_a_name_of_its_own() -> None:
    titles = [kind.title for kind in SUPERVISORS.values()]
    assert all(titles) and len(set(titles)) == len(titles)
    assert all("exhibit" in vars(kind) for kind in SUPERVISORS.values())


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_looking_changes_nothing(algorithm: str, images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = build(algorithm, images, tiny_backbone())
    before = {name: value.clone() for name, value in supervisor.state_dict().items()}
    first, second = show_algorithm(supervisor), show_algorithm(supervisor)
    assert supervisor.training
    for name, value in supervisor.state_dict().items():
        assert torch.equal(value, before[name]), name
    for one, other in zip(first.groups, second.groups, strict=True):
        assert all(torch.equal(a.image, b.image) for a, b in zip(one, other, strict=True))


def test_right_rotations_are_counted(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = build("rotate", images, tiny_backbone())
    supervisor.model = Says([0, 1, 2, 0] * 2, 4)
    exhibit = show_algorithm(supervisor, [3, 5])
    assert exhibit.score == (6, 8)
    assert [p.is_right for p in exhibit.groups[0]] == [True, True, True, False]
    assert exhibit.groups[0][3].caption.startswith("turned 270°\nsays 0°")


def test_a_right_order_puts_the_puzzle_together_and_a_wrong_one_does_not(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build("jigsaw", images, tiny_backbone())
    targets = seen_batch(supervisor, [0, 1], 0).targets.tolist()
    supervisor.model = Says([targets[0], (targets[1] + 1) % 24], 24)
    right, wrong = show_algorithm(supervisor, [0, 1]).groups
    assert right[1].is_right and torch.equal(right[1].image, right[2].image)
    assert wrong[1].is_right is False and not torch.equal(wrong[1].image, wrong[2].image)


def test_the_memory_of_an_image_is_its_own_if_it_is_nearest(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build("instance", images, tiny_backbone(), embedding_size=4)
    supervisor.bank.rows.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    supervisor.bank.rows[7] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    supervisor.model = Says([0, 0], 4)
    own, foreign = show_algorithm(supervisor, [7, 8]).groups
    assert own[1].is_right and "1.00" in own[1].caption
    assert foreign[1].is_right is False
    assert torch.equal(foreign[2].image, images[7] / 255)  # the entry that is nearer


def test_painted_images_change_in_the_holes_alone(images: Tensor, tiny_backbone: Backbones) -> None:
    for holed, painted, clean in show_algorithm(build("context", images, tiny_backbone())).groups:
        outside = (holed.image == clean.image).all(dim=0)
        assert not outside.all()
        assert torch.equal(painted.image[:, outside], clean.image[:, outside])


def test_gray_images_are_shown(images: Tensor, tiny_backbone: Backbones) -> None:
    exhibit = show_algorithm(build("denoise", images[:, :1], tiny_backbone(1)))
    assert all(len(shown.image) == 3 for group in exhibit.groups for shown in group)


def test_a_sheet_has_a_cell_for_every_picture_and_no_text_in_another(tmp_path: Path) -> None:
    def group(count: int) -> list[Any]:
        return [picture(torch.rand(3, 32, 32), "turned 270°\nsays 270° ✓", True)] * count

    exhibits = [
        Exhibit("Instance discrimination", "Which of all of these images is it?", [group(4)] * 3),
        Exhibit("Split-brain autoencoder", "One?", [group(6)] * 2),
        Exhibit("MostImprobablyLongNamedSupervisorOfMyOwn" * 2, "What " * 12 + "?", [group(4)]),
        Exhibit("Flip <script>alert(1)</script>", "", [group(4)]),
    ]
    figure = plot_exhibits(exhibits, tmp_path / "sheet.png", "What there is to see")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 12 * 96
    assert len(figure.axes) == 32
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
    boxes += [axes.texts[0].get_window_extent(renderer) for axes in figure.axes]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_wrong_arguments_are_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = build("rotate", images, tiny_backbone())
    with pytest.raises(ValueError, match=r"positions in \[0, 22\), got \[22\]"):
        show_algorithm(supervisor, [22])
    with pytest.raises(ValueError, match=r"exhibit\(\) of Silent gives no picture"):
        show_algorithm(Silent(images, backbone=tiny_backbone()))
    with pytest.raises(ValueError, match="give the supervisor a dataset"):
        show_algorithm(SUPERVISORS["rotate"](backbone=tiny_backbone(), image_size=32))
    with pytest.raises(ValueError, match="at least one exhibit"):
        plot_exhibits([])


def test_the_example_runs_for_two_steps(
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, image in enumerate(images[:8]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    options = ["--size", "32", "--batch-size", "4", "--steps", "2"]
    paths = ["--data", str(tmp_path), "--out", str(tmp_path / "out" / "sheet.png")]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *options, *paths])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert capsys.readouterr().out.count("loss") == len(SUPERVISORS)
    assert (tmp_path / "out" / "sheet.png").exists()


def test_what_the_memory_holds_of_a_skipped_image_is_never_shown(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    for number, image in enumerate(images):
        to_pil_image(image).save(tmp_path / f"{number:02}.png")
    (tmp_path / "05.png").write_bytes(b"no image")
    source = ImageSource(tmp_path, on_error="skip")
    supervisor: Any = build("instance", source, tiny_backbone())
    seen = supervisor.eval().model(seen_batch(supervisor, [7]).views)
    with torch.no_grad():
        supervisor.bank.rows[5] = seen[0]  # nearest of all, by chance
        supervisor.bank.rows[9] = seen[0] + 0.1 * supervisor.bank.rows[9]
    (group,) = show_algorithm(supervisor, [7]).groups
    assert torch.equal(group[2].image, picture(images[9], "").image)
    assert show_algorithm(supervisor).score is not None  # of four that can be read


def shown_exhibit(title: str, rights: list[list[bool | None]], caption: str = "one") -> Exhibit:
    groups = [[picture(torch.rand(3, 8, 8), caption, right) for right in group] for group in rights]
    return Exhibit(title, "Which one is it?", groups)


def test_a_heading_stands_above_all_rows_where_there_is_one() -> None:
    exhibits = [shown_exhibit("First", [[None]]), shown_exhibit("Second", [[None]])]
    bare, headed = plot_exhibits(exhibits), plot_exhibits(exhibits, heading="What they say")
    assert "What they say" not in [text.get_text() for text in bare.texts]
    places = {text.get_text(): text.get_position() for text in headed.texts}
    assert places["What they say"][1] > places["First"][1] > places["Second"][1]
    assert headed.get_figheight() > bare.get_figheight()
    assert [text.get_text() for text in bare.texts].count("Which one is it?") == 2


def test_a_row_tells_how_many_answers_are_right_where_there_are_some() -> None:
    texts = [
        t.get_text() for t in plot_exhibits([shown_exhibit("A", [[True, None], [False]])]).texts
    ]
    assert texts == ["A", "Which one is it?", "1 of 2 right here"]
    texts = [text.get_text() for text in plot_exhibits([shown_exhibit("A", [[None]])]).texts]
    assert texts == ["A", "Which one is it?"]


def test_captions_have_two_lines_and_the_colour_of_their_verdict() -> None:
    figure = plot_exhibits(
        [shown_exhibit("A", [[True, False], [None]]), shown_exhibit("B", [[None]])]
    )
    captions = [axes.texts[0] for axes in figure.axes]
    assert [text.get_color() for text in captions] == [GOOD, ACCENT, QUIET, QUIET]
    assert {text.get_text() for text in captions} == {"one\n "}
    two = plot_exhibits([shown_exhibit("A", [[None]], "one\ntwo")]).axes[0].texts[0]
    assert two.get_text() == "one\ntwo"


def test_groups_of_a_row_are_spread_over_its_width() -> None:
    wide, narrow = shown_exhibit("A", [[None] * 3] * 2), shown_exhibit("B", [[None]] * 2)
    figure = plot_exhibits([wide, narrow])
    boxes = [axes.get_position() for axes in figure.axes]
    first, second = boxes[:6], boxes[6:]
    assert [box.x0 for box in first] == sorted(box.x0 for box in first)
    assert second[0].x0 == pytest.approx(first[0].x0)
    inside = first[1].x0 - first[0].x1
    assert first[3].x0 - first[2].x1 > inside > 0  # groups lie further apart
    assert second[1].x0 - second[0].x1 > first[3].x0 - first[2].x1
    assert second[1].x1 <= first[5].x1 + 1e-6
    assert all(box.y1 < other.y0 for box in second for other in first)


def test_names_may_be_left_out() -> None:
    exhibits = [shown_exhibit("A", [[None] * 2])]
    named, bare = plot_exhibits(exhibits), plot_exhibits(exhibits, names=False)
    assert [text.get_text() for text in named.texts] == ["A", "Which one is it?"]
    assert bare.texts == []
    assert len(bare.axes) == 2 and bare.get_figwidth() < 0.6 * named.get_figwidth()


def test_an_exhibit_without_pictures_is_refused() -> None:
    for wrong in ([], [Exhibit("A", "Why?", [])]):
        with pytest.raises(ValueError, match="expected at least one exhibit, each with a group"):
            plot_exhibits(wrong)
