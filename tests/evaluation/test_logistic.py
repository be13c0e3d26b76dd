from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.evaluation.logistic import (
    LinearClassifier,
    LogisticRegression,
    fit_standardisation,
)


def correlated(
    generator: torch.Generator, samples: int, features: int = 20
) -> tuple[Tensor, Tensor]:
    """Three overlapping classes; features of a few strong directions and many weak ones."""
    fixed = torch.Generator().manual_seed(3)
    centres = torch.randn(3, features, generator=fixed)
    mixing = torch.randn(features, features, generator=fixed)
    mixing = mixing * torch.logspace(0, -2, features)[:, None]
    labels = torch.randint(3, (samples,), generator=generator)
    return (centres[labels] + torch.randn(samples, features, generator=generator)) @ mixing, labels


def objective_gradient(
    classifier: LinearClassifier, features: Tensor, targets: Tensor, regularization: float
) -> Tensor:
    weights = classifier.weights.double().requires_grad_()
    bias = classifier.bias.double().requires_grad_()
    loss = F.cross_entropy(F.linear(features.double(), weights, bias), targets)
    (loss + 0.5 * regularization * weights.square().sum()).backward()
    assert weights.grad is not None and bias.grad is not None
    return torch.cat([weights.grad.flatten(), bias.grad])


@pytest.mark.parametrize("regularization", [1.0, 1e-2, 1e-4])
def test_the_gradient_of_the_objective_vanishes(
    generator: torch.Generator, regularization: float
) -> None:
    features, targets = correlated(generator, 400)
    features = fit_standardisation(features)(features)
    classifier = LogisticRegression(features, targets, 3).fit(regularization)
    gradient = objective_gradient(classifier, features, targets, regularization)
    assert gradient.abs().max() < 3e-5


def test_fewer_rows_than_features_are_solved_too(generator: torch.Generator) -> None:
    features, targets = correlated(generator, 15, features=40)
    classifier = LogisticRegression(features, targets, 3).fit(1e-2)
    gradient = objective_gradient(classifier, features, targets, 1e-2)
    assert gradient.abs().max() < 3e-5


def several_classes(generator: torch.Generator, samples: int) -> tuple[Tensor, Tensor]:
    """Features, and targets `[N, 4]` of which one is frequent and one rare."""
    features, _ = correlated(generator, samples)
    directions = torch.randn(20, 4, generator=torch.Generator().manual_seed(4))
    standard = fit_standardisation(features)(features)
    scores = standard @ directions + 3 * torch.randn(samples, 4, generator=generator)
    return standard, (scores > torch.tensor([-6.0, 0.0, 3.0, 8.0])).long()


@pytest.mark.parametrize("regularization", [1e-1, 1e-3])
def test_rows_of_several_classes_are_independent_regressions(
    generator: torch.Generator, regularization: float
) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, targets = several_classes(generator, 500)
    assert 5 < targets.sum(dim=0).min() < 50
    classifier = LogisticRegression(features, targets, 4).fit(regularization)
    for column in range(4):
        reference = linear_model.LogisticRegression(
            C=1 / (regularization * 500), tol=1e-7, max_iter=5000
        ).fit(features.numpy(), targets[:, column].numpy())
        torch.testing.assert_close(
            classifier.weights[column],
            torch.from_numpy(reference.coef_[0]).float(),
            atol=5e-3,
            rtol=5e-3,
        )
        assert classifier.bias[column].item() == pytest.approx(reference.intercept_[0], abs=5e-3)


def test_a_class_that_is_never_there_is_solved_too(generator: torch.Generator) -> None:
    features, targets = several_classes(generator, 100)
    targets[:, 2] = 0
    classifier = LogisticRegression(features, targets, 4).fit(1e-3)
    assert torch.isfinite(classifier.weights).all()
    assert classifier(features)[:, 2].max() < -3


def test_a_warm_start_ends_at_the_same_minimum(generator: torch.Generator) -> None:
    features, targets = correlated(generator, 400)
    problem = LogisticRegression(fit_standardisation(features)(features), targets, 3)
    warm = problem.fit(1e-3, initial=problem.fit(1e-1))
    cold = problem.fit(1e-3)
    torch.testing.assert_close(warm.weights, cold.weights, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("regularization", [1e-1, 1e-3])
def test_agrees_with_scikit_learn(generator: torch.Generator, regularization: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, targets = correlated(generator, 500)
    test, test_targets = correlated(generator, 2000)
    standardise = fit_standardisation(features)
    features, test = standardise(features), standardise(test)
    reference = linear_model.LogisticRegression(
        C=1 / (regularization * 500), tol=1e-6, max_iter=2000
    ).fit(features.numpy(), targets.numpy())
    classifier = LogisticRegression(features, targets, 3).fit(regularization)
    accuracy = (classifier(test).argmax(dim=1) == test_targets).double().mean().item()
    assert accuracy == pytest.approx(reference.score(test.numpy(), test_targets.numpy()), abs=0.001)
    torch.testing.assert_close(
        classifier.weights, torch.from_numpy(reference.coef_).float(), atol=2e-3, rtol=2e-3
    )


def test_standardised_features_have_mean_zero_and_variance_one(
    generator: torch.Generator,
) -> None:
    features, _ = correlated(generator, 300)
    standardised = fit_standardisation(features + 5)(features + 5)
    torch.testing.assert_close(standardised.mean(dim=0), torch.zeros(20), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        standardised.var(dim=0, correction=0), torch.ones(20), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, -3.3])
def test_features_that_never_change_become_zero(constant: float) -> None:
    features = torch.full((1001, 1), constant)
    standardise = fit_standardisation(features)
    assert torch.equal(standardise(features), torch.zeros(1001, 1))
    assert torch.equal(standardise(features + 7), torch.zeros(1001, 1))


def test_small_features_are_not_taken_for_dead(generator: torch.Generator) -> None:
    features = 1e-9 * torch.rand(500, 1, generator=generator)
    assert fit_standardisation(features)(features).var() == pytest.approx(1.0, abs=0.01)
