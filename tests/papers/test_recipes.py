"""Recipes draw what the papers say, by the distribution of what they draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from super_selfish.augmentations import crops, resampling
from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.choice import RandomChoice
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.composites import exemplar_primitives
from super_selfish.augmentations.filters import RandomGaussianBlur
from super_selfish.augmentations.geometry import RandomAffine
from super_selfish.augmentations.primitives import autoaugment_primitives, cpc_primitives
from super_selfish.augmentations.random_color import RandomGrayscale
from super_selfish.augmentations.recipes import (
    RECIPES as BY_NAME,
)
from super_selfish.augmentations.recipes import (
    byol,
    cpc_v2,
    jigsaw_tile,
    mild_views,
    moco_v2,
    pirl,
    pirl_puzzle,
    pirl_tile,
    rotate,
    simclr,
)
from super_selfish.augmentations.tone import (
    AutoContrast,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
)
from super_selfish.data.collate import Batch
from super_selfish.supervisors.contrastive_multiview_coding import (
    ContrastiveMultiviewCodingSupervisor,
)
from super_selfish.supervisors.exemplar_net import ExemplarNetSupervisor
from super_selfish.supervisors.pirl import PIRLSupervisor
from super_selfish.supervisors.rotate_net import RotateCollator
from tests.papers.draws import Step, drawn, inception_crops, is_alike, is_share, is_uniform
from tests.papers.numbers import RECIPES, Recipe

NUMBER = 8000
SIZE = (64, 64)


def cmc() -> Augmentation:
    supervisor = ContrastiveMultiviewCodingSupervisor(
        backbone="narrow-resnet", augmentation="paper", image_size=64
    )
    collator: Any = supervisor.collate_fn
    recipe: Augmentation = collator.augmentation
    return recipe


KINDS = ("large", "small", "whole")
MADE: dict[str, Callable[[], Any]] = {
    "moco": lambda: moco_v2(SIZE),
    "simclr": lambda: simclr(SIZE),
    "simclr for CIFAR": lambda: simclr(SIZE, 0.5),
    "swav-large": lambda: BY_NAME["swav-large"](SIZE),
    "swav-small": lambda: BY_NAME["swav-small"](SIZE),
    **{f"lejepa-{kind}": partial(BY_NAME[f"lejepa-{kind}"], SIZE) for kind in KINDS},
    "byol 1": lambda: byol(SIZE, 1),
    "byol 2": lambda: byol(SIZE, 2),
    "instance": lambda: BY_NAME["instance"](SIZE),
    "cmc": cmc,
    "mae": lambda: BY_NAME["mae"](SIZE),
    "split_brain": lambda: BY_NAME["split-brain"](SIZE),
    "jigsaw tile": jigsaw_tile,
    "pirl": lambda: pirl(SIZE),
    "pirl tile": pirl_tile,
    "mild": lambda: mild_views(SIZE),
    "pirl puzzle": lambda: pirl_puzzle(SIZE),
}


def of_kind(steps: list[Step], *kinds: type) -> list[Step]:
    return [step for step in steps if isinstance(step.augmentation, kinds)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_draws_what_the_table_says(name: str, generator: torch.Generator) -> None:
    recipe: Recipe = RECIPES[name]
    steps = drawn(MADE[name](), (NUMBER, 3, 64, 64), generator)

    cut = of_kind(steps, resampling.RandomResizedCrop)
    assert len(cut) == (recipe.area is not None)
    flips = [step.parameters for step in of_kind(steps, crops.RandomHorizontalFlip)]
    if recipe.area is not None:
        boxes = cut[0].parameters.boxes
        areas, ratios = inception_crops(NUMBER, 64, recipe.area, recipe.ratio)
        assert is_alike(boxes[:, 2] * boxes[:, 3] / 64**2, areas)
        assert is_alike(boxes[:, 3] / boxes[:, 2], ratios)
        flips.append(cut[0].parameters.flip)
    assert sum(int(flip.sum()) > 0 for flip in flips) == (recipe.flip > 0)  # never twice
    assert is_share(sum(int(flip.sum()) for flip in flips), NUMBER, recipe.flip)

    jitters = of_kind(steps, ColorJitter)
    assert len(jitters) == (recipe.jitter is not None)
    gray = sum(int(s.parameters.selected.sum()) for s in of_kind(steps, RandomGrayscale))
    if recipe.jitter is not None:
        parameters = jitters[0].parameters
        is_jittered = parameters.brightness != 1
        assert is_share(int(is_jittered.sum()), NUMBER, recipe.p_jitter)
        for strength, value in zip(recipe.jitter[:3], parameters[:3], strict=True):
            assert is_uniform(value[is_jittered], 1 - strength, 1 + strength)
            assert bool((value[~is_jittered] == 1).all())
        hue = recipe.jitter[3]
        assert is_uniform(parameters.hue[is_jittered], -hue, hue)
        assert bool((parameters.hue[~is_jittered] == 0).all())
        assert is_share(int((parameters.order[:, 0] == 3).sum()), NUMBER, 0.25)  # any order
        gray += int(parameters.grayscale.sum())
    assert is_share(gray, NUMBER, recipe.p_gray)

    blurs = of_kind(steps, RandomGaussianBlur)
    assert is_share(sum(step.number for step in blurs), NUMBER, recipe.p_blur)
    for step in blurs:
        assert is_uniform(step.parameters.sigmas, 0.1 * 64 / 224, 2.0 * 64 / 224)

    solarized = of_kind(steps, RandomSolarize)
    assert is_share(sum(step.number for step in solarized), NUMBER, recipe.p_solarize)

    known = [resampling.RandomResizedCrop, crops.RandomHorizontalFlip, ColorJitter]
    known += [RandomGrayscale, RandomGaussianBlur, RandomSolarize]
    others = [step for step in steps if type(step.augmentation) not in known]
    photometric = {RandomPosterize, RandomSharpness, AutoContrast}
    expected = photometric if name in ("pirl", "pirl tile") else set()
    assert {type(step.augmentation) for step in others} == expected


def test_byol_solarizes_the_upper_half_and_crops_bicubically(generator: torch.Generator) -> None:
    steps = drawn(byol(SIZE, 2), (NUMBER, 3, 64, 64), generator)
    (solarized,) = of_kind(steps, RandomSolarize)
    assert bool((solarized.parameters.thresholds == 0.5).all())  # 128 of 256
    (cut,) = of_kind(steps, resampling.RandomResizedCrop)
    assert isinstance(cut.augmentation, resampling.RandomResizedCrop)
    assert cut.augmentation.mode == "bicubic"


def test_instance_discrimination_is_gray_before_it_is_jittered() -> None:
    for recipe, is_first in ((MADE["instance"](), True), (moco_v2(SIZE), False)):
        (jitter,) = of_kind(drawn(recipe, (4, 3, 64, 64), torch.Generator()), ColorJitter)
        assert isinstance(jitter.augmentation, ColorJitter)
        assert jitter.augmentation.grayscale_first == is_first


def test_pirl_s_photometric_set_comes_as_a_whole(generator: torch.Generator) -> None:
    steps = drawn(pirl_tile(), (NUMBER, 3, 16, 16), generator)
    kinds = (RandomPosterize, RandomSharpness, RandomSolarize, AutoContrast)
    photometric = of_kind(steps, *kinds)
    assert [type(step.augmentation) for step in photometric] == list(kinds)
    assert len({step.number for step in photometric}) == 1
    posterize, sharpness, solarize, _ = photometric
    bits = posterize.parameters.bits
    for bit in range(4, 9):
        assert is_share(int((bits == bit).sum()), len(bits), 0.2)
    assert is_uniform(sharpness.parameters.factors, 0.1, 1.9)
    assert is_uniform(solarize.parameters.thresholds, 0.0, 1.0)


@pytest.mark.parametrize("make", [moco_v2, simclr, lambda size: byol(size, 1)])
def test_images_of_thirty_two_pixels_are_not_blurred(
    make: Callable[[tuple[int, int]], Augmentation], generator: torch.Generator
) -> None:
    for side, is_blurred in ((32, False), (33, True), (224, True)):
        blurs = of_kind(
            drawn(make((side, side)), (64, 3, side, side), generator), RandomGaussianBlur
        )
        assert len(blurs) == is_blurred
    sigmas = blurs[0].parameters.sigmas
    assert 1.7 < float(sigmas.max()) <= 2.0


def test_views_really_are_gray_and_mirrored_as_often_as_is_drawn(
    generator: torch.Generator,
) -> None:
    """What is drawn is what is done: counted on the pictures of MoCo v2."""
    images = torch.rand(1, 3, 8, 8, generator=generator).mul(0.5).repeat(2000, 1, 1, 1)
    images[:, 0] += 0.4  # red, so that no jitter makes it gray
    views = moco_v2((8, 8))(images, generator)
    spread = views.amax(dim=1) - views.amin(dim=1)
    assert is_share(int((spread.flatten(1).amax(dim=1) < 1e-4).sum()), 2000, 0.2)


@pytest.mark.parametrize("side", [32, 96])
def test_rotation_crops_within_an_eighth_and_flips_half(
    side: int, generator: torch.Generator
) -> None:
    """The authors' crop of 32 pixels padded by 4: offsets from -4 to 4, all alike."""
    number = 3000
    ramp = torch.arange(1, side + 1, dtype=torch.float32) / (2 * side)
    images = ramp.expand(number, 1, side, side).contiguous()
    collator = RotateCollator((0, 90), rotate((side, side)), is_padded=True)
    views = collator.augment(Batch(images, torch.arange(number)), generator).views[:, 0, 0]
    centre = views[:, side // 2]  # a row: its shift and its direction can be read
    flipped = centre[:, side // 2] < centre[:, side // 2 - 1]
    assert is_share(int(flipped.sum()), number, 0.5)
    row = torch.where(flipped[:, None], centre.flip(1), centre)
    shift = (row[:, side // 2] * 2 * side).round().int() - (side // 2 + 1)
    reach = side // 8
    assert int(shift.min()) == -reach and int(shift.max()) == reach
    for value in range(-reach, reach + 1):
        assert is_share(int((shift == value).sum()), number, 1 / (2 * reach + 1))


def test_pirl_cuts_tiles_of_64_pixels_out_of_cells_of_85_of_crops_of_255() -> None:
    """At 225, where tiles of the paper have their size (METHODS 2.13); in proportion elsewhere."""
    for size, crop, cell, tile in (
        ((225, 225), (255, 255), 85, 64),
        ((90, 180), (102, 204), 34, 26),
    ):
        supervisor = PIRLSupervisor(
            backbone="narrow-resnet",
            augmentation="paper",
            image_size=size,
            num_permutations=2,
            grid=3,
        )
        collator: Any = supervisor.collate_fn
        cut, cutter = collator.crop, collator.cutter
        assert cut.output_shape((1, 3, 9, 9)) == (1, 3, *crop)
        assert crop[0] // 3 == cell
        assert cutter.crop.tile_size(*crop)[0] == tile


def ranges(name: str, generator: torch.Generator) -> dict[str, Any]:
    """What each primitive of a pool draws for many samples, by its class, in order."""
    pool = cpc_primitives() if name == "library" else autoaugment_primitives()
    return {
        f"{type(p).__name__} {place}": p.draw((NUMBER, 3, 64, 64), generator)
        for place, p in enumerate(pool)
    }


def test_the_primitives_of_the_library_draw_from_its_ranges(generator: torch.Generator) -> None:
    found = ranges("library", generator)
    assert [name.split()[0] for name in found] == [
        *("RandomRotation", "RandomShear", "RandomTranslation", "AutoContrast", "Invert"),
        *("Equalize", "RandomSolarize", "RandomPosterize", "RandomSaturation"),
        *("RandomBrightness", "RandomContrast", "RandomSharpness", "RandomErasing"),
    ]
    drawn_by = list(found.values())
    assert is_uniform(drawn_by[0].angle, -30, 30)
    assert is_uniform(drawn_by[1].shear[:, 0], -30, 30)
    assert bool((drawn_by[1].shear[:, 1] == 0).all())
    for axis in (0, 1):
        assert is_uniform(drawn_by[2].translate[:, axis], -0.3, 0.3)
    assert bool((drawn_by[6].thresholds == 128 / 255).all())
    for bits in (5, 6, 7, 8):
        assert is_share(int((drawn_by[7].bits == bits).sum()), NUMBER, 0.25)
    for factors in drawn_by[8:12]:
        assert is_uniform(factors.factors, 0.1, 1.9)
    boxes = cpc_primitives()[12].draw((NUMBER, 3, 450, 450), generator).flatten(0, -2)
    areas, aspects = boxes[:, 2] * boxes[:, 3] / 450**2, boxes[:, 2] / boxes[:, 3]
    assert float(areas.min()) == pytest.approx(0.02, rel=0.03)
    assert float(areas.max()) == pytest.approx(0.33, rel=0.03)
    assert float(aspects.min()) == pytest.approx(0.3, rel=0.03)
    assert float(aspects.max()) == pytest.approx(3.3, rel=0.03)


def test_the_primitives_of_autoaugment_draw_from_its_ranges(generator: torch.Generator) -> None:
    found = list(ranges("paper", generator).values())
    slope = math.degrees(math.atan(0.3))
    affine = [p for p in found if hasattr(p, "shear")]
    assert is_uniform(affine[0].shear[:, 0], -slope, slope)
    assert is_uniform(affine[1].shear[:, 1], -slope, slope)
    assert is_uniform(affine[2].translate[:, 0], -0.45, 0.45)
    assert is_uniform(affine[3].translate[:, 1], -0.45, 0.45)
    assert is_uniform(affine[4].angle, -30, 30)
    (bits,) = (p.bits for p in found if hasattr(p, "bits"))
    for number in range(4, 9):
        assert is_share(int((bits == number).sum()), NUMBER, 0.2)
    (thresholds,) = (p.thresholds for p in found if hasattr(p, "thresholds"))
    assert is_uniform(thresholds, 0.0, 1.0)
    enhancers = [p.factors for p in found if hasattr(p, "factors")]
    assert len(enhancers) == 4
    for factors in enhancers:
        assert is_uniform(factors, 0.1, 1.9)
    cutout = found[-1]
    sides = cutout[..., 2:] / 64
    assert bool((sides[..., 0] == sides[..., 1]).all())
    assert 0.15 < float(sides.max()) <= 0.19  # 18 % of the side


def test_the_recipe_of_the_cpc_paper_draws_its_numbers(generator: torch.Generator) -> None:
    steps = drawn(cpc_v2(SIZE, paper=True), (NUMBER, 3, 64, 64), generator)
    bend = of_kind(steps, RandomAffine)[-1]
    assert is_share(bend.number, NUMBER, 0.2)
    slope = math.degrees(math.atan(0.3))
    assert is_uniform(bend.parameters.shear[:, 0], -slope, slope)
    assert float(bend.parameters.displacement.std()) == pytest.approx(10 * 64 / 225, rel=0.03)
    histogram = [step for step in steps if isinstance(step.augmentation, RandomChoice)][-1]
    assert is_share(histogram.number, NUMBER, 0.2)
    (jitter,) = of_kind(steps, ColorJitter)
    parameters = jitter.parameters
    is_jittered = parameters.brightness != 1
    assert is_share(int(is_jittered.sum()), NUMBER, 0.8)
    assert is_uniform(parameters.brightness[is_jittered], 1 - 32 / 255, 1 + 32 / 255)
    for factors in (parameters.contrast, parameters.saturation):
        assert is_uniform(factors[is_jittered], 0.5, 1.5)
    assert is_uniform(parameters.hue[is_jittered], -0.2, 0.2)
    assert is_share(int(parameters.grayscale.sum()), NUMBER, 0.25)
    (flip,) = of_kind(steps, crops.RandomHorizontalFlip)
    assert is_share(int(flip.parameters.sum()), NUMBER, 0.5)


def test_exemplars_are_scaled_too_and_half_of_their_places_are_kept(
    generator: torch.Generator,
) -> None:
    *_, gray, elastic, scale = exemplar_primitives()
    assert is_uniform(scale.draw((NUMBER, 3, 8, 8), generator).scale, 0.7, 1.4)
    assert bool(gray.draw((NUMBER, 3, 8, 8), generator).selected.all())
    assert float(elastic.draw((NUMBER, 3, 225, 225), generator).std()) == pytest.approx(
        10, rel=0.03
    )
    supervisor = ExemplarNetSupervisor(backbone="narrow-resnet", image_size=8, num_classes=3)
    collator: Any = supervisor.collate_fn
    choices = collator.composites.choices
    assert choices.shape == (100, 10)
    assert is_share(int((choices >= 0).sum()), 1000, 0.5)
    counts = choices[choices >= 0].bincount(minlength=16)
    assert len(counts) == 16 and int(counts.min()) > 0
