from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses.predictive import (
    CandidateInfoNCELoss,
    NeighborLoss,
    candidate_info_nce,
)
from tests.references import candidate_info_nce_in_loops


def vectors(
    generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    predictions = torch.randn(5, 4, generator=generator, dtype=dtype)
    candidates = torch.randn(7, 4, generator=generator, dtype=dtype)
    return predictions, candidates, torch.tensor([3, 0, 6, 3, 1])


@pytest.mark.parametrize("logit_scale", [0.1, 1.0, 5.0])
def test_all_candidates_equal_the_loops(generator: torch.Generator, logit_scale: float) -> None:
    data = vectors(generator)
    expected = candidate_info_nce_in_loops(*data, logit_scale)
    ours = candidate_info_nce(*data, logit_scale)
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_drawn_negatives_equal_the_loops(generator: torch.Generator) -> None:
    predictions, candidates, positives = vectors(generator)
    after = torch.randint(1, 7, (5, 3), generator=generator)
    negatives = (positives[:, None] + after) % 7
    expected = candidate_info_nce_in_loops(predictions, candidates, positives, 0.7, negatives)
    ours = candidate_info_nce(predictions, candidates, positives, 0.7, negatives)
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_all_others_as_negatives_are_the_default(generator: torch.Generator) -> None:
    predictions, candidates, positives = vectors(generator)
    others = (positives[:, None] + torch.arange(1, 7)) % 7
    torch.testing.assert_close(
        candidate_info_nce(predictions, candidates, positives, 0.5, others),
        candidate_info_nce(predictions, candidates, positives, 0.5),
    )


def test_equal_candidates_cost_the_logarithm_of_their_number() -> None:
    loss = candidate_info_nce(torch.ones(3, 2), torch.ones(9, 2), torch.tensor([0, 4, 8]))
    assert float(loss) == pytest.approx(math.log(9))


def test_gradients_are_those_of_the_values(generator: torch.Generator) -> None:
    predictions, candidates, positives = vectors(generator, torch.float64)
    inputs = (predictions.requires_grad_(), candidates.requires_grad_())
    negatives = (positives[:, None] + torch.tensor([1, 2])) % 7
    assert torch.autograd.gradcheck(lambda p, c: candidate_info_nce(p, c, positives, 0.5), inputs)
    assert torch.autograd.gradcheck(
        lambda p, c: candidate_info_nce(p, c, positives, 0.5, negatives), inputs
    )


def test_half_inputs_are_computed_in_float32(generator: torch.Generator) -> None:
    predictions, candidates, positives = vectors(generator)
    loss = candidate_info_nce(predictions.bfloat16(), candidates.bfloat16(), positives)
    assert loss.dtype == torch.float32


def test_module_and_function_agree(generator: torch.Generator) -> None:
    data = vectors(generator)
    assert CandidateInfoNCELoss(0.3)(*data) == candidate_info_nce(*data, 0.3)
    assert repr(CandidateInfoNCELoss()) == "CandidateInfoNCELoss(logit_scale=0.1)"


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    predictions, candidates, positives = vectors(generator)
    with pytest.raises(ValueError, match=r"^logit_scale must be > 0, got 0.0$"):
        CandidateInfoNCELoss(0.0)
    with pytest.raises(ValueError, match=r"got \[5, 4\] and \[7, 3\]$"):
        candidate_info_nce(predictions, candidates[:, :3], positives)
    with pytest.raises(ValueError, match=r"^positives must be \[5\], got \[4\]$"):
        candidate_info_nce(predictions, candidates, positives[:4])
    with pytest.raises(ValueError, match=r"^negatives must be \[5, N\], got \[5\]$"):
        candidate_info_nce(predictions, candidates, positives, 0.1, positives)


def test_scales_and_shapes_end_where_they_make_no_sense(generator: torch.Generator) -> None:
    predictions, candidates, positives = vectors(generator)
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="logit_scale must be"):
            CandidateInfoNCELoss(scale)
        with pytest.raises(ValueError, match="logit_scale must be"):
            candidate_info_nce(predictions, candidates, positives, scale)
    for first, second in ((predictions[0], candidates), (predictions, candidates[0])):
        with pytest.raises(ValueError, match=r"expected predictions \[P, E\] and candidates"):
            candidate_info_nce(first, second, positives)
    square = candidates[:4]  # where width and number are confused, this one passes
    assert candidate_info_nce(square, candidates, positives[:4]).isfinite()
    with pytest.raises(ValueError, match=r"positives must be \[5\], got \[5, 1\]"):
        candidate_info_nce(predictions, candidates, positives[:, None])
    with pytest.raises(ValueError, match=r"negatives must be \[5, N\], got \[4, 1\]"):
        candidate_info_nce(predictions, candidates, positives, 0.1, positives[:4, None])
    assert candidate_info_nce(predictions, candidates, positives, 1e-3).isfinite()


def test_neighbours_that_fit_all_predictions_alike_cost_the_log_of_their_number() -> None:
    same = F.normalize(torch.ones(6, 4), dim=1)
    own = torch.arange(2) + 3
    assert float(NeighborLoss(0.1)(same[:2], same, own)) == pytest.approx(math.log(6), rel=1e-5)


def test_the_loss_of_neighbours_is_one_of_candidates(generator: torch.Generator) -> None:
    neighbors, predictions = (
        F.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)
        for rows in (3, 7)
    )
    own = torch.tensor([4, 0, 6])
    similar = (neighbors @ predictions.T / 0.3).exp()
    expected = -sum(
        math.log(float(row[k] / row.sum())) for row, k in zip(similar, own, strict=True)
    )
    assert float(NeighborLoss(0.3)(neighbors, predictions, own)) == pytest.approx(expected / 3)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be > 0 and finite"):
            NeighborLoss(temperature)
    assert repr(NeighborLoss()) == "NeighborLoss(temperature=0.1)"
