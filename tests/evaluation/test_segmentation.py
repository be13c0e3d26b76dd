"""Segmentation by a linear head: right values for features that know all, and that know nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from super_selfish.data import ImageSource, photographs
from super_selfish.data.masks import Masks
from super_selfish.evaluation import PROTOCOLS, evaluate, segmentation
from super_selfish.evaluation.feature_maps import FeatureMaps
from super_selfish.evaluation.logistic import LinearClassifier
from super_selfish.evaluation.segmentation import (
    Counts,
    Head,
    Pixels,
    Segmentation,
    at_pixels,
    count_pixels,
    draw_pixels,
    fit_head,
    score_counts,
    segment,
)
from tests.references import mean_iou_in_loops

SIDE = 32


def composed(count: int, seed: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Patches of photographs with a patch of another one in each, and what was put where.

    The numbers of the masks are 0 for what is around and 1 and above for what was put in; the blue
    of a pixel is 80 times its number, so that an oracle can read it.
    """
    generator = torch.Generator().manual_seed(seed)
    patches = photographs(SIDE, split="train" if seed else "test", per_photograph=6).images
    chosen = patches[torch.randint(len(patches), (count,), generator=generator)].clone()
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    for image, mask in zip(chosen, masks, strict=True):
        top, left = torch.randint(2, SIDE - 14, (2,), generator=generator).tolist()
        number = int(torch.randint(1, classes, (1,), generator=generator))
        other = patches[int(torch.randint(len(patches), (1,), generator=generator))]
        place = (slice(top, top + 12), slice(left, left + 12))
        image[:, place[0], place[1]] = other[:, place[0], place[1]]
        mask[place] = number
        image[2] = 80 * mask
    return chosen, masks


class Oracle(nn.Module):
    """One channel for each class, of every pixel; in squares of `cell` pixels their mean."""

    def __init__(self, cell: int = 1) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, images: Tensor) -> Tensor:
        numbers = (images[:, 2] * 255 / 80).round().long()
        return F.avg_pool2d(F.one_hot(numbers, 3).permute(0, 3, 1, 2).float(), self.cell)


class Noise(nn.Module):
    """Maps that have nothing to do with the images."""

    def forward(self, images: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(int(1e6 * images.sum()))
        return torch.randn(len(images), 4, 8, 8, generator=generator)


TRAIN, TEST = composed(30, 1), composed(20, 0)


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that heads are fitted at once."""
    monkeypatch.setattr(segmentation, "MOST_PIXELS", 1600)


def maps_of(values: Tensor, **options: Any) -> FeatureMaps:
    """Maps `[N, D, h, w]` as if a backbone had computed them of images of that size."""
    channels, size = values.shape[1], (values.shape[2], values.shape[3])
    return FeatureMaps(nn.Identity(), ImageSource(values, size, channels), **options)


def test_an_oracle_reaches_one_and_noise_no_more_than_chance() -> None:
    known = evaluate(Oracle(), TRAIN, TEST, protocols=["segmentation"], untrained=Noise())
    assert known.pretrained == {"segmentation": 1.0}
    score = known.scores["pretrained"]["segmentation"]
    assert score.metrics == {"mean_iou": 1.0, "pixel_accuracy": 1.0}
    counts = torch.bincount(TEST[1].flatten()).tolist()
    assert score.confusion is not None
    assert score.confusion.tolist() == torch.diag(torch.tensor(counts)).tolist()
    assert known.untrained is not None and known.commonest is not None
    floor = known.commonest
    assert floor == pytest.approx(counts[0] / sum(counts) / 3)
    assert known.untrained["segmentation"] == pytest.approx(floor, abs=0.03)
    (verdict,) = known.verdict
    assert verdict.startswith("better than untrained: segmentation +")
    assert "mean IoU in %; 30 training and 20 test images, 3 classes, chance " in str(known)


def test_cells_coarser_than_the_mask_lose_its_edges_only() -> None:
    figures = [
        evaluate(Oracle(cell), TRAIN, TEST, protocols=["segmentation"], untrained=None)
        for cell in (2, 4, 8)
    ]
    ious = [figure.pretrained["segmentation"] for figure in figures]
    assert 1.0 > ious[0] > ious[1] > ious[2] > 0.4


def test_figures_are_those_of_the_reference() -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(5, 3, 8, 8, generator=generator)
    masks = torch.randint(4, 7, (5, 8, 8), generator=generator).to(torch.uint8)
    masks[torch.rand(5, 8, 8, generator=generator) < 0.2] = 255
    masks[3] = 255  # an image of which nothing counts
    head = Head(torch.tensor([4, 5, 9]), LinearClassifier(torch.eye(3), torch.zeros(3)), 1.0)
    classes = torch.tensor([4, 5, 6, 9])
    (counts,) = count_pixels([head], maps_of(values, batch_size=2), Masks(masks), classes)
    predicted = segment(values, head, (8, 8))
    assert set(predicted.unique().tolist()) == {4, 5, 9}
    iou, share = mean_iou_in_loops(predicted, masks)
    score = score_counts(counts, {})
    assert (score.value, score.metrics["pixel_accuracy"]) == (  # type: ignore[comparison-overlap]
        pytest.approx(iou),
        pytest.approx(share),
    )
    assert counts.confusion.sum() == (masks != 255).sum()


def test_each_image_weighs_on_the_classes_that_masks_have() -> None:
    hits = torch.tensor([[4, 0, 0], [1, 2, 0]])
    unions = torch.tensor([[5, 3, 0], [3, 4, 2]])
    confusion = torch.tensor([[5, 1, 1], [2, 2, 1], [0, 0, 0]])  # the third is in no mask

    def iou(weight: float) -> float:
        """With the first image there so many times."""
        weights = torch.tensor([[weight], [1.0]], dtype=torch.float64)
        shares = (weights * hits).sum(dim=0) / (weights * unions).sum(dim=0)
        return float(shares[:2].mean())

    score = score_counts(Counts(confusion, hits, unions), {})
    (influences,) = score.measured["mean_iou"].influences
    slope = (iou(1.001) - iou(0.999)) / 0.002
    assert float(influences[0]) == pytest.approx(2 * slope, rel=1e-5)
    assert float(influences.sum()) == pytest.approx(0, abs=1e-6)


def test_each_image_weighs_on_the_share_of_right_pixels_by_its_size() -> None:
    # Of six pixels four are right, of five three; a wrong one is in the unions of two classes.
    hits, unions = torch.tensor([[4, 0], [1, 2]]), torch.tensor([[6, 2], [3, 4]])
    confusion = torch.tensor([[5, 2], [2, 2]])
    score = score_counts(Counts(confusion, hits, unions), {})
    assert float(score.measured["pixel_accuracy"].values) == pytest.approx(7 / 11)
    (influences,) = score.measured["pixel_accuracy"].influences
    slope = ((4 * 1.001 + 3) / (6 * 1.001 + 5) - (4 * 0.999 + 3) / (6 * 0.999 + 5)) / 0.002
    assert influences.tolist() == pytest.approx([2 * slope, -2 * slope], rel=1e-5)


@pytest.mark.parametrize(
    ("cells", "size"), [((2, 3), (8, 9)), ((4, 4), (4, 4)), ((5, 3), (7, 11)), ((8, 8), (4, 2))]
)
def test_features_of_pixels_are_those_of_the_enlarged_map(
    cells: tuple[int, int], size: tuple[int, int], generator: torch.Generator
) -> None:
    one = torch.randn(6, *cells, generator=generator)
    enlarged = F.interpolate(one[None], size=size, mode="bilinear", align_corners=False)[0]
    places = torch.tensor([0, size[1] - 1, size[0] * size[1] - 1, size[1] + 1])
    assert torch.allclose(at_pixels(one, places, size), enlarged.flatten(1)[:, places].T, atol=1e-5)


def test_a_head_on_the_map_gives_the_scores_of_its_pixels(generator: torch.Generator) -> None:
    values = (
        torch.rand(6, 5, 4, 4, generator=generator)
        * torch.tensor([0.1, 1, 0.01, 0.3, 0])[:, None, None]
    )
    masks = torch.randint(0, 3, (6, 16, 16), generator=generator).to(torch.uint8)
    pixels = draw_pixels(maps_of(values), masks, torch.arange(6), seed=0)
    assert len(pixels.classes) == 6 * 256
    head = fit_head(pixels, seed=0)
    by_pixels = head.classes[head.classifier(pixels.features).argmax(dim=1)]
    by_map = segment(values, head, (16, 16)).flatten()
    assert (by_pixels == by_map).float().mean() > 0.999  # but for ties up to rounding


def test_pixels_are_drawn_of_each_image_and_of_those_that_count(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(segmentation, "MOST_PIXELS", 40)
    values = torch.arange(4.0)[:, None, None, None].expand(4, 2, 3, 3) / 4
    masks = torch.full((4, 6, 6), 255, dtype=torch.uint8)
    masks[0, :2], masks[1, 0, :3], masks[3] = 1, 2, 3
    pixels = draw_pixels(maps_of(values), masks, torch.tensor([0, 1, 3]), seed=5)
    assert pixels.images.tolist() == [0] * 12 + [1] * 3 + [3] * 13
    assert pixels.classes.tolist() == [1] * 12 + [2] * 3 + [3] * 13
    assert torch.equal(pixels.features[:, 0] * 4, pixels.images.float())
    monkeypatch.setattr(segmentation, "MOST_NUMBERS", 12)  # two channels: six pixels
    few = draw_pixels(maps_of(values), masks, torch.tensor([0, 1, 3]), seed=5)
    assert few.images.bincount().tolist() == [2, 2, 0, 2]
    again = draw_pixels(maps_of(values), masks, torch.tensor([0, 1, 3]), seed=5)
    assert torch.equal(few.features, again.features)


def test_the_penalty_is_chosen_on_other_images_not_on_other_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.arange(10).repeat_interleave(40)
    classes = torch.randint(0, 2, (400,), generator=generator)
    marks = F.one_hot(images * 2 + classes, 20).float()  # tells pixels of known images only
    weak = torch.randn(400, 1, generator=generator) + classes[:, None]
    pixels = Pixels(torch.cat([marks, weak], dim=1), classes, images)
    assert fit_head(pixels, seed=0).regularization >= 1e-2
    alone = Pixels(pixels.features[:40], classes[:40], images[:40])
    assert fit_head(alone, seed=0).regularization == segmentation.FALLBACK


def test_maps_that_are_kept_give_the_same_as_those_that_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["segmentation", "segmentation-5-images", "segmentation-20%"]
    backbone = Oracle(4)
    kept = evaluate(backbone, TRAIN, TEST, protocols=names, untrained=None, batch_size=7)
    asked: list[int] = []

    def noted(module: nn.Module, given: tuple[Tensor]) -> None:
        asked.append(len(given[0]))

    with backbone.register_forward_pre_hook(noted):
        evaluate(backbone, TRAIN, TEST, protocols=names, untrained=None)
        once = sum(asked)
        assert once == 1 + 30 + 20  # the dry run, and each image once
        monkeypatch.setattr("super_selfish.evaluation.feature_maps.FeatureMaps._keep", _forgets)
        again = evaluate(backbone, TRAIN, TEST, protocols=names, untrained=None)
    assert sum(asked) - once == 1 + 30 + 5 * 5 + 5 * 6 + 3 * 20
    assert again.pretrained == pytest.approx(kept.pretrained, abs=1e-6)


def _forgets(maps: FeatureMaps, places: Tensor, found: Tensor) -> None:
    """Instead of `FeatureMaps._keep`, where memory is short."""


def test_few_images_are_drawn_several_times() -> None:
    found = evaluate(
        Oracle(8),
        TRAIN,
        TEST,
        protocols=["segmentation-4-images", "segmentation-10%"],
        untrained=None,
    )
    four, tenth = found.scores["pretrained"].values()
    assert four.settings["labels"] == 4 and tenth.settings["labels"] == 3
    assert len(four.draws) == len(tenth.draws) == 5
    assert four.value == pytest.approx(sum(four.draws) / 5)
    assert len(set(four.draws)) == 5
    assert "labels used: segmentation-4-images = 4, segmentation-10% = 3" in str(found)


def test_images_of_which_nothing_counts_are_not_drawn() -> None:
    numbers = torch.zeros(9, 2, 2, dtype=torch.uint8)
    numbers[[1, 2, 5]] = 255
    generator = torch.Generator().manual_seed(0)
    (every,) = Segmentation().draw(Masks(numbers), generator)
    assert every.tolist() == [0, 3, 4, 6, 7, 8]
    drawn = Segmentation(images=2).draw(Masks(numbers), generator)
    assert [len(some) for some in drawn] == [2] * 5
    assert set(torch.cat(drawn).tolist()) <= set(every.tolist())
    assert len({tuple(some.tolist()) for some in drawn}) > 1
    assert [
        len(some) for some in Segmentation(share=0.5, draws=2).draw(Masks(numbers), generator)
    ] == [3, 3]
    assert [
        len(some) for some in Segmentation(images=99, draws=1).draw(Masks(numbers), generator)
    ] == [6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.5, "images": 2}, "not both"),
        ({"share": 0.0}, r"share must be in \(0, 1\], got 0.0"),
        ({"share": 1.1}, "got 1.1"),
        ({"images": 0}, "images must be >= 1, got 0"),
        ({"draws": 0}, "draws must be >= 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segmentation(**options)


def test_the_bounds_themselves_are_allowed() -> None:
    assert PROTOCOLS["segmentation"] == Segmentation()
    assert Segmentation(share=1.0).share == Segmentation(images=1, draws=1).draws == 1


def test_equal_seeds_give_equal_figures() -> None:
    def figures(seed: int) -> list[float]:
        found = evaluate(
            Noise(), TRAIN, TEST, protocols=["segmentation-3-images"], untrained=None, seed=seed
        )
        return list(found.scores["pretrained"]["segmentation-3-images"].draws)

    assert figures(1) == figures(1) != figures(2)


def test_a_backbone_without_maps_is_refused_before_anything_is_computed() -> None:
    vectors = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    with pytest.raises(ValueError, match="segmentation needs maps, but pretrained has none: "):
        evaluate(vectors, TRAIN, TEST, protocols=["segmentation"])
    with pytest.raises(ValueError, match="but mine has none"):
        evaluate(
            Oracle(),
            TRAIN,
            TEST,
            protocols=["segmentation"],
            untrained=None,
            others={"mine": vectors},
        )


def test_labels_and_masks_are_not_mixed() -> None:
    with pytest.raises(ValueError, match=r"\['segmentation'\] want masks, but \['knn'\] want one"):
        evaluate(Oracle(), TRAIN, TEST, protocols=["knn", "segmentation"])


def test_maps_that_are_not_finite_are_refused() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, ::8, ::8] / (images[:, :, ::8, ::8].sum() * 0)

    with pytest.raises(ValueError, match="maps that are not finite"):
        evaluate(Broken(), TRAIN, TEST, protocols=["segmentation"], untrained=None)


def test_what_is_done_to_images_before_is_done_here_too() -> None:
    class Swap(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flip(1)

    swapped = [(images.flip(1), masks) for images, masks in (TRAIN, TEST)]
    found = evaluate(
        Oracle(), *swapped, protocols=["segmentation"], untrained=None, preprocess=Swap()
    )
    assert found.pretrained == {"segmentation": 1.0}


def test_images_that_cannot_be_read_are_told_of_once(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("L", (32, 32), 60 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    maps = FeatureMaps(nn.Identity(), ImageSource(tmp_path, on_error="skip"))
    seen: list[int] = []
    with pytest.warns(UserWarning, match="^1 image left out: ") as told:
        for _ in range(2):
            maps.each(torch.arange(4), lambda places, found: seen.extend(places.tolist()))
    assert seen == [0, 2, 3] * 2 and len(told) == 1
