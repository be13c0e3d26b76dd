"""Slow references: the papers' equations as loops, in float64. Several rooms append here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

# Losses, memory: float64 loops over the paper's equations.


def info_nce_in_loops(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    exclude: Tensor | None = None,
) -> float:
    """He et al. 2019, equation 1, one query and one negative at a time."""
    queries, keys, negatives = queries.double(), keys.double(), negatives.double()
    losses = []
    for b in range(len(queries)):
        positive = math.exp(
            sum(float(q * k) for q, k in zip(queries[b], keys[b], strict=True)) / temperature
        )
        total = positive
        for n in range(len(negatives)):
            if exclude is not None and bool(exclude[b, n]):
                continue
            similarity = sum(float(q * k) for q, k in zip(queries[b], negatives[n], strict=True))
            total += math.exp(similarity / temperature)
        losses.append(-math.log(positive / total))
    return sum(losses) / len(losses)


def nt_xent_in_loops(first: Tensor, second: Tensor, temperature: float) -> float:
    """Chen et al. 2020, algorithm 1: views interleaved, l(2k-1, 2k) + l(2k, 2k-1)."""
    views = [row.double() for pair in zip(first, second, strict=True) for row in pair]
    losses = []
    for i, anchor in enumerate(views):
        partner = i + 1 if i % 2 == 0 else i - 1
        denominator = 0.0
        for k, other in enumerate(views):
            if k != i:
                denominator += math.exp(float(anchor @ other) / temperature)
        numerator = math.exp(float(anchor @ views[partner]) / temperature)
        losses.append(-math.log(numerator / denominator))
    return sum(losses) / len(losses)


def cosine_regression_in_loops(predictions: Tensor, targets: Tensor) -> float:
    """Grill et al. 2020, equation 2: 2 - 2 <q, z> / (|q| |z|)."""
    total = 0.0
    for prediction, target in zip(predictions.double(), targets.double(), strict=True):
        dot = norm_p = norm_t = 0.0
        for p, t in zip(prediction.tolist(), target.tolist(), strict=True):
            dot, norm_p, norm_t = dot + p * t, norm_p + p * p, norm_t + t * t
        total += 2.0 - 2.0 * dot / math.sqrt(norm_p * norm_t)
    return total / len(predictions)


def barlow_twins_in_loops(first: Tensor, second: Tensor, weight: float) -> float:
    """Zbontar et al. 2021, equations 1 and 2: one correlation at a time, of centred columns."""
    images, size = first.shape
    columns = []
    for view in (first.double(), second.double()):
        centred = [[float(x) - sum(column) / images for x in column] for column in view.T.tolist()]
        columns.append(centred)
    loss = 0.0
    for i in range(size):
        for j in range(size):
            a, b = columns[0][i], columns[1][j]
            length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
            correlation = sum(x * y for x, y in zip(a, b, strict=True)) / length
            loss += (1 - correlation) ** 2 if i == j else weight * correlation**2
    return loss


def sigreg_in_loops(
    embeddings: Tensor, directions: Tensor, num_knots: int = 17, extent: float = 3.0
) -> float:
    """Balestriero and LeCun 2025, algorithm 1: one direction and one point of the integral a time.

    The whole integral, over both of its halves.
    """
    count, total = len(embeddings), 0.0
    points = [extent * (k / (num_knots - 1) - 1) for k in range(2 * num_knots - 1)]
    for direction in directions.T.double():
        seen = [float(row @ direction) for row in embeddings.double()]
        values = []
        for t in points:
            mean = sum(complex(math.cos(t * u), math.sin(t * u)) for u in seen) / count
            normal = math.exp(-t * t / 2)
            values.append(abs(mean - normal) ** 2 * normal)
        width = extent / (num_knots - 1)
        total += count * sum(width * (a + b) / 2 for a, b in itertools.pairwise(values))
    return total / directions.shape[1]


def neighbor_contrast_in_loops(
    views: tuple[Tensor, Tensor],
    predictions: tuple[Tensor, Tensor],
    queue: Tensor,
    temperature: float,
) -> float:
    """Dwibedi et al. 2021, section 3.2 and pseudo-code: the nearest of all, one view at a time."""
    losses = []
    for which in (0, 1):
        for place, view in enumerate(views[which].double()):
            products = [float(view @ key) for key in queue.double()]
            neighbor = queue[products.index(max(products))].double()
            similar = [
                math.exp(float(neighbor @ other) / temperature)
                for other in predictions[1 - which].double()
            ]
            losses.append(-math.log(similar[place] / sum(similar)))
    return sum(losses) / len(losses)


def vicreg_in_loops(
    first: Tensor,
    second: Tensor,
    weights: tuple[float, float, float] = (25.0, 25.0, 1.0),
    deviation: float = 1.0,
) -> float:
    """Bardes et al. 2021, equations 1 to 6: a number, and a pair of numbers, at a time."""
    images, size = first.shape
    views = [view.double().tolist() for view in (first, second)]
    invariance = sum(
        (a - b) ** 2
        for row, other in zip(*views, strict=True)
        for a, b in zip(row, other, strict=True)
    ) / (images * size)
    variance = covariance = 0.0
    for view in views:
        means = [sum(row[i] for row in view) / images for i in range(size)]
        for i in range(size):
            for j in range(size):
                common = sum((row[i] - means[i]) * (row[j] - means[j]) for row in view)
                common /= images - 1
                if i == j:
                    variance += max(0.0, deviation - math.sqrt(common + 1e-4)) / size / 2
                else:
                    covariance += common**2 / size
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


def sinkhorn_in_loops(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Caron et al. 2020, appendix A: a row a prototype; rows to 1 / K, then columns to 1 / B."""
    images, prototypes = scores.shape
    table = [
        [math.exp(float(scores[b, k]) / epsilon) for b in range(images)] for k in range(prototypes)
    ]
    for _ in range(iterations):
        for row in table:
            total = sum(row)
            row[:] = [value / total / prototypes for value in row]
        for b in range(images):
            total = sum(row[b] for row in table)
            for row in table:
                row[b] = row[b] / total / images
    return images * torch.tensor(table, dtype=torch.float64).T


def swapped_prediction_in_loops(codes: Tensor, scores: Tensor, temperature: float) -> float:
    """Caron et al. 2020, equations 2 and 6: each code against the softmax of each other view."""
    losses = []
    for i, of_view in enumerate(codes.double()):
        for v, view in enumerate(scores.double()):
            if v == i:
                continue
            for code, row in zip(of_view.tolist(), view.tolist(), strict=True):
                total = sum(math.exp(score / temperature) for score in row)
                losses.append(
                    -sum(
                        q * math.log(math.exp(score / temperature) / total)
                        for q, score in zip(code, row, strict=True)
                    )
                )
    return sum(losses) / len(losses)


def negative_cosine_in_loops(predictions: Tensor, targets: Tensor) -> float:
    """Chen and He 2020, equation 1: -(p / |p|) . (z / |z|), one image at a time."""
    total = 0.0
    for prediction, target in zip(predictions.double(), targets.double(), strict=True):
        p, z = prediction.tolist(), target.tolist()
        length_p, length_z = (math.sqrt(sum(x * x for x in vector)) for vector in (p, z))
        total -= sum(a / length_p * b / length_z for a, b in zip(p, z, strict=True))
    return total / len(predictions)


def masked_squared_error_in_loops(predictions: Tensor, targets: Tensor, mask: Tensor) -> float:
    """Weighted squares over weights, pixel by pixel; the mask has one channel."""
    total = weights = 0.0
    for b, c, h, w in itertools.product(*(range(n) for n in predictions.shape)):
        weight = float(mask[b, 0, h, w])
        total += weight * (float(predictions[b, c, h, w]) - float(targets[b, c, h, w])) ** 2
        weights += weight
    return total / weights


def bank_update_in_loops(
    rows: Tensor, index: Tensor, embeddings: Tensor, momentum: float
) -> Tensor:
    """Wu et al. 2018: m_i <- m m_i + (1 - m) v, to length 1; the last v of an image counts."""
    updated = rows.double().clone()
    last = {int(image): vector.double() for image, vector in zip(index, embeddings, strict=True)}
    for image, vector in last.items():
        blended = momentum * rows[image].double() + (1 - momentum) * vector
        updated[image] = blended / blended.square().sum().sqrt()
    return updated


def same_convolution_in_loops(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """TensorFlow's "same": ceil(size / stride) outputs, an odd padding pixel goes after."""
    batch, _, height, width = images.shape
    filters, _, kernel, _ = weight.shape
    out_h, out_w = -(-height // stride), -(-width // stride)
    top = max((out_h - 1) * stride + kernel - height, 0) // 2
    left = max((out_w - 1) * stride + kernel - width, 0) // 2
    output = torch.zeros(batch, filters, out_h, out_w, dtype=torch.float64)
    for i, j, u, v in itertools.product(range(out_h), range(out_w), range(kernel), range(kernel)):
        y, x = i * stride + u - top, j * stride + v - left
        if 0 <= y < height and 0 <= x < width:
            output[:, :, i, j] += images[:, :, y, x].double() @ weight[:, :, u, v].double().T
    return output


def largest_uniform_deviation(values: Tensor, low: float, high: float) -> float:
    """Kolmogorov-Smirnov distance between draws and the uniform distribution on [low, high]."""
    ordered = ((values.double() - low) / (high - low)).clamp(0, 1).sort().values.tolist()
    count = len(ordered)
    return max(max((i + 1) / count - v, v - i / count) for i, v in enumerate(ordered))


def knn_class_loops(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    k: int,
    temperature: float,
) -> list[int]:
    """InstDisc 3.4: neighbours by cosine, votes exp(cosine / temperature), one query at a time."""
    predictions = []
    for query in test_features.double().tolist():
        cosines = []
        for row, label in zip(train_features.double().tolist(), train_labels.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(query, row, strict=True))
            norms = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in row))
            cosines.append((dot / norms, label))
        votes: dict[int, float] = {}
        for cosine, label in sorted(cosines, reverse=True)[:k]:
            votes[label] = votes.get(label, 0.0) + math.exp(cosine / temperature)
        predictions.append(max(votes, key=lambda label: votes[label]))
    return predictions


# Optimizers and predictive coding: float64 loops.


def lars_in_loops(
    weights: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
) -> tuple[Tensor, Tensor]:
    """You et al. 2017, one number at a time; returns the new weights and velocity."""
    scaled = weights.ndim > 1
    flat, steps, speeds = (t.double().flatten().tolist() for t in (weights, gradient, velocity))
    directions = [g + weight_decay * w * scaled for w, g in zip(flat, steps, strict=True)]
    length = math.sqrt(sum(w * w for w in flat))
    step = math.sqrt(sum(d * d for d in directions))
    ratio = trust_coefficient * length / step if scaled and length > 0 and step > 0 else 1.0
    speeds = [momentum * v + ratio * d for v, d in zip(speeds, directions, strict=True)]
    moved = [w - lr * v for w, v in zip(flat, speeds, strict=True)]
    return (
        torch.tensor(moved, dtype=torch.float64).view(weights.shape),
        torch.tensor(speeds, dtype=torch.float64).view(weights.shape),
    )


def lamb_in_loops(
    weight: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    step: int,
    *,
    lr: float,
    weight_decay: float,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One step of LAMB (You et al., 2019, algorithm 2), number by number; steps count from 1."""
    first, second = (moment.clone() for moment in moments)
    directions = torch.zeros_like(weight)
    for place in itertools.product(*map(range, weight.shape)):
        first[place] = 0.9 * first[place] + 0.1 * gradient[place]
        second[place] = 0.999 * second[place] + 0.001 * gradient[place] ** 2
        mean = first[place] / (1 - 0.9**step)
        square = second[place] / (1 - 0.999**step)
        directions[place] = mean / (square.sqrt() + 1e-6)
    ratio = 1.0
    if weight.ndim > 1:
        directions = directions + weight_decay * weight
        ratio = math.sqrt((weight**2).sum()) / math.sqrt((directions**2).sum())
    return weight - lr * ratio * directions, (first, second)


def candidate_info_nce_in_loops(
    predictions: Tensor,
    candidates: Tensor,
    positives: Tensor,
    logit_scale: float,
    negatives: Tensor | None = None,
) -> float:
    """Henaff et al. 2019, equation 2: softmax over the positive and the other candidates."""
    predictions, candidates = predictions.double(), candidates.double()
    losses = []
    for p, positive in enumerate(positives.tolist()):
        others = [c for c in range(len(candidates)) if c != positive]
        if negatives is not None:
            others = negatives[p].tolist()
        logits = {
            c: logit_scale * float(predictions[p] @ candidates[c]) for c in range(len(candidates))
        }
        total = math.exp(logits[positive]) + sum(math.exp(logits[c]) for c in others)
        losses.append(math.log(total) - logits[positive])
    return sum(losses) / len(losses)


def noise_contrastive_in_loops(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    normalizer: float,
    num_images: int,
    exclude: Tensor | None = None,
) -> float:
    """Wu et al. 2018, section 3.2: sums over the noise, one image at a time."""
    noise = len(negatives) / num_images  # m * P_n
    losses = []
    for b, query in enumerate(queries.double()):
        own = math.exp(float(query @ keys[b].double()) / temperature) / normalizer
        loss = -math.log(own / (own + noise))
        for j, negative in enumerate(negatives.double()):
            if exclude is not None and bool(exclude[b, j]):
                continue
            other = math.exp(float(query @ negative) / temperature) / normalizer
            loss -= math.log(noise / (other + noise))
        losses.append(loss)
    return sum(losses) / len(losses)


def normalizer_in_loops(
    queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float, num_images: int
) -> float:
    """Wu et al. 2018, section 3.2: Z, with the own entry among the samples."""
    exponentials = []
    for query, key in zip(queries.double(), keys.double(), strict=True):
        for entry in (key, *negatives.double()):
            exponentials.append(math.exp(float(query @ entry) / temperature))
    return num_images * sum(exponentials) / len(exponentials)


def adversarial_cross_entropy_in_loops(logits: Tensor, is_real: bool) -> float:
    """Goodfellow et al. 2014: -log D for real, -log(1 - D) for fake, D = sigmoid(logit)."""
    total = 0.0
    for logit in logits.double().tolist():
        probability = 1.0 / (1.0 + math.exp(-logit))
        total -= math.log(probability if is_real else 1.0 - probability)
    return total / len(logits)


def channelwise_linear_in_loops(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pathak et al. 2016: every cell of a channel from all cells of the same channel."""
    batch, channels, height, width = maps.shape
    cells = maps.double().reshape(batch, channels, height * width)
    output = torch.zeros_like(cells)
    for b, d, to in itertools.product(range(batch), range(channels), range(height * width)):
        output[b, d, to] = bias[d, to].double()
        for origin in range(height * width):
            output[b, d, to] += cells[b, d, origin] * weight[d, origin, to].double()
    return output.reshape(maps.shape)


def alignment_in_loops(first: Tensor, second: Tensor) -> float:
    """Wang and Isola 2020, section 4.1: mean of ||f(x) - f(y)||^2 over positive pairs."""
    total = 0.0
    for a, b in zip(first.double().tolist(), second.double().tolist(), strict=True):
        a_length = math.sqrt(sum(value * value for value in a))
        b_length = math.sqrt(sum(value * value for value in b))
        total += sum((x / a_length - y / b_length) ** 2 for x, y in zip(a, b, strict=True))
    return total / len(first)


def uniformity_in_loops(features: Tensor) -> float:
    """Wang and Isola 2020, section 4.1: log E exp(-2 ||f(x) - f(y)||^2) over pairs of images."""
    rows = features.double().tolist()
    units = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in rows]
    kernels = [
        math.exp(-2.0 * sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
        for a, b in itertools.combinations(units, 2)
    ]
    return math.log(sum(kernels) / len(kernels))


def retrieval_in_loops(features: Tensor, views: Tensor) -> float:
    """Share of images whose features are those of the largest cosine with their own view."""
    rows, asked = features.double(), views.double()
    found = 0
    for n, view in enumerate(asked):
        cosines = [float(view @ row / (view.norm() * row.norm())) for row in rows]
        found += cosines.index(max(cosines)) == n
    return found / len(asked)


def rankme_by_numpy(features: Tensor, eps: float = 1e-7) -> float:
    """Garrido et al. 2022, equation 1, singular value by singular value."""
    singular = np.linalg.svd(features.double().numpy(), compute_uv=False).tolist()
    entropy = 0.0
    for value in singular:
        share = value / sum(singular) + eps
        entropy -= share * math.log(share)
    return math.exp(entropy)


def knn_shares_in_loops(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    k: int,
    temperature: float,
) -> Tensor:
    """Share of the votes exp(cosine / temperature) of `k` neighbours for each class, `[M, Y]`."""
    shares = torch.zeros(len(test_features), train_labels.shape[1], dtype=torch.float64)
    for m, query in enumerate(test_features.double()):
        cosines = [
            float(query @ row / (query.norm() * row.norm())) for row in train_features.double()
        ]
        nearest = sorted(range(len(cosines)), key=lambda n: -cosines[n])[:k]
        total = sum(math.exp(cosines[n] / temperature) for n in nearest)
        for n in nearest:
            for y in range(train_labels.shape[1]):
                if train_labels[n, y]:
                    shares[m, y] += math.exp(cosines[n] / temperature) / total
    return shares


# Pretext tasks: what the supervisors' `_forward` must come to, in float64.


def cross_entropy_in_loops(logits: Tensor, classes: Tensor) -> float:
    """-log softmax of the right class, one row of `[B, Y]` at a time."""
    losses = []
    for row, target in zip(logits.double().tolist(), classes.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(logit) for logit in row)) - row[target])
    return sum(losses) / len(losses)


def cross_entropy_of_places_in_loops(logits: Tensor, classes: Tensor) -> float:
    """Zhang et al. 2017, section 3: cross-entropy of `[B, Y, h, w]` at every place, their mean."""
    batch, _, height, width = logits.shape
    losses = []
    for b, y, x in itertools.product(range(batch), range(height), range(width)):
        row = logits[b, :, y, x].double().tolist()
        losses.append(math.log(sum(math.exp(logit) for logit in row)) - row[int(classes[b, y, x])])
    return sum(losses) / len(losses)


def squared_error_in_loops(predictions: Tensor, targets: Tensor) -> float:
    """Squares of differences, one number at a time, their mean."""
    pairs = zip(
        predictions.double().flatten().tolist(), targets.double().flatten().tolist(), strict=True
    )
    squares = [(p - t) ** 2 for p, t in pairs]
    return sum(squares) / len(squares)


def predictive_coding_in_loops(
    predictions: Tensor, targets: Tensor, offsets: tuple[int, ...], logit_scale: float
) -> float:
    """Henaff et al. 2019, the pseudo-code, for four directions, cell by cell.

    `predictions` `[4, B, K, E, n, n]` say at each cell, in a grid that was turned until "ahead" is
    below, what lies `offsets[k]` rows ahead; `targets` `[B, E, n, n]` are in the image's grid.
    The directions are down, up, right and left; where a cell of a turned grid lies in the image
    is written out here.
    """
    batch, _, side, _ = targets.shape
    last = side - 1
    in_image = [
        lambda i, j: (i, j),
        lambda i, j: (last - i, j),
        lambda i, j: (j, i),
        lambda i, j: (j, last - i),
    ]
    everything = [
        targets[b, :, y, x].double()
        for b, y, x in itertools.product(range(batch), range(side), range(side))
    ]
    means = []
    for d, place in enumerate(in_image):
        for k, offset in enumerate(offsets):
            losses = []
            for b, i, j in itertools.product(range(batch), range(side - offset), range(side)):
                foretold = logit_scale * predictions[d, b, k, :, i, j].double()
                logits = [float(foretold @ candidate) for candidate in everything]
                y, x = place(i + offset, j)
                right = logits[(b * side + y) * side + x]
                losses.append(math.log(sum(math.exp(logit) for logit in logits)) - right)
            means.append(sum(losses) / len(losses))
    return sum(means) / len(means)


def soft_colors_in_loops(
    color: tuple[float, float], centers: list[list[float]], neighbors: int, sigma: float
) -> dict[int, float]:
    """Colorful Image Colorization, section 2.2: nearest bins, weighed by a Gaussian."""
    squares = [sum((a - b) ** 2 for a, b in zip(color, center, strict=True)) for center in centers]
    nearest = sorted(range(len(centers)), key=lambda q: squares[q])[:neighbors]
    weighed = {q: math.exp(-squares[q] / (2 * sigma**2)) for q in nearest}
    return {q: weight / sum(weighed.values()) for q, weight in weighed.items()}


def color_weights_in_loops(
    prior: list[float], centers: list[list[float]], sigma: float, uniform_share: float
) -> list[float]:
    """Equation 4: one over the smoothed prior with a uniform part, of mean 1 under the former."""

    def near(one: list[float], other: list[float]) -> float:
        square = sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        return math.exp(-square / (2 * sigma**2))

    smooth = [0.0] * len(prior)
    for source, mass in enumerate(prior):
        given = [near(center, centers[source]) for center in centers]
        for q, share in enumerate(given):
            smooth[q] += mass * share / sum(given)
    inverse = [1 / ((1 - uniform_share) * p + uniform_share / len(prior)) for p in smooth]
    mean = sum(p * w for p, w in zip(smooth, inverse, strict=True))
    return [w / mean for w in inverse]


def rebalanced_cross_entropy_in_loops(
    logits: Tensor, targets: list[list[dict[int, float]]], weights: Tensor
) -> float:
    """Equation 2, as a mean over the places that count."""
    total, number = 0.0, 0
    for b in range(len(logits)):
        columns = logits[b].double().flatten(1).T.tolist()
        of_image = zip(columns, targets[b], weights[b].double().flatten().tolist(), strict=True)
        for scores, target, weight in of_image:
            top = max(scores)
            log_sum = top + math.log(sum(math.exp(score - top) for score in scores))
            number += weight > 0
            total -= weight * sum(share * (scores[q] - log_sum) for q, share in target.items())
    return total / max(number, 1)


def counting_in_loops(
    whole: Tensor, parts: Tensor, others: Tensor, margin: float, weight: float
) -> float:
    """Representation Learning by Learning to Count, equation 3: norms of whole vectors."""
    total = 0.0
    for own, summed, other in zip(whole.tolist(), parts.tolist(), others.tolist(), strict=True):
        same = sum((a - b) ** 2 for a, b in zip(own, summed, strict=True))
        apart = sum((a - b) ** 2 for a, b in zip(other, summed, strict=True))
        total += same + weight * max(0.0, margin - apart)
    return total / len(whole)


def mean_iou_in_loops(predicted: Tensor, masks: Tensor, ignored: int = 255) -> tuple[float, float]:
    """Mean intersection over union of the classes of the masks, and accuracy, pixel by pixel."""
    pairs = [
        (p, m)
        for p, m in zip(predicted.flatten().tolist(), masks.flatten().tolist(), strict=True)
        if m != ignored
    ]
    ious = []
    for label in sorted({m for _, m in pairs}):
        both = sum(p == label and m == label for p, m in pairs)
        either = sum(label in (p, m) for p, m in pairs)
        ious.append(both / either)
    return sum(ious) / len(ious), sum(p == m for p, m in pairs) / len(pairs)


def feature_match_in_loops(
    predictions: Tensor, targets: Tensor, cosine_weight: float, smooth_weight: float
) -> float:
    """Ranzinger et al. 2023, section 3: direction by direction, number by number."""
    first, second = (
        each.double().flatten(2).transpose(1, 2).reshape(-1, each.shape[1])
        if each.ndim == 4
        else each.double()
        for each in (predictions, targets)
    )
    apart, smooth = [], []
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        product = sum(a * b for a, b in zip(one, other, strict=True))
        lengths = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
        apart.append(1 - product / lengths)
        for a, b in zip(one, other, strict=True):
            distance = abs(a - b)
            smooth.append(distance**2 / 2 if distance < 1 else distance - 0.5)
    cosine = cosine_weight * sum(apart) / len(apart)
    return cosine + smooth_weight * sum(smooth) / len(smooth)


def pseudo_classes_in_loops(
    predictions: Tensor,
    targets: Tensor,
    queue: Tensor,
    temperature: float,
    teacher_temperature: float,
) -> float:
    """Fang et al. 2021, section 3.2: queue and teacher's own vector, one image at a time."""
    losses = []
    for student, teacher in zip(predictions.double(), targets.double(), strict=True):
        student, teacher = student / student.norm(), teacher / teacher.norm()
        classes = [*queue.double(), teacher]
        wanted = [math.exp(float(teacher @ each) / teacher_temperature) for each in classes]
        said = [math.exp(float(student @ each) / temperature) for each in classes]
        losses.append(
            -sum(
                w / sum(wanted) * math.log(s / sum(said)) for w, s in zip(wanted, said, strict=True)
            )
        )
    return sum(losses) / len(losses)
