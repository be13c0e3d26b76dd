from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.linear import fit_linear_probe, linear_probe, stratified_split
from super_selfish.evaluation.metrics import mean_average_precision


def noisy(generator: torch.Generator, samples: int) -> tuple[Tensor, Tensor]:
    """Four classes in 6 of 60 dimensions; the others are noise that a weak penalty fits."""
    centres = torch.randn(4, 6, generator=torch.Generator().manual_seed(5))
    labels = torch.randint(4, (samples,), generator=generator)
    features = torch.randn(samples, 60, generator=generator)
    features[:, :6] += 1.2 * centres[labels]
    return features, labels


def test_agrees_with_scikit_learn_at_the_chosen_strength(generator: torch.Generator) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, train_labels = noisy(generator, 300)
    test, test_labels = noisy(generator, 2000)
    probe = linear_probe(train, train_labels, test, test_labels)
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    reference = linear_model.LogisticRegression(
        C=1 / (probe.regularization * 300), tol=1e-6, max_iter=2000
    ).fit(((train - mean) / std).numpy(), train_labels.numpy())
    expected = reference.score(((test - mean) / std).numpy(), test_labels.numpy())
    assert probe.accuracy == pytest.approx(expected, abs=0.001)


def test_the_choice_is_the_best_on_held_out_rows(generator: torch.Generator) -> None:
    train, labels = noisy(generator, 300)
    probe = linear_probe(train, labels, train, labels)
    best = max(probe.validation_accuracies.values())
    assert probe.validation_accuracies[probe.regularization] == best
    assert len(probe.validation_accuracies) == 6


def test_of_equal_strengths_the_stronger_is_chosen(generator: torch.Generator) -> None:
    labels = torch.arange(40) % 2
    features = torch.where(labels == 0, -1.0, 1.0)[:, None] + 0.1 * torch.randn(
        40, 1, generator=generator
    )
    probe = linear_probe(features, labels, features, labels, regularizations=(1e-3, 1e-1, 1e-2))
    assert probe.regularization == 1e-1


def test_overfitting_calls_for_a_strong_penalty(generator: torch.Generator) -> None:
    train, train_labels = noisy(generator, 120)
    test, test_labels = noisy(generator, 2000)
    chosen = linear_probe(train, train_labels, test, test_labels)
    weakest = linear_probe(train, train_labels, test, test_labels, regularizations=[1e-5])
    assert chosen.regularization >= 1e-2
    assert chosen.accuracy > weakest.accuracy


def test_shuffled_test_labels_give_chance_and_change_no_choice(
    generator: torch.Generator,
) -> None:
    train, train_labels = noisy(generator, 300)
    test, test_labels = noisy(generator, 2000)
    shuffled_labels = test_labels[torch.randperm(2000, generator=generator)]
    probe = linear_probe(train, train_labels, test, test_labels)
    shuffled = linear_probe(train, train_labels, test, shuffled_labels)
    assert probe.accuracy > 0.6
    assert shuffled.accuracy == pytest.approx(0.25, abs=0.04)
    assert shuffled.regularization == probe.regularization
    assert shuffled.validation_accuracies == probe.validation_accuracies


def test_test_features_change_no_choice_and_no_prediction(generator: torch.Generator) -> None:
    train, train_labels = noisy(generator, 300)
    test, test_labels = noisy(generator, 400)
    alone = linear_probe(train, train_labels, test[:200], test_labels[:200])
    other = linear_probe(train, train_labels, test[200:], test_labels[200:])
    both = linear_probe(train, train_labels, test, test_labels)
    assert alone.validation_accuracies == other.validation_accuracies
    assert both.accuracy == pytest.approx((alone.accuracy + other.accuracy) / 2)


def test_shuffled_training_labels_give_chance(generator: torch.Generator) -> None:
    train, train_labels = noisy(generator, 300)
    test, test_labels = noisy(generator, 2000)
    shuffled = train_labels[torch.randperm(300, generator=generator)]
    assert linear_probe(train, shuffled, test, test_labels).accuracy < 0.4


def test_dead_features_change_nothing(generator: torch.Generator) -> None:
    train, train_labels = noisy(generator, 200)
    test, test_labels = noisy(generator, 500)
    dead = torch.full((200, 3), 0.1), torch.rand(500, 3, generator=generator)
    probe = linear_probe(
        torch.cat([train, dead[0]], 1), train_labels, torch.cat([test, dead[1]], 1), test_labels
    )
    expected = linear_probe(train, train_labels, test, test_labels)
    assert probe.regularization == expected.regularization
    assert probe.accuracy == pytest.approx(expected.accuracy, abs=0.003)


def test_one_seed_gives_one_result(generator: torch.Generator) -> None:
    train, labels = noisy(generator, 200)
    assert linear_probe(train, labels, train, labels, seed=3) == linear_probe(
        train, labels, train, labels, seed=3
    )


def test_class_numbers_may_have_gaps(generator: torch.Generator) -> None:
    train, labels = noisy(generator, 200)
    names = torch.tensor([-7, 4, 5, 9000])[labels]
    assert linear_probe(train, names, train, names) == linear_probe(train, labels, train, labels)


def several(generator: torch.Generator, samples: int) -> tuple[Tensor, Tensor]:
    """The classes of `noisy`, each known by two labels of three."""
    features, labels = noisy(generator, samples)
    names = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]])
    return features, names[labels]


def test_several_labels_agree_with_scikit_learn(generator: torch.Generator) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    multiclass = pytest.importorskip("sklearn.multiclass")
    metrics = pytest.importorskip("sklearn.metrics")
    (train, train_labels), (test, test_labels) = (several(generator, n) for n in (300, 1000))
    probe = fit_linear_probe(train, train_labels)
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    reference = multiclass.OneVsRestClassifier(
        linear_model.LogisticRegression(C=1 / (probe.regularization * 300), tol=1e-6, max_iter=2000)
    ).fit(((train - mean) / std).numpy(), train_labels.numpy())
    scores = reference.decision_function(((test - mean) / std).numpy())
    expected = metrics.average_precision_score(test_labels.numpy(), scores)
    found = mean_average_precision(probe(test), test_labels)
    assert found == pytest.approx(expected, abs=0.001)
    assert found > 0.7
    assert probe.validation[probe.regularization] == max(probe.validation.values())


def test_rows_of_several_classes_are_split_without_strata() -> None:
    labels = (torch.arange(100)[:, None] % 7 < torch.arange(3)).long()
    fitted, held_out = stratified_split(labels, 0.2, seed=0)
    assert len(held_out) == 20
    assert torch.equal(torch.cat([fitted, held_out]).sort().values, torch.arange(100))


def test_the_fallback_is_taken_where_nothing_can_be_held_out(generator: torch.Generator) -> None:
    features, labels = torch.randn(4, 8, generator=generator), torch.arange(4)
    assert fit_linear_probe(features, labels, fallback=0.3).regularization == 0.3
    nothing = torch.zeros(4, 2, dtype=torch.int64)  # no held-out row has a class
    assert fit_linear_probe(features, nothing, fallback=0.3).regularization == 0.3


def test_the_split_takes_the_same_share_of_every_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    fitted, held_out = stratified_split(labels, 0.2, seed=0)
    assert labels[held_out].bincount(minlength=4).tolist() == [10, 2, 1, 0]
    assert torch.equal(torch.cat([fitted, held_out]).sort().values, torch.arange(63))


def test_the_split_depends_on_the_seed() -> None:
    labels = torch.arange(100) % 2
    assert torch.equal(stratified_split(labels, 0.2, 1)[1], stratified_split(labels, 0.2, 1)[1])
    assert not torch.equal(stratified_split(labels, 0.2, 1)[1], stratified_split(labels, 0.2, 2)[1])


def test_one_image_a_class_needs_one_strength(generator: torch.Generator) -> None:
    features, labels = torch.randn(4, 8, generator=generator), torch.arange(4)
    with pytest.raises(ValueError, match="no class has two training rows"):
        linear_probe(features, labels, features, labels)
    probe = linear_probe(features, labels, features, labels, regularizations=[0.1])
    assert probe.accuracy == 1.0
    assert probe.validation_accuracies == {}


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    train, labels = noisy(generator, 40)
    with pytest.raises(ValueError, match="regularizations must be numbers > 0"):
        linear_probe(train, labels, train, labels, regularizations=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"validation is a share in \(0, 1\), got 1.0"):
        linear_probe(train, labels, train, labels, validation=1.0)
    with pytest.raises(ValueError, match="test labels must be"):
        linear_probe(train, labels, train, labels[:4])


def test_rows_without_a_label_neither_teach_nor_count(generator: torch.Generator) -> None:
    features = torch.randn(40, 4, generator=generator)
    labels = (features[:, 0] > 0).long()
    some = labels.clone()
    some[::4] = -1
    kept = some != -1
    expected = linear_probe(features[kept], labels[kept], features[kept], labels[kept])
    with pytest.warns(UserWarning, match="10 of 40 t[a-z]+ images have no label"):
        assert linear_probe(features, some, features, some) == expected
