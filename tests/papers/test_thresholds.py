"""Every sentence about health is said on one side of its threshold and not on the other.

A limit is where a sentence begins to be said. Each case is a healthy row with one value changed:
to the nearest at which the sentence is said, and to the nearest at which it is not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch

from super_selfish.supervisors import SUPERVISORS
from super_selfish.training.history import Row
from tests.papers.test_heads import Wide, wide


class Limit(NamedTuple):
    """A value of a row, and where a sentence begins."""

    healthy: Row  # of which the others are
    name: str
    said: float
    silent: float
    words: str


def above(bound: float) -> dict[str, float]:
    """Said above a bound, but not at it."""
    return {"said": math.nextafter(bound, math.inf), "silent": bound}


def below(bound: float) -> dict[str, float]:
    """Said below a bound, but not at it."""
    return {"said": math.nextafter(bound, -math.inf), "silent": bound}


def first_at(epoch: int) -> dict[str, float]:
    """Said from an epoch on."""
    return {"said": epoch, "silent": epoch - 1}


def last_at(epoch: int) -> dict[str, float]:
    """Said up to an epoch."""
    return {"said": epoch, "silent": epoch + 1}


KNOWN: Row = {"accuracy": 0.995}
SEEN: Row = {"epoch": 9.0, "spread": 0.9, "memory_change": 0.1}
ID: Row = {**SEEN, "memory_similarity": 0.5}
CMC: Row = {**SEEN, "accuracy": 0.4, "accuracy_in_batch": 0.5, "chance_in_batch": 0.125}
CMC |= {"color_spread": 0.1}
OUTRUN: Row = {**CMC, "accuracy": 0.9, "accuracy_in_batch": 0.2}
PAINTED: Row = {"epoch": 9.0, "reconstruction": 0.1, "mean_colour": 0.2}
PAINTED |= {"discriminator_accuracy": 0.5}
COLORS: Row = {"epoch": 9.0, "color_spread": 0.1, "loss": 3.0, "constant_loss": 3.5}
COUNTS: Row = {"epoch": 9.0, "accuracy": 0.9, "apart": 12.0, "counts": 5.0}
SPLIT: Row = {"epoch": 9.0, "color_spread": 0.1, "color_accuracy": 0.6, "commonest_color": 0.5}

DINO: Row = {"epoch": 9.0, "loss": 4.0, "classes": 90.0, "teacher_entropy": 0.3}
SWAV: Row = {"epoch": 9.0, "loss": 1.5, "clusters": 5.0, "spread": 0.9}
TWINS: Row = {"epoch": 9.0, "agreement": 0.7, "redundancy": 0.2, "spread": 0.9}
VICREG: Row = {"epoch": 9.0, "agreement": 0.7, "redundancy": 0.2, "deviation": 0.9}
CLUSTERS: Row = {"epoch": 9.0, "loss": 1.5, "largest": 0.2, "spread": 0.9}
NNCLR: Row = {
    **{"epoch": 9.0, "accuracy": 0.5, "spread": 0.9, "candidates": 100.0},
    **{"variety": 0.9, "neighbor_similarity": 0.8},
}
TAUGHT: Row = {"epoch": 9.0, "variety": 0.3, "agreement": 0.6}
SIMCLR: Row = {"epoch": 9.0, "accuracy": 0.5, "spread": 0.9, "candidates": 100.0}

CHANCE_4 = 1.1 * (1 / 4)
CHANCE_8 = 1.1 * (1 / 8)
CHANCE_24 = 1.2 * (1 / 24)
LOG_7 = 0.98 * math.log(7)

LIMITS: dict[str, list[Limit]] = {
    "rotate": [
        Limit({"epoch": 1.0}, "accuracy", **above(0.99), words="of the rotations are right"),
        Limit(KNOWN, "epoch", **last_at(5), words="of the rotations are right in epoch 5"),
        Limit(
            {"epoch": 9.0}, "accuracy", **below(CHANCE_4), words="no better than by chance (25%)"
        ),
        Limit({"accuracy": 0.2}, "epoch", **first_at(5), words="no better than by chance"),
    ],
    "jigsaw": [
        Limit({"epoch": 1.0}, "accuracy", **above(0.99), words="solved after 1 epoch"),
        Limit(KNOWN, "epoch", **last_at(5), words="solved after 5 epochs"),
        Limit({"epoch": 19.0}, "accuracy", **below(CHANCE_24), words="by chance (4.2%)"),
        Limit({"accuracy": 0.03}, "epoch", **first_at(10), words="no better than by chance"),
    ],
    "aet": [
        Limit({"epoch": 9.0}, "explained", **below(1 - 0.95), words="who always says their mean"),
        Limit({"explained": 0.0}, "epoch", **first_at(5), words="(0% of their spread"),
    ],
    "colorization": [
        Limit(COLORS, "color_spread", said=0.01, silent=0.010001, words="hardly any colour"),
        Limit(COLORS, "loss", **above(3.5), words="the same of every place (3.5)"),
        Limit({**COLORS, "loss": 4.0}, "epoch", **first_at(3), words="told no better (loss 4)"),
    ],
    "counting": [
        Limit(COUNTS, "apart", **below(1.0), words="the trivial solution"),
        Limit({**COUNTS, "epoch": 1.0}, "apart", **below(1.0), words="margin 10"),
        Limit(COUNTS, "accuracy", **below(0.55), words="add up to their own image"),
        Limit({**COUNTS, "accuracy": 0.5}, "epoch", **first_at(5), words="only 50% of the tiles"),
    ],
    "context_prediction": [
        Limit({"epoch": 1.0}, "accuracy", **above(0.99), words="are right after 1 epoch"),
        Limit(KNOWN, "epoch", **last_at(5), words="are right after 5 epochs"),
        Limit({"epoch": 19.0}, "accuracy", **below(CHANCE_8), words="by chance (12.5%)"),
        Limit({"accuracy": 0.1}, "epoch", **first_at(10), words="no better than by chance"),
    ],
    "exemplar": [
        Limit({"epoch": 9.0, "loss": 0.1}, "accuracy", **above(0.99), words="too easy"),
        Limit({**KNOWN, "loss": 0.1}, "epoch", **last_at(20), words="after 20 epochs"),
        Limit({"epoch": 19.0, "accuracy": 0.1}, "loss", **above(LOG_7), words="by chance (loss"),
        Limit({"loss": 2.0, "accuracy": 0.1}, "epoch", **first_at(10), words="by chance (loss"),
    ],
    "denoise": [
        Limit({"epoch": 9.0, "variance": 0.25}, "loss", **above(0.25), words="worse (error 0.25"),
        Limit({"loss": 0.3, "variance": 0.25}, "epoch", **first_at(3), words="worse (error"),
    ],
    "mae": [
        Limit({"epoch": 9.0, "variance": 1.0}, "loss", **above(0.98), words="better (error 0.98"),
        Limit({"loss": 1.0, "variance": 1.0}, "epoch", **first_at(3), words="than with one grey"),
    ],
    "context": [
        Limit(PAINTED, "reconstruction", **above(0.2), words="painted worse"),
        Limit({**PAINTED, "reconstruction": 0.3}, "epoch", **first_at(3), words="painted worse"),
    ],
    "context as a game": [
        Limit(PAINTED, "discriminator_accuracy", **above(0.99), words="has won (99"),
        Limit({**PAINTED, "discriminator_accuracy": 1.0}, "epoch", **first_at(3), words="has won"),
    ],
    "bigan": [
        Limit(
            {"epoch": 9.0, "reconstruction_ratio": 0.9},
            "discriminator_accuracy",
            **above(0.99),
            words="has won (99",
        ),
        Limit(
            {"discriminator_accuracy": 1.0, "reconstruction_ratio": 0.9},
            "epoch",
            **first_at(3),
            words="has won (100.0%",
        ),
    ],
    "split_brain": [
        Limit(SPLIT, "color_spread", said=0.01, silent=0.010001, words="hardly any colour"),
        Limit(SPLIT, "color_accuracy", **below(0.45), words="fewer than if the commonest"),
        Limit({**SPLIT, "color_accuracy": 0.4}, "epoch", **first_at(3), words="fewer than if"),
    ],
    "instance": [
        Limit(ID, "spread", **below(0.1), words="have collapsed"),
        Limit(ID, "memory_change", **below(1e-3), words="memory hardly changes"),
        Limit(ID, "memory_similarity", **below(0.1), words="same position"),
        Limit({**ID, "memory_similarity": 0.0}, "epoch", **first_at(3), words="same position"),
    ],
    "pirl": [
        Limit(SEEN, "spread", **below(0.1), words="have collapsed"),
        Limit(SEEN, "memory_change", **below(1e-3), words="memory hardly changes"),
    ],
    "cmc": [
        Limit(CMC, "color_spread", said=0.01, silent=0.010001, words="hardly any colour"),
        Limit(CMC, "spread", **below(0.1), words="have collapsed"),
        Limit({**CMC, "spread": 0.05}, "epoch", **first_at(3), words="have collapsed"),
        Limit(CMC, "memory_change", **below(1e-3), words="memories hardly change"),
        Limit(OUTRUN, "accuracy", **above(0.5), words="outrun their memories"),
        Limit(OUTRUN, "accuracy_in_batch", said=0.25, silent=0.2501, words="outrun"),
        Limit(OUTRUN, "epoch", **first_at(3), words="outrun their memories"),
    ],
    "moco": [
        Limit({"epoch": 9.0, "accuracy": 0.5}, "key_spread", **below(0.1), words="have collapsed"),
        Limit(
            {"epoch": 1.0, "key_spread": 0.9}, "accuracy", **above(0.99), words="views are found"
        ),
        Limit({**KNOWN, "key_spread": 0.9}, "epoch", **last_at(5), words="found after 5 epochs"),
    ],
    "byol": [Limit({"epoch": 1.0}, "target_spread", **below(0.1), words="have collapsed")],
    "dino": [
        Limit(DINO, "classes", **below(2.0), words="of 512 classes"),
        Limit(DINO, "teacher_entropy", **above(0.98), words="all classes alike"),
        Limit({**DINO, "teacher_entropy": 1.0}, "epoch", **first_at(1), words="all classes alike"),
    ],
    "swav": [
        Limit(SWAV, "spread", **below(0.1), words="have collapsed"),
        Limit(SWAV, "clusters", **below(2.0), words="of 7 prototypes"),
        Limit(SWAV, "loss", **above(0.99 * math.log(7)), words="by chance (loss 1.93)"),
        Limit({**SWAV, "loss": math.log(7)}, "epoch", **first_at(5), words="by chance (loss 1.95)"),
    ],
    "barlow_twins": [
        Limit(TWINS, "spread", **below(0.1), words="have collapsed"),
        Limit(TWINS, "redundancy", **above(0.9), words="all numbers of the embedding say the same"),
        Limit(TWINS, "agreement", **below(0.1), words="hardly anything in common"),
        Limit({**TWINS, "agreement": 0.0}, "epoch", **first_at(5), words="hardly anything"),
    ],
    "deep_cluster": [
        Limit(CLUSTERS, "spread", **below(0.1), words="have collapsed"),
        Limit(CLUSTERS, "largest", **above(0.5), words="in one of 7 clusters"),
        Limit(CLUSTERS, "loss", **above(0.99 * math.log(7)), words="by chance (loss 1.93)"),
        Limit({**CLUSTERS, "loss": math.log(7)}, "epoch", **first_at(5), words="by chance (loss"),
    ],
    "lejepa": [
        Limit(VICREG, "deviation", **below(0.1), words="have collapsed: their numbers deviate"),
        Limit(
            VICREG, "redundancy", **above(0.9), words="all numbers of the embedding say the same"
        ),
        Limit(VICREG, "agreement", **below(0.1), words="hardly anything in common"),
        Limit({**VICREG, "agreement": 0.0}, "epoch", **first_at(5), words="lower sigreg_weight"),
    ],
    "distillation": [
        Limit({**TAUGHT, "epoch": 1.0}, "variety", **below(1e-3), words="the same to the teacher"),
        Limit(TAUGHT, "agreement", **below(0.1), words="much the same of every image"),
        Limit({**TAUGHT, "agreement": 0.0}, "epoch", **first_at(5), words="the same of every"),
    ],
    "nnclr": [
        Limit({**NNCLR, "epoch": 1.0}, "spread", **below(0.1), words="have collapsed"),
        Limit({**NNCLR, "epoch": 1.0}, "variety", **below(0.1), words="have the same neighbours"),
        Limit({**NNCLR, "variety": 0.05}, "candidates", said=16.0, silent=15.0, words="the same"),
        Limit(NNCLR, "neighbor_similarity", **above(0.99), words="the views themselves"),
        Limit(NNCLR, "accuracy", **below(1.2 / 100), words="no better than by chance (1.0%)"),
        Limit({**NNCLR, "accuracy": 0.01}, "epoch", **first_at(5), words="by chance (1.0%)"),
    ],
    "vicreg": [
        Limit(VICREG, "deviation", **below(0.1), words="have collapsed: their numbers deviate"),
        Limit(
            VICREG, "redundancy", **above(0.9), words="all numbers of the embedding say the same"
        ),
        Limit(VICREG, "agreement", **below(0.1), words="hardly anything in common"),
        Limit({**VICREG, "agreement": 0.0}, "epoch", **first_at(5), words="hardly anything"),
    ],
    "simsiam": [Limit({"epoch": 1.0}, "spread", **below(0.1), words="have collapsed")],
    "simclr": [
        Limit({**SIMCLR, "epoch": 1.0}, "spread", **below(0.1), words="have collapsed"),
        Limit({**SIMCLR, "epoch": 1.0}, "accuracy", **above(0.99), words="found after 1 epoch"),
        Limit({**SIMCLR, **KNOWN}, "epoch", **last_at(5), words="found after 5 epochs"),
        Limit(
            {**SIMCLR, **KNOWN, "epoch": 1.0}, "candidates", said=60.0, silent=59.0, words="found"
        ),
        Limit(SIMCLR, "accuracy", **below(1.2 / 100), words="no better than by chance (1.0%)"),
        Limit({**SIMCLR, "accuracy": 0.01}, "epoch", **first_at(5), words="by chance (1.0%)"),
    ],
    "motion": [
        Limit({"epoch": 9.0, "contrast": 0.5}, "usable", **below(0.3), words="was found to move"),
        Limit({"epoch": 19.0, "usable": 1.0}, "contrast", **below(0.02), words="is not told from"),
        Limit({"usable": 1.0, "contrast": 0.0}, "epoch", **first_at(10), words="is not told from"),
    ],
    "multi_task": [  # each task's own, by the columns behind its name
        Limit(
            {"epoch": 1.0, "loss": 1.0, "exemplar.accuracy": 0.5, "exemplar.loss": 1.0},
            "jigsaw.accuracy",
            **above(0.99),
            words="jigsaw: 99",
        ),
        Limit(
            {"epoch": 1.0, "loss": 1.0, "jigsaw.accuracy": 0.5, "exemplar.loss": 1.0},
            "exemplar.accuracy",
            **above(0.99),
            words="exemplar: 99",
        ),
    ],
    "cpc": [
        Limit(
            {"epoch": 1.0, "information": 1.0}, "loss", **below(0.05), words="nearly all patches"
        ),
        Limit({"loss": 0.01, "information": 1.0}, "epoch", **last_at(5), words="after 5 epochs"),
        Limit({"epoch": 9.0, "loss": 4.0}, "information", **below(0.02), words="by chance"),
        Limit({"loss": 4.0, "information": 0.0}, "epoch", **first_at(5), words="by chance"),
    ],
}

SETTINGS: dict[str, dict[str, Any]] = {
    "exemplar": {"num_classes": 7, "num_transforms": 1},
    "context as a game": {"lambda_rec": 0.5, "lambda_adv": 0.5},
    "pirl": {"num_permutations": 2},
    "moco": {"queue_size": 4},
    "swav": {"num_prototypes": 7},
    "deep_cluster": {"num_clusters": (7, 7)},
}


def judge(case: str) -> Any:
    algorithm = case.partition(" ")[0]
    supervisor = SUPERVISORS[algorithm](
        backbone=wide(algorithm, 16), image_size=64, **SETTINGS.get(case, {})
    )
    if algorithm == "moco":
        supervisor.queue.enqueue(torch.eye(4, 128))  # full: no key is random any more
    return supervisor._health


def test_every_algorithm_s_thresholds_are_here() -> None:
    assert {case.partition(" ")[0] for case in LIMITS} == set(SUPERVISORS)


@pytest.mark.parametrize("case", LIMITS)
def test_a_sentence_is_said_beyond_its_threshold_only(case: str) -> None:
    health = judge(case)
    for healthy, name, said, silent, words in LIMITS[case]:
        verdict = health({**healthy, name: said})
        assert verdict is not None and words in verdict, (name, said)
        assert health({**healthy, name: silent}) is None, (name, silent)


def test_where_the_error_teaches_nobody_minds_who_wins() -> None:
    won = {**PAINTED, "discriminator_accuracy": 1.0}
    for rec, adv, is_said in ((0.999, 0.001, False), (0.5, 0.49, False), (0.5, 0.5, True)):
        supervisor = SUPERVISORS["context"](
            backbone=Wide(16), image_size=64, lambda_rec=rec, lambda_adv=adv
        )
        assert (supervisor._health(won) is not None) == is_said
    alone = SUPERVISORS["context"](backbone=Wide(16), image_size=64, lambda_rec=0.0)
    assert alone._health({**PAINTED, "reconstruction": 0.3}) is None  # no error is asked for


def test_a_queue_that_is_not_yet_full_accuses_nobody() -> None:
    supervisor = SUPERVISORS["moco"](backbone=Wide(16), image_size=64, queue_size=4)
    row = {"epoch": 1.0, "key_spread": 0.9, **KNOWN}
    supervisor.queue.enqueue(torch.eye(3, 128))
    assert supervisor._health(row) is None
    supervisor.queue.enqueue(torch.eye(1, 128))
    assert "views are found" in str(supervisor._health(row))
