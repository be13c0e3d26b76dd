"""What `exhibit` of every algorithm shows, of networks whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.lab import lab_to_rgb, rgb_to_lab
from super_selfish.data.pictures import Group
from super_selfish.supervisors import SUPERVISORS
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.likenesses import _groups, among_views, cosines, from_memory

Backbones = Callable[..., nn.Module]
RIGHT, WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"


class Says(nn.Module):
    """A network that gives the same classes, whatever it sees."""

    def __init__(self, answers: list[int], classes: int) -> None:
        super().__init__()
        self.logits = nn.functional.one_hot(torch.tensor(answers), classes).float()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return self.logits[: len(images)]


class Makes(nn.Module):
    """A network that makes the same of every image."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Tensor) -> Any:
        return self.make(images)


def build(algorithm: str, images: Tensor, backbone: nn.Module, **more: Any) -> Any:
    torch.manual_seed(0)
    return SUPERVISORS[algorithm](images, backbone, device="cpu", **more).eval()


def captions(groups: list[Group]) -> list[list[str]]:
    return [[shown.caption for shown in group] for group in groups]


def verdicts(groups: list[Group]) -> list[list[bool | None]]:
    return [[shown.is_right for shown in group] for group in groups]


def test_rotations_are_named_beside_the_true_ones(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = build("rotate", images, tiny_backbone())
    supervisor.model = Says([0, 1, 1, 0] + [3] * 12, 4)
    groups = supervisor.exhibit([5, 2, 9, 1], 3)
    data = seen_batch(supervisor, [5, 2, 9], 3)
    assert len(groups) == 3
    angles = [f"{angle % 360}\N{DEGREE SIGN}" for angle in supervisor.rotations]
    names = [[angles[n] for n in answers] for answers in ([0, 1, 1, 0], [3] * 4, [3] * 4)]
    for group, views, targets, named in zip(groups, data.views, data.targets, names, strict=True):
        turned = [angles[n] for n in targets.tolist()]
        assert [shown.is_right for shown in group] == [a == b for a, b in zip(turned, named)]  # noqa: B905
        for shown, view, true, said in zip(group, views, turned, named, strict=True):
            torch.testing.assert_close(shown.image, view.clamp(0, 1))
            mark = RIGHT if true == said else WRONG
            assert shown.caption == f"turned {true}\nsays {said} {mark}"
    assert {True, False} == {shown.is_right for shown in groups[0]}


@pytest.mark.parametrize("grid", [2, 3])
def test_a_puzzle_is_put_in_the_order_that_is_named(
    grid: int, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build("jigsaw", images, tiny_backbone(), grid=grid, num_permutations=6)
    data = seen_batch(supervisor, [4, 7], 1)
    true, other = data.targets[0].item(), (data.targets[1].item() + 1) % 6
    supervisor.model = Says([true, other], 6)
    first, second = supervisor.exhibit([4, 7], 1)
    assert verdicts([first, second]) == [[None, True, None], [None, False, None]]
    table = supervisor.permutations
    order = ["".join(str(n + 1) for n in row) for row in table.tolist()]
    if grid == 2:
        assert captions([first])[0] == [
            f"shuffled\n{order[true]}",
            f"put in order\nsays {order[true]} {RIGHT}",
            "true order",
        ]
        assert second[1].caption == f"put in order\nsays {order[other]} {WRONG}"
    else:
        assert captions([first])[0] == ["shuffled", f"put in order\nsays {RIGHT}", "true order"]
    assert torch.equal(first[1].image, first[2].image)
    assert not torch.equal(second[1].image, second[2].image)
    # What is named puts tile i of the shuffled puzzle at its own place.
    side = second[0].image.shape[-1] // grid
    guess = table[other].tolist()
    for place, tile in enumerate(guess):
        (row, column), (to_row, to_column) = divmod(place, grid), divmod(tile, grid)
        shown = second[0].image[:, row * side :, column * side :][:, :side, :side]
        put = second[1].image[:, to_row * side :, to_column * side :][:, :side, :side]
        assert torch.equal(shown, put)


def test_copies_are_named_by_the_number_of_their_image(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build("exemplar", images, tiny_backbone())
    supervisor.model = Says([5, 2, 5, 5, 2, 2, 9, 9, 9], 22)
    groups = supervisor.exhibit([5, 2, 9, 1], 0)
    assert captions(groups[:2]) == [
        [
            "image\nno. 5",
            *(f"copy, says\nno. {n} {m}" for n, m in ((5, RIGHT), (2, WRONG), (5, RIGHT))),
        ],
        [
            "image\nno. 2",
            *(f"copy, says\nno. {n} {m}" for n, m in ((5, WRONG), (2, RIGHT), (2, RIGHT))),
        ],
    ]
    assert verdicts(groups)[2] == [None, True, True, True] and len(groups) == 3
    views = seen_batch(supervisor, [5, 5, 5, 2, 2, 2, 9, 9, 9], 0).views
    for number, position in enumerate((5, 2, 9)):
        torch.testing.assert_close(groups[number][0].image, images[position] / 255)
        for copy in range(3):
            expected = views[3 * number + copy].clamp(0, 1)
            torch.testing.assert_close(groups[number][1 + copy].image, expected)


def test_the_patch_that_is_foretold_is_chosen_among_all(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = build("cpc", images, tiny_backbone())
    n, below = supervisor.grid, supervisor.offsets[0]
    index = [3, 8, 1, 6]
    column, row = n // 2, n - 1 - below
    wanted = [number * n * n + (row + below) * n + column for number in range(4)]
    candidates = torch.eye(4 * n * n)
    predictions = torch.zeros(1, 4, 1, 4 * n * n, n, n)
    chosen = [wanted[0], wanted[1] - 1, wanted[2], wanted[3]]
    for number, best in enumerate(chosen):
        predictions[0, number, 0, best, row, column] = 1
    monkeypatch.setattr(supervisor, "_foretell", lambda patches: (predictions, candidates))
    groups = supervisor.exhibit(index, 2)
    assert verdicts(groups) == [[None, None, right] for right in (True, False, True)]
    assert captions(groups)[0] == [
        "pale rows are\nnot seen",
        "belongs into\nthe frame",
        f"its choice\nof {4 * n * n} {RIGHT}",
    ]
    assert groups[1][2].caption.endswith(WRONG)
    every = seen_batch(supervisor, index, 2).patches.flatten(0, 1).clamp(0, 1)
    for number in range(3):
        torch.testing.assert_close(groups[number][1].image, every[wanted[number]])
        torch.testing.assert_close(groups[number][2].image, every[chosen[number]])


def test_what_is_painted_is_shown_where_the_holes_were(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build("context", images, tiny_backbone())
    supervisor.model = Makes(torch.zeros_like)
    groups = supervisor.exhibit([2, 4], 0)
    data = seen_batch(supervisor, [2, 4], 0)
    assert captions(groups) == [["with holes", "holes\npainted", "clean"]] * 2
    for number, group in enumerate(groups):
        torch.testing.assert_close(group[0].image, data.holed[number])
        torch.testing.assert_close(group[1].image, data.images[number] * ~data.holes[number])
        torch.testing.assert_close(group[2].image, data.images[number])
    assert data.holes.any() and not data.holes.all()


def test_noise_is_shown_before_and_after(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = build("denoise", images, tiny_backbone(), probability=0.25)
    supervisor.model = Makes(lambda x: 1 - x)
    (group,) = supervisor.exhibit([6], 0)
    data = seen_batch(supervisor, [6], 0)
    assert captions([group]) == [["25%\nerased", "restored", "clean"]]
    torch.testing.assert_close(group[0].image, data.noised[0])
    torch.testing.assert_close(group[1].image, (1 - data.noised[0]).clamp(0, 1))
    torch.testing.assert_close(group[2].image, images[6] / 255)


def test_a_generator_shows_what_it_makes_of_latents(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build("bigan", images, tiny_backbone())
    data = seen_batch(supervisor, [6, 3], 0)
    encoded = torch.full_like(data.latents, 7.0)
    supervisor.model = Makes(lambda x: encoded)
    shades = {7.0: 0.25}

    def paint(latents: Tensor) -> Tensor:
        shade = shades.get(float(latents.flatten()[0]), 0.75)
        return torch.full_like(data.images, shade)

    supervisor.generator = Makes(paint)
    groups = supervisor.exhibit([6, 3], 0)
    assert captions(groups) == [["image x", "G(E(x))", "of random\nnumbers"]] * 2
    for number, group in enumerate(groups):
        torch.testing.assert_close(group[0].image, data.images[number].clamp(0, 1))
        assert [float(shown.image.unique()) for shown in group[1:]] == [0.25, 0.75]


def test_both_halves_of_a_split_brain_are_shown(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = build("split_brain", images, tiny_backbone())
    groups = supervisor.exhibit([4, 2, 9], 0)
    assert (
        captions(groups)
        == [
            [
                *("half sees\nlightness", "and says\ncolours", "both\ntogether"),
                *("half sees\ncolours", "and says\nlightness", "image"),
            ]
        ]
        * 2
    )
    seen = seen_batch(supervisor, [4, 2], 0).images
    for number, group in enumerate(groups):
        torch.testing.assert_close(group[5].image, seen[number].clamp(0, 1))
        gray = group[0].image
        torch.testing.assert_close(gray, gray[:1].expand(3, -1, -1), atol=1e-3, rtol=0)
        # The lightness of both together is that of the image, as far as it is no clipped colour.
        both = rgb_to_lab(group[2].image[None])[0, 0]
        inside = (group[2].image > 0.01).all(0) & (group[2].image < 0.99).all(0)
        assert inside.any()
        expected = rgb_to_lab(seen[number][None])[0, 0]
        torch.testing.assert_close(both[inside], expected[inside], atol=0.5, rtol=0)
        said = group[4].image
        torch.testing.assert_close(said, said[:1].expand(3, -1, -1), atol=1e-3, rtol=0)
        assert (said - gray).abs().max() > 0.1
    assert torch.isfinite(lab_to_rgb(rgb_to_lab(seen))).all()


def require_groups(
    groups: list[Group], found: Tensor, asked: Tensor, counterparts: Tensor, caption: str
) -> None:
    """Each view stands beside its own counterpart and the most similar other one, by cosines."""
    for number, group in enumerate(groups):
        own = found[number, number]
        others = found[number].clone()
        others[number] = -2
        mark = RIGHT if own > others.max() else WRONG
        assert [text.replace("\N{MINUS SIGN}", "-") for text in captions([group])[0]] == [
            "view",
            f"{caption}\n{own:.2f} {mark}",
            f"next other\n{others.max():.2f}",
        ]
        best = counterparts[others.argmax()]
        for shown, view in zip(group, (asked[number], counterparts[number], best), strict=True):
            torch.testing.assert_close(shown.image, view.clamp(0, 1))


VECTORS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-0.6, 0.8]])


def test_the_nearest_other_image_stands_beside_ones_own() -> None:
    views, shown = torch.rand(2, 3, 4, 4), torch.rand(4, 3, 4, 4)
    found = cosines(3 * VECTORS[[0, 2]], 2 * VECTORS)
    torch.testing.assert_close(found[0], torch.tensor([1.0, 0.0, 0.6, -0.6]))
    first, second = _groups(views, "view", found, [0, 3], shown, "own")
    assert captions([first, second]) == [
        ["view", f"own\n1.00 {RIGHT}", "next other\n0.60"],
        ["view", f"own\n0.28 {WRONG}", "next other\n1.00"],
    ]
    assert verdicts([first, second]) == [[None, True, None], [None, False, None]]
    for group, images in (
        (first, (views[0], shown[0], shown[2])),
        (second, (views[1], shown[3], shown[2])),
    ):
        for picture, image in zip(group, images, strict=True):
            assert torch.equal(picture.image, image)
    (alone,) = _groups(views[:1], "view", torch.tensor([[-0.5]]), [0], shown[:1], "own")
    assert captions([alone]) == [
        ["view", f"own\n\N{MINUS SIGN}0.50 {WRONG}", "next other\n\N{MINUS SIGN}0.50"]
    ]


@pytest.mark.parametrize("algorithm", ["byol", "moco"])
def test_views_are_compared_with_those_of_other_images(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build(algorithm, images, tiny_backbone())
    index, pool = [9, 4], [9, 4, *(n for n in range(22) if n not in (9, 4))]
    data = seen_batch(supervisor, pool, 5)
    queries = supervisor._foretell if algorithm == "byol" else supervisor.model
    with torch.no_grad():
        groups = supervisor.exhibit(index, 5)
        found = cosines(queries(data.first[:2]), supervisor.momentum_encoder(data.second))
    require_groups(groups, found, data.first, data.second, "other view")


def test_what_a_teacher_says_is_compared_less_its_mean(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("super_selfish.supervisors.likenesses.FEW_OTHERS", 4)
    supervisor = build("distillation", images, tiny_backbone())
    views = seen_batch(supervisor, [7, 2, 0, 14, 21], 5).images  # asked for, and spread
    with torch.no_grad():
        groups = supervisor.exhibit([7, 2], 5)
        answers = supervisor.teacher(views)[0]
        mean = answers.mean(dim=0)
        found = cosines(supervisor.model(views[:2]) - mean, answers - mean)
    require_groups(groups, found, views, views, "foretold")


def test_so_many_other_images_are_compared_as_one_says(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("super_selfish.supervisors.likenesses.MOST_OTHERS", 4)
    supervisor = build("moco", images, tiny_backbone())
    seen: list[int] = []

    def noted(views: Tensor) -> Tensor:
        seen.append(len(views))
        return torch.eye(9)[: len(views)]

    groups = among_views(supervisor, noted, noted, [7, 2, 3], 0)
    assert seen == [3, 6]  # 0, 7, 14 and 21 are spread; 7 is asked for
    assert all(group[1].is_right for group in groups)


@pytest.mark.parametrize(
    ("algorithm", "memory", "view"),
    [
        ("instance", "bank", "view"),
        ("pirl", "bank", "puzzle"),
        ("cmc", "color_bank", "lightness"),
    ],
)
def test_a_memory_shows_the_images_that_its_entries_are_of(
    algorithm: str, memory: str, view: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build(algorithm, images, tiny_backbone())
    rows = getattr(supervisor, memory).rows
    with torch.no_grad():
        groups = supervisor.exhibit([3, 20], 1)
        rows.copy_(torch.nn.functional.normalize(torch.randn(rows.shape), dim=1))
        others = supervisor.exhibit([3, 20], 1)
    for group, other in zip(groups, others, strict=True):
        assert group[0].caption == view
        assert group[1].caption.startswith("own image\n") and group[1].is_right is not None
        assert group[2].caption.startswith("next other\n")
        assert torch.equal(group[0].image, other[0].image)
        assert torch.equal(group[1].image, other[1].image)
    assert captions(groups) != captions(others)
    if algorithm != "cmc":  # which shows the colours alone
        torch.testing.assert_close(groups[0][1].image, images[3] / 255)
        torch.testing.assert_close(groups[1][1].image, images[20] / 255)


def test_entries_of_images_that_cannot_be_read_are_not_shown(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class Flaky:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Tensor:
            if index == 2:
                raise OSError("gone")
            return images[index]

    supervisor: Any = SUPERVISORS["rotate"](Flaky(), tiny_backbone(), on_error="skip")
    found = torch.tensor([[1.0, 0.2, 0.9, 0.3]])
    views = torch.rand(1, 3, 4, 4)
    (group,) = from_memory(supervisor, views, "seen", found, [0], lambda shown: 1 - shown)
    assert captions([group]) == [["seen", f"own image\n1.00 {RIGHT}", "next other\n0.30"]]
    torch.testing.assert_close(group[1].image, 1 - images[0] / 255)
    torch.testing.assert_close(group[2].image, 1 - images[3] / 255)
