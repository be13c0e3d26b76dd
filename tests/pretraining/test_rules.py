"""Every rule, on both sides of its limits."""

from __future__ import annotations

import pytest

from super_selfish.pretraining import rules
from super_selfish.pretraining.rules import Length, Reading, Rung
from super_selfish.training.enough import is_enough


@pytest.mark.parametrize(
    "own, expected",
    [
        ((28, 28), [(32, 32)]),
        ((32, 32), [(32, 32)]),
        ((33, 33), [(32, 32), (33, 33)]),
        ((64, 48), [(43, 32), (64, 48)]),
        ((100, 400), [(32, 64), (64, 128), (96, 192), (100, 200)]),
        ((500, 500), [(32, 32), (64, 64), (96, 96), (128, 128), (160, 160), (224, 224)]),
    ],
)
def test_sizes_keep_proportions_and_are_no_larger_than_the_images(
    own: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert rules.sizes(own) == expected


def test_the_ladder_goes_from_larger_images_to_deeper_networks() -> None:
    small = [Rung("narrow-resnet", (32, 32)), Rung("resnet18", (32, 32))]
    assert rules.ladder((32, 32), is_accelerated=False) == small
    assert rules.ladder((32, 32), is_accelerated=True) == [*small, Rung("resnet50", (32, 32))]
    large = rules.ladder((300, 300), is_accelerated=True)
    assert [(rung.backbone, rung.image_size[0]) for rung in large] == [
        *[("narrow-resnet", side) for side in (32, 64, 96)],
        *[("resnet18", side) for side in (96, 128, 160, 224)],
        *[("resnet50", side) for side in (128, 160, 224)],
    ]


def test_a_deeper_network_wants_more_updates_than_larger_images() -> None:
    narrow, larger = Rung("narrow-resnet", (32, 32)), Rung("narrow-resnet", (64, 64))
    deep = Rung("resnet18", (64, 64))
    assert rules.needed_updates(None, deep) == 0
    assert rules.needed_updates(narrow, larger) == 1000
    assert rules.needed_updates(larger, deep) == 5000
    assert rules.is_worth_timing(1500, narrow, larger)
    assert not rules.is_worth_timing(1499, narrow, larger)
    assert rules.is_worth_timing(20_000, larger, deep)
    assert not rules.is_worth_timing(19_999, larger, deep)


@pytest.mark.parametrize(
    "updates, passes, expected",
    [(1000, 0.1, True), (999, 9.9, False), (300, 10, True), (299, 10, False)],
)
def test_a_run_is_long_enough_by_updates_or_by_passes(
    updates: int, passes: float, expected: bool
) -> None:
    assert is_enough(updates, passes) is expected


@pytest.mark.parametrize(
    "images, on_cpu, accelerated",
    [(None, 64, 256), (10_000, 64, 256), (511, 64, 128), (127, 32, 32), (20, 8, 8), (8, 4, 4)],
)
def test_a_batch_is_a_power_of_two_of_at_most_half_the_images(
    images: int | None, on_cpu: int, accelerated: int
) -> None:
    assert rules.batch_size(images, is_accelerated=False) == on_cpu
    assert rules.batch_size(images, is_accelerated=True) == accelerated


def test_a_batch_is_halved_where_that_makes_enough_updates() -> None:
    assert rules.shorter_batch(1112.0, 1.0, 64) == 64  # 1,000 of them fit into nine tenths
    assert rules.shorter_batch(1110.0, 1.0, 64) == 32
    assert rules.shorter_batch(10.0, 1.0, 64) == 32  # and never below
    assert rules.shorter_batch(300.0, 1.0, 256) == 64
    assert rules.shorter_batch(10.0, 1.0, 16) == 16


def test_epochs_fill_the_time() -> None:
    # 100 steps a pass; nine tenths of 1,000 seconds are for steps.
    assert rules.length(1000.0, 1.0, 64, 6400) == Length(9, 6400, 900)
    assert rules.length(556.0, 1.0, 64, 6400) == Length(5, 6400, 500)
    # 4.99 passes would be four whole ones; five of as many images as fit are better.
    assert rules.length(554.5, 1.0, 64, 6400) == Length(5, 6336, 495)
    assert rules.length(55.6, 1.0, 64, 6400) == Length(1, 3200, 50)
    assert rules.length(0.1, 1.0, 64, 6400) == Length(1, 64, 1)
    assert rules.length(1000.0, 1.0, 64, 100) == Length(450, 100, 900)
    assert rules.length_of_stream(1000.0, 1.0) == (10, 90)
    assert rules.length_of_stream(4.5, 1.0) == (4, 1)


def test_a_part_of_the_time_is_kept_for_rating() -> None:
    assert rules.reserve(1800.0, has_labels=True) == pytest.approx(270.0)
    assert rules.reserve(1800.0, has_labels=False) == pytest.approx(90.0)
    assert rules.reserve(100.0, has_labels=True) == 20.0
    assert rules.reserve(30.0, has_labels=True) == 15.0
    assert rules.reserve(1800.0, has_labels=False, load=8.0) == 160.0  # of a busy machine
    assert rules.page_images(160.0, 8.0) == 1000
    assert rules.page_images(159.0, 8.0) == 200


def test_a_fifth_is_held_out_but_of_few_nothing() -> None:
    assert rules.held_out(49) == 0
    assert rules.held_out(50) == 10
    assert rules.held_out(9_999) == 1999
    assert rules.held_out(10**6) == 2000


def test_rating_takes_as_many_images_as_half_of_its_time_allows() -> None:
    assert rules.rated_images(400.0, 0.1, 0) == 1000
    assert rules.rated_images(400.0, 0.1, 600) == 400
    assert rules.rated_images(400.0, 0.1, 900) == 200
    assert rules.rated_images(400.0, 1e-5, 0) == 10_000


def test_reading_is_whatever_makes_most_steps() -> None:
    def chosen(seconds: float, decode: float, **how: int) -> Reading:
        ways = {"may_cache": True, "workers": 0} | how
        return rules.reading(seconds, 1.0, decode, 10, 1000, 3072, **ways)  # type: ignore[arg-type]

    # A pass of decoding costs 100 seconds, and 1 second a step.
    assert chosen(250.0, 0.1) == Reading(True, 0, 1.0, 100.0)
    assert chosen(150.0, 0.1) == Reading(False, 0, 2.0, 0.0)
    assert chosen(250.0, 0.1, may_cache=False) == Reading(False, 0, 2.0, 0.0)
    assert chosen(250.0, 0.1, workers=4) == Reading(False, 4, 1.0, 0.0)
    assert chosen(1e5, 1.0, workers=2) == Reading(True, 0, 1.0, 1000.0)
    large = rules.reading(1e9, 1.0, 1.0, 10, 2**21, 1025, may_cache=True, workers=0)
    assert not large.cache  # more than 2 GiB
    assert rules.reading(1e9, 1.0, 1.0, 10, 2**21, 1024, may_cache=True, workers=0).cache


def test_candidates_are_of_each_family_and_fit_the_images() -> None:
    grey = rules.candidates(is_coloured=False)
    assert grey == ("rotate", "denoise", "exemplar", "simclr", "vicreg")
    coloured = ("rotate", "colorization", "exemplar", "simclr", "vicreg")
    assert rules.candidates(is_coloured=True) == coloured


@pytest.mark.parametrize(
    "number, expected", [(2, [2]), (3, [3, 2]), (5, [5, 3, 2]), (8, [8, 4, 2])]
)
def test_each_round_has_half_of_the_candidates(number: int, expected: list[int]) -> None:
    assert rules.rounds(number) == expected


def test_all_rounds_and_ratings_take_the_time_that_there_is() -> None:
    # Five train for b, three of them until 2 b, two of these until 4 b: 5 b + 3 b + 2 (2 b).
    assert rules.first_budget(1300.0, 5, 10.0) == pytest.approx((1300 - 100) / 12)
    assert rules.first_budget(100.0, 2, 5.0) == pytest.approx(45.0)


def test_images_are_compared_by_as_many_as_can_be_read_in_a_fiftieth_of_the_time() -> None:
    assert rules.compared_images(49, 1e9, 1e-6) == 0
    assert rules.compared_images(1000, 600.0, 0.01) == 200  # a fifth
    assert rules.compared_images(10**6, 600.0, 1e-6) == 2000
    assert rules.compared_images(10**6, 600.0, 0.01) == 1200  # 12 s to read them
    assert rules.compared_images(10**6, 600.0, 1.0) == 100
    assert rules.compared_images(300, 600.0, 1.0) == 60


def test_features_are_judged_by_as_many_images_as_there_is_time_for() -> None:
    assert rules.judged_images(60.0, 1e-6) == 2048
    assert rules.judged_images(60.0, 0.01) == 500  # six looks at each in half a minute
    assert rules.judged_images(1.0, 0.01) == 200
