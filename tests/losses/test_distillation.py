from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses import (
    FeatureMatchLoss,
    PseudoClassLoss,
    feature_match,
    pseudo_classes,
)
from tests.references import feature_match_in_loops, pseudo_classes_in_loops


def drawn(generator: torch.Generator, *shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 7), (1, 3), (2, 4, 3, 2)])
def test_matching_is_that_of_the_paper(shape: tuple[int, ...], generator: torch.Generator) -> None:
    predictions, targets = drawn(generator, *shape), drawn(generator, *shape)
    for weights in ((0.9, 0.1), (1.0, 0.0), (0.2, 3.0)):
        expected = feature_match_in_loops(predictions, targets, *weights)
        assert float(feature_match(predictions, targets, *weights)) == pytest.approx(expected)
        assert FeatureMatchLoss(*weights)(predictions, targets) == feature_match(
            predictions, targets, *weights
        )


def test_closed_forms_of_matching() -> None:
    right, up = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert float(feature_match(right, right)) == pytest.approx(0.0, abs=1e-7)
    assert float(feature_match(right, up, 1.0, 0.0)) == pytest.approx(1.0)
    assert float(feature_match(right, -right, 1.0, 0.0)) == pytest.approx(2.0)
    assert float(feature_match(right, 2 * right, 1.0, 0.0)) == pytest.approx(0.0, abs=1e-7)
    # |d| - 1/2 beyond 1, half its square within, over all numbers.
    assert float(feature_match(right, 2 * right, 0.0, 1.0)) == pytest.approx(2.5 / 2)
    assert float(feature_match(right, right + 0.5, 0.0, 1.0)) == pytest.approx(0.125)
    assert float(feature_match(right, up)) == pytest.approx(0.9 + 0.1 * 2.5)


@pytest.mark.parametrize(("sizes", "temperatures"), [((5, 4, 6), (0.2, 0.01)), ((1, 3, 1), (1, 2))])
def test_pseudo_classes_are_those_of_the_paper(
    sizes: tuple[int, int, int], temperatures: tuple[float, float], generator: torch.Generator
) -> None:
    images, width, classes = sizes
    predictions, targets = drawn(generator, images, width), drawn(generator, images, width)
    queue = F.normalize(drawn(generator, classes, width), dim=1)
    expected = pseudo_classes_in_loops(predictions, targets, queue, *temperatures)
    found = pseudo_classes(predictions, targets, queue, *temperatures)
    assert float(found) == pytest.approx(expected)
    assert PseudoClassLoss(*temperatures)(predictions, targets, queue) == found


def test_closed_forms_of_pseudo_classes() -> None:
    eye = torch.eye(8, dtype=torch.float64)
    own, queue, foreign = eye[:1], eye[1:7], eye[7:]
    # The teacher is sure that the image is itself: InfoNCE with six negatives at right angles.
    found = pseudo_classes(own, own, queue, 0.5, 1e-3)
    assert float(found) == pytest.approx(math.log(1 + 6 * math.exp(-2)))
    # A student at right angles to all finds all alike, whatever the teacher says.
    assert float(pseudo_classes(foreign, own, queue, 0.5, 0.3)) == pytest.approx(math.log(7))
    # With one temperature, the teacher's own vector loses the entropy of its shares, and no less.
    least = float(pseudo_classes(own, own, queue, 0.5, 0.5))
    shares = torch.tensor([0.0] * 6 + [1.0], dtype=torch.float64).div(0.5).softmax(dim=0)
    assert least == pytest.approx(float(torch.special.entr(shares).sum()))
    assert float(pseudo_classes(own + 0.3 * foreign, own, queue, 0.5, 0.5)) > least


def test_gradients_reach_the_student(generator: torch.Generator) -> None:
    vectors = drawn(generator, 3, 4).requires_grad_()
    maps = drawn(generator, 2, 3, 2, 2).requires_grad_()
    others = maps.detach() + 0.4
    targets, queue = drawn(generator, 3, 4), F.normalize(drawn(generator, 5, 4), dim=1)
    assert torch.autograd.gradcheck(lambda x: feature_match(x, targets), vectors)
    assert torch.autograd.gradcheck(lambda x: feature_match(x, others), maps)
    assert torch.autograd.gradcheck(lambda x: pseudo_classes(x, targets, queue, 0.5, 0.3), vectors)


def test_halves_are_computed_in_full(generator: torch.Generator) -> None:
    predictions, targets = (drawn(generator, 4, 6).bfloat16() for _ in range(2))
    queue = F.normalize(drawn(generator, 5, 6), dim=1).bfloat16()
    found = feature_match(predictions, targets)
    assert found.dtype == torch.float32
    assert found == feature_match(predictions.float(), targets.float())
    assert pseudo_classes(predictions, targets, queue).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: feature_match(x, x[:, :2]), r"must both be \[B, D\] or .* got \[3, 4\] and"),
        (lambda x: feature_match(x[None], x[None]), r"must both be \[B, D\]"),
        (lambda x: feature_match(x, x, -0.1), "cosine_weight must be >= 0 and finite, got -0.1"),
        (lambda x: FeatureMatchLoss(0.9, math.inf), "smooth_weight must be >= 0 and finite"),
        (lambda x: FeatureMatchLoss(0.0, 0.0), "are not both 0"),
        (lambda x: pseudo_classes(x, x[:2], x), r"must be \[B, D\] and queue \[K, D\], got"),
        (lambda x: pseudo_classes(x, x, x[:, :2]), r"must be \[B, D\] and queue \[K, D\], got"),
        (lambda x: pseudo_classes(x, x, x, 0.0), "temperature must be > 0 and finite, got 0.0"),
        (lambda x: PseudoClassLoss(0.2, math.nan), "teacher_temperature must be > 0 and finite"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.ones(3, 4))


def test_losses_show_what_they_are() -> None:
    assert repr(FeatureMatchLoss()) == "FeatureMatchLoss(cosine_weight=0.9, smooth_weight=0.1)"
    assert repr(PseudoClassLoss()) == "PseudoClassLoss(temperature=0.2, teacher_temperature=0.01)"
