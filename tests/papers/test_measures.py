"""What health checks read is what they say: recomputed image by image from what the loss was given.

A threshold holds nothing if the number before it is another one than its name says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.data.collate import Batch
from super_selfish.supervisors import SUPERVISORS
from tests.conftest import tiny_transformer
from tests.references import sigreg_in_loops, vicreg_in_loops

Backbones = Callable[..., nn.Module]


class Overheard(nn.Module):
    """A loss that keeps what it is called with."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss
        self.calls: list[tuple[Tensor, ...]] = []
        self.results: list[float] = []

    def forward(self, *given: Any) -> Tensor:
        result: Tensor = self.loss(*given)
        self.calls.append(tuple(x.detach().clone() if isinstance(x, Tensor) else x for x in given))
        self.results.append(float(result.detach()))
        return result


def step(algorithm: str, images: Tensor, backbone: nn.Module, **arguments: Any) -> Any:
    """A supervisor after one forward in training, its loss overheard, and what it logged."""
    torch.manual_seed(0)
    supervisor = SUPERVISORS[algorithm](images, backbone, **arguments)
    generator = torch.Generator().manual_seed(1)
    data = supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)
    overheard = Overheard(supervisor.loss)
    if isinstance(supervisor.loss, nn.Module):
        supervisor.loss = overheard
    else:
        object.__setattr__(supervisor, "loss", overheard)
    supervisor.train()
    loss = supervisor._forward(data)
    parts = {name: float(value.detach()) for name, value in supervisor._logged.items()}
    return supervisor, data, overheard, parts, loss


def spread_in_loops(vectors: Tensor) -> float:
    """Mean over coordinates of the deviation, where independent unit vectors have 1 / sqrt(E)."""
    number, size = vectors.shape
    total = 0.0
    for k in range(size):
        mean = sum(float(v[k]) for v in vectors) / number
        total += math.sqrt(sum((float(v[k]) - mean) ** 2 for v in vectors) / number)
    return total / size * math.sqrt(size)


def share_found(queries: Tensor, keys: Tensor, others: Tensor, own: Tensor | None) -> float:
    """Share of the queries that are nearer to their key than to every other."""
    found = 0
    for row, (query, key) in enumerate(zip(queries, keys, strict=True)):
        rivals = [
            float(query @ other)
            for column, other in enumerate(others)
            if own is None or not bool(own[row, column])
        ]
        found += float(query @ key) > max(rivals)
    return found / len(queries)


@pytest.mark.parametrize("algorithm", ["rotate", "jigsaw", "exemplar", "context_prediction"])
def test_accuracy_is_the_share_of_right_answers(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    arguments = {"num_transforms": 3} if algorithm == "exemplar" else {}
    *_, overheard, parts, loss = step(algorithm, images, tiny_backbone(), **arguments)
    logits, targets = overheard.calls[0]
    answers = [row.tolist().index(max(row.tolist())) for row in logits]
    right = [answer == int(target) for answer, target in zip(answers, targets, strict=True)]
    assert parts["accuracy"] == pytest.approx(sum(right) / len(right))
    assert float(loss.detach()) == pytest.approx(float(F.cross_entropy(logits, targets)))


def test_instance_discrimination_measures_its_memory(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor, data, overheard, parts, loss = step(
        "instance", images, tiny_backbone(), num_negatives=7, embedding_size=8
    )
    embeddings, memories, negatives, own = overheard.calls[0]
    assert parts["spread"] == pytest.approx(spread_in_loops(embeddings), rel=1e-4)
    assert parts["accuracy"] == pytest.approx(share_found(embeddings, memories, negatives, own))
    cosine = sum(float(e @ m) for e, m in zip(embeddings, memories, strict=True)) / len(images)
    assert parts["memory_similarity"] == pytest.approx(cosine, abs=1e-5)
    moved = supervisor.bank.rows[data.index] - memories
    assert parts["memory_change"] == pytest.approx(float(moved.norm(dim=1).mean()), rel=1e-5)
    proximal = sum(float((e - m).square().sum()) for e, m in zip(embeddings, memories, strict=True))
    expected = overheard.results[0] + 0.01 * proximal / len(images)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_pirl_measures_its_puzzles(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, data, overheard, parts, loss = step(
        "pirl", images, tiny_backbone(), num_negatives=7, embedding_size=8, puzzle_weight=0.3
    )
    calls = overheard.calls
    plain, memories, negatives, own = calls[0]
    puzzles = calls[1][0]
    if parts["image_loss"] != pytest.approx(overheard.results[0]):
        plain, puzzles = puzzles, plain
        overheard.results.reverse()
    assert parts["image_loss"] == pytest.approx(overheard.results[0])
    assert parts["puzzle_loss"] == pytest.approx(overheard.results[1])
    expected = 0.7 * parts["image_loss"] + 0.3 * parts["puzzle_loss"]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert parts["spread"] == pytest.approx(spread_in_loops(plain), rel=1e-4)
    assert parts["accuracy"] == pytest.approx(share_found(puzzles, memories, negatives, own))
    agreement = sum(float(a @ b) for a, b in zip(plain, puzzles, strict=True)) / len(images)
    assert parts["agreement"] == pytest.approx(agreement, abs=1e-5)
    moved = supervisor.bank.rows[data.index] - memories
    assert parts["memory_change"] == pytest.approx(float(moved.norm(dim=1).mean()), rel=1e-5)


def test_cmc_measures_both_halves(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, data, overheard, parts, loss = step(
        "cmc", images, tiny_backbone(), num_negatives=7, embedding_size=8, augmentation="paper"
    )
    lightness, colors, other_colors, own = overheard.calls[0]
    color, lightnesses = overheard.calls[1][:2]
    assert [parts["lightness_loss"], parts["color_loss"]] == pytest.approx(overheard.results)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results), rel=1e-5)
    assert parts["accuracy"] == pytest.approx(share_found(lightness, colors, other_colors, own))
    smaller = min(spread_in_loops(lightness), spread_in_loops(color))
    assert parts["spread"] == pytest.approx(smaller, rel=1e-4)
    found = [
        max(range(len(images)), key=lambda other: float(query @ color[other])) == place
        for place, query in enumerate(lightness)
    ]
    assert parts["accuracy_in_batch"] == pytest.approx(sum(found) / len(found))
    assert parts["chance_in_batch"] == pytest.approx(1 / len(images))
    changes = [
        float((bank.rows[data.index] - before).norm(dim=1).mean())
        for bank, before in (
            (supervisor.color_bank, colors),
            (supervisor.lightness_bank, lightnesses),
        )
    ]
    assert parts["memory_change"] == pytest.approx(sum(changes) / 2, rel=1e-5)


def test_moco_measures_its_keys(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, _ = step("moco", images, tiny_backbone(), queue_size=11, embedding_size=8)
    queries, keys, negatives = overheard.calls[0][:3]
    assert parts["accuracy"] == pytest.approx(share_found(queries, keys, negatives, None))
    assert parts["key_spread"] == pytest.approx(spread_in_loops(keys), rel=1e-4)


def test_simclr_measures_its_embeddings(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, _ = step("simclr", images, tiny_backbone(), embedding_size=8)
    views = torch.cat(overheard.calls[0])
    found = 0
    for number, view in enumerate(views):
        cosines = [-2.0 if k == number else float(view @ other) for k, other in enumerate(views)]
        found += cosines.index(max(cosines)) == (number + 22) % 44
    assert 0 < found < 44
    assert parts["accuracy"] == pytest.approx(found / 44)
    assert parts["candidates"] == 43
    assert parts["spread"] == pytest.approx(spread_in_loops(views), rel=1e-4)


def test_simsiam_measures_its_embeddings(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, loss = step("simsiam", images, tiny_backbone(), embedding_size=8)
    first = F.normalize(overheard.calls[1][1], dim=1)  # the target of the second view
    assert parts["spread"] == pytest.approx(spread_in_loops(first), rel=1e-4)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results) / 2, rel=1e-5)


def test_barlow_twins_measures_its_correlations(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, _ = step("barlow_twins", images, tiny_backbone(), embedding_size=5)
    first, second = overheard.calls[0]
    whole = torch.corrcoef(torch.cat([first.T, second.T]).double())  # (10, 10)
    others = whole[:5, :5][~torch.eye(5, dtype=torch.bool)]
    assert parts["agreement"] == pytest.approx(float(whole[:5, 5:].diagonal().mean()), rel=1e-2)
    assert parts["redundancy"] == pytest.approx(float(others.square().mean().sqrt()), rel=1e-2)
    assert parts["unrelated"] == pytest.approx(5 + (5 + 5e-3 * 20) / 22)
    centred = (first - first.mean(dim=0)) / first.std(dim=0, correction=0)
    expected = spread_in_loops(F.normalize(centred, dim=1))
    assert parts["spread"] == pytest.approx(expected, rel=1e-3)


def test_deep_cluster_measures_its_clusters(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, data, overheard, parts, loss = step(
        "deep_cluster", images, tiny_backbone(), embedding_size=8, num_clusters=(5, 3)
    )
    assert len(overheard.calls) == 2 and parts["largest"] == 0.0  # nothing is grouped yet
    overheard.calls.clear()
    overheard.results.clear()
    loss = supervisor._forward(data)
    parts = {name: float(value) for name, value in supervisor._logged.items()}
    right, sizes = 0, []
    for (scores, clusters), number in zip(overheard.calls, (5, 3), strict=True):
        assert scores.shape == (8, 22, number)
        for view in scores[:2]:
            for row, cluster in zip(view.tolist(), clusters.tolist(), strict=True):
                right += row.index(max(row)) == cluster
        counts = [clusters.tolist().count(cluster) for cluster in range(number)]
        sizes.append(max(counts) / 22)
    assert parts["accuracy"] == pytest.approx(right / 88)
    assert parts["largest"] == pytest.approx(sum(sizes) / 2)
    with torch.no_grad():
        first = F.normalize(supervisor.model(data.large_crops())[:22], dim=1)
    assert parts["spread"] == pytest.approx(spread_in_loops(first), rel=1e-3)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results) / 2, rel=1e-5)


def test_lejepa_measures_its_numbers(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, loss = step("lejepa", images, tiny_backbone(), embedding_size=5)
    embeddings, directions, num_large = overheard.calls[0]
    assert embeddings.shape == (4, 22, 5) and directions.shape == (5, 1024) and num_large == 4
    whole = torch.corrcoef(torch.cat([embeddings[0].T, embeddings[1].T]).double())  # (10, 10)
    others = whole[:5, :5][~torch.eye(5, dtype=torch.bool)]
    assert parts["agreement"] == pytest.approx(float(whole[:5, 5:].diagonal().mean()), rel=1e-2)
    assert parts["redundancy"] == pytest.approx(float(others.square().mean().sqrt()), rel=1e-2)
    assert parts["deviation"] == pytest.approx(float(embeddings[0].std(dim=0, correction=0).mean()))
    seen = [sigreg_in_loops(view, directions[:, :64]) for view in embeddings]
    assert parts["sigreg"] == pytest.approx(sum(seen) / 4, rel=1e-4)
    assert parts["constant_loss"] == pytest.approx(0.05 * 0.402 * 22, rel=2e-3)  # METHODS 1.6
    assert float(loss.detach()) == pytest.approx(overheard.results[0], rel=1e-5)


def test_nnclr_measures_its_neighbours(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, data, overheard, parts, loss = step(
        "nnclr", images, tiny_backbone(), queue_size=3, embedding_size=8
    )
    neighbors, predictions, own = overheard.calls[0]
    assert own.tolist() == list(range(22))
    found = 0
    for number, neighbor in enumerate(neighbors):
        cosines = [float(neighbor @ other) for other in predictions]
        found += cosines.index(max(cosines)) == number
    assert parts["accuracy"] == pytest.approx(found / 22)
    assert parts["candidates"] == 22
    different = {tuple(neighbor.tolist()) for neighbor in neighbors}
    assert parts["variety"] == pytest.approx(len(different) / 22)
    with torch.no_grad():
        first = F.normalize(supervisor.model(data.first), dim=1)
    cosines = [float(view @ neighbor) for view, neighbor in zip(first, neighbors, strict=True)]
    assert parts["neighbor_similarity"] == pytest.approx(sum(cosines) / 22, rel=1e-4)
    assert parts["spread"] == pytest.approx(spread_in_loops(first), rel=1e-4)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results) / 2, rel=1e-5)


def test_vicreg_measures_its_numbers(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, loss = step("vicreg", images, tiny_backbone(), embedding_size=5)
    first, second = overheard.calls[0]
    whole = torch.corrcoef(torch.cat([first.T, second.T]).double())  # (10, 10)
    others = whole[:5, :5][~torch.eye(5, dtype=torch.bool)]
    assert parts["agreement"] == pytest.approx(float(whole[:5, 5:].diagonal().mean()), rel=1e-2)
    assert parts["redundancy"] == pytest.approx(float(others.square().mean().sqrt()), rel=1e-2)
    assert parts["deviation"] == pytest.approx(float(first.std(dim=0, correction=0).mean()))
    assert float(loss.detach()) == pytest.approx(vicreg_in_loops(first, second), rel=1e-5)


def test_swav_measures_its_assignments(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, data, overheard, parts, _ = step(
        "swav", images, tiny_backbone(), embedding_size=8, num_prototypes=5
    )
    codes, scores = overheard.calls[0]
    assert codes.shape == (2, 22, 5) and scores.shape == (8, 22, 5)
    right = 0
    for which in (0, 1):
        for row, code in zip(scores[which].tolist(), codes[1 - which].tolist(), strict=True):
            right += row.index(max(row)) == code.index(max(code))
    assert parts["accuracy"] == pytest.approx(right / 44)
    shares = torch.zeros(5, dtype=torch.float64)
    for row in scores.flatten(0, 1).double():
        shares += (row / 0.1).exp() / (row / 0.1).exp().sum() / (8 * 22)
    entropy = -sum(float(share) * math.log(float(share)) for share in shares)
    assert parts["clusters"] == pytest.approx(math.exp(entropy), rel=1e-4)
    with torch.no_grad():
        large = F.normalize(supervisor.model(data.large_crops()), dim=1)
    assert parts["spread"] == pytest.approx(spread_in_loops(large), rel=1e-3)


def test_byol_measures_its_targets(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, loss = step(
        "byol", images, tiny_backbone(), embedding_size=8, hidden_size=8
    )
    first_target = F.normalize(overheard.calls[1][1], dim=1)
    assert parts["target_spread"] == pytest.approx(spread_in_loops(first_target), rel=1e-4)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results), rel=1e-5)


def test_denoise_compares_with_one_grey_for_all(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, parts, _ = step("denoise", images, tiny_backbone())
    clean = images.double() / 255
    assert parts["variance"] == pytest.approx(
        float((clean - clean.mean()).square().mean()), rel=1e-4
    )


def test_mae_compares_with_one_grey_for_all_that_is_hidden(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    _, data, overheard, parts, loss = step("mae", images, tiny_transformer(), norm_pix=False)
    hidden = [
        data.images[image, :, 8 * (place // 4) :, 8 * (place % 4) :][:, :8, :8].double()
        for image, places in enumerate(data.hidden.tolist())
        for place in places
    ]
    shown = torch.stack(hidden)
    expected = (shown - shown.mean()).square().mean()
    assert parts["variance"] == pytest.approx(float(expected), rel=1e-4)
    assert overheard.calls[1][0].shape == (22, 12, 192)
    assert float(loss.detach()) == overheard.results[1]


def test_context_compares_with_the_mean_colour(images: Tensor, tiny_backbone: Backbones) -> None:
    _, data, overheard, parts, loss = step("context", images, tiny_backbone())
    clean = images.double() / 255
    colour = clean.mean(dim=(0, 2, 3), keepdim=True)
    holes = data.holes.expand_as(clean)
    expected = (clean - colour)[holes].square().mean()
    assert parts["mean_colour"] == pytest.approx(float(expected), rel=1e-4)
    painted = overheard.calls[0][0].double()
    error = (clean - painted)[holes].square().mean()
    assert parts["reconstruction"] == pytest.approx(float(error), rel=1e-4)
    # From a discriminator that knows nothing: log 2 for being told from a real one.
    assert float(loss["generator"].detach()) == pytest.approx(
        0.999 * float(error) + 0.001 * math.log(2), rel=1e-2
    )
    assert float(loss["discriminator"].detach()) == pytest.approx(2 * math.log(2), rel=0.1)


def test_bigan_measures_pairs_and_its_first_reconstructions(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    *_, overheard, parts, _ = step("bigan", images, tiny_backbone())
    real, fake = overheard.calls[0][0], overheard.calls[1][0]
    if overheard.calls[0][1] is not False:
        real, fake = fake, real
    told = [float(r) > float(f) for r, f in zip(real, fake, strict=True)]
    assert parts["discriminator_accuracy"] == pytest.approx(sum(told) / len(told))
    assert 0.5 < parts["reconstruction_ratio"] < 1.5  # untrained: nothing to do with its image


def test_split_brain_counts_colours(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, loss = step("split_brain", images, tiny_backbone())
    logits, colours = overheard.calls[0]
    hits = (logits.argmax(dim=1) == colours).double().mean()
    assert parts["color_accuracy"] == pytest.approx(float(hits))
    counts = [int((colours == k).sum()) for k in range(81)]
    assert parts["commonest_color"] == pytest.approx(max(counts) / sum(counts))
    assert parts["color_loss"] == pytest.approx(overheard.results[0], rel=1e-5)
    assert parts["lightness_loss"] == pytest.approx(overheard.results[1], rel=1e-5)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results), rel=1e-5)


def test_aet_measures_what_is_explained(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, _, overheard, parts, loss = step("aet", images, tiny_backbone(), kind="affine")
    told, numbers = overheard.calls[0]
    error = float((told - numbers).double().square().mean())
    assert float(loss.detach()) == pytest.approx(error, rel=1e-5)
    assert parts["explained"] == pytest.approx(1 - error / supervisor.spread, rel=1e-4)


def test_colorization_measures_its_colours(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor, data, overheard, parts, loss = step("colorization", images, tiny_backbone())
    logits, bins, _, weights = overheard.calls[0]
    assert float(loss.detach()) == pytest.approx(overheard.results[0])
    hits = (logits.argmax(dim=1) == bins[:, 0]).double().mean()
    assert parts["color_accuracy"] == pytest.approx(float(hits))
    counts = [int((bins[:, 0] == k).sum()) for k in range(261)]
    assert parts["commonest_color"] == pytest.approx(max(counts) / sum(counts))
    # Nothing has been counted yet: all weigh 1, and the best answer is that all are as likely.
    assert torch.equal(weights, torch.ones_like(weights))
    assert parts["constant_loss"] == pytest.approx(math.log(261), rel=1e-5)
    said = supervisor.bins.decode(logits, 0.38).double()
    chromas = [float(ab.square().sum(dim=1).sqrt().mean()) for ab in (said, data.lab[:, 1:])]
    assert parts["colorfulness"] == pytest.approx(chromas[0] / chromas[1], rel=1e-4)


@pytest.mark.parametrize("num_negatives", [None, 5])
def test_cpc_measures_information(
    num_negatives: int | None, images: Tensor, tiny_backbone: Backbones
) -> None:
    *_, overheard, parts, loss = step(
        "cpc", images[:6], tiny_backbone(), num_negatives=num_negatives, embedding_size=8
    )
    choices = 6 * 3 * 3 if num_negatives is None else 1 + num_negatives
    mean = sum(overheard.results) / len(overheard.results)
    assert len(overheard.results) == 4  # directions; of three rows one offset
    assert float(loss.detach()) == pytest.approx(mean, rel=1e-5)
    assert parts["information"] == pytest.approx(math.log(choices) - mean, abs=1e-4)
    assert [parts[d] for d in ("down", "up", "right", "left")] == pytest.approx(overheard.results)
    assert len(overheard.calls[0][1]) == 6 * 9


def test_distillation_measures_what_is_foretold(images: Tensor, tiny_backbone: Backbones) -> None:
    *_, overheard, parts, loss = step("distillation", images, tiny_backbone())
    vectors, targets = overheard.calls[0]
    places, maps = overheard.calls[1]
    assert "guess" not in parts  # of a loss that is another one's
    cosines = F.cosine_similarity(vectors, targets, dim=1)
    assert parts["similarity"] == pytest.approx(float(cosines.mean()), rel=1e-5)
    assert parts["map_similarity"] == pytest.approx(
        float(F.cosine_similarity(places, maps, dim=1).mean()), rel=1e-5
    )
    mean = targets.mean(dim=0)  # of the first batch, of whose scale nothing was known
    to_mean = [float(F.cosine_similarity(each, mean, dim=0)) for each in targets]
    assert parts["variety"] == pytest.approx(1 - sum(to_mean) / 22, abs=1e-6)
    found, alike = 0, 0.0
    for number, vector in enumerate(vectors - vectors.mean(dim=0)):
        each = [float(F.cosine_similarity(vector, other, dim=0)) for other in targets - mean]
        found += each.index(max(each)) == number
        alike += each[number]
    assert parts["accuracy"] == pytest.approx(found / 22)
    assert parts["agreement"] == pytest.approx(alike / 22, abs=1e-5)
    assert float(loss.detach()) == pytest.approx(sum(overheard.results[:2]), rel=1e-5)
