"""Numbers at the edge of their range are taken, and those just beyond it refused by name."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
from torch import nn

from super_selfish.supervisors import SUPERVISORS
from tests.papers.test_heads import Wide, wide


class Edge(NamedTuple):
    """An argument, values that are taken, and values that are refused."""

    name: str
    taken: list[Any]
    refused: list[Any]


TINY, LARGE = 1e-9, 1 - 1e-9
COUNT = {"taken": [1], "refused": [0, -1]}
MOMENTUM = {"taken": [0.0, LARGE], "refused": [-TINY, 1.0]}

EDGES: dict[str, list[Edge]] = {
    "rotate": [Edge("rotations", [(0, 90), (270, 180)], [(0,), (0, 91), (0, 360), ()])],
    "exemplar": [
        Edge("num_classes", [2], [1, 0]),
        Edge("num_transforms", **COUNT),
        Edge("max_elements", **COUNT),
        Edge("probability", [1.0, TINY], [0.0, 1 + TINY]),
    ],
    "jigsaw": [
        Edge("grid", [2], [1, 0]),
        Edge("num_permutations", [2, 24], [1, 25]),
        Edge("num_permutations_per_image", [1, 24], [0, 25]),
        Edge("tile_fraction", [0.9], [1.0, 0.0]),
        Edge("channel_shift", [0.0, TINY, LARGE], [-TINY, 1.0]),
        Edge("p_grayscale", [0.0, 1.0], [-TINY, 1 + TINY]),
    ],
    "aet": [
        Edge("kind", ["affine"], ["Affine", "euclidean"]),
        Edge("scale", [(0.6, 0.7)], [(0.5, 1.2), (1.0, 1.0), (1.2, 0.8), (0.0, 1.0)]),
        Edge("shift", [TINY, 0.199], [0.0, 0.2]),
        Edge("degrees", [TINY, 180.0], [0.0, 180.1]),
        Edge("translate", [TINY, LARGE], [0.0, 1.0]),
        Edge("shear", [TINY, 89.9], [0.0, 90.0]),
        Edge("padding", ["reflect"], ["zeros"]),
        Edge("fill", [0.0, 1.0], [-TINY, 1 + TINY]),
    ],
    "colorization": [
        Edge("ab_step", [TINY + 5, 60.0], [0.0, -1.0, 240.0, math.inf]),
        Edge("bins", [[(0, 0), (9, 9), (5, 5), (2, 2), (1, 1)]], [[(0, 0), (9, 9)]]),
        Edge("neighbors", [1, 261], [0, 262]),
        Edge("sigma", [TINY], [0.0, math.inf]),
        Edge("prior_sigma", [TINY], [0.0, math.inf]),
        Edge("uniform_share", [0.0, 1.0], [-TINY, 1 + TINY]),
        Edge("num_prior_images", **COUNT),
        Edge("gray_below", [0.0], [-TINY, math.inf]),
        Edge("temperature", [TINY, 1.0], [0.0, 1 + TINY]),
        Edge("stride", [1, 32], [0, 33]),
    ],
    "counting": [
        Edge("num_counts", **COUNT),
        Edge("margin", [TINY], [0.0, math.inf]),
        Edge("weight", [TINY], [0.0, math.inf]),
        Edge("kernels", [("nearest",), ("lanczos",)], [(), ("Lanczos",), "area"]),
        Edge("p_grayscale", [0.0, 1.0], [-TINY, 1 + TINY]),
        Edge("hidden_size", **COUNT),
    ],
    "context_prediction": [
        Edge("patch_fraction", [6 / 32, 0.4374], [0.187, 14 / 32]),
        Edge("gap", [3 / 12, 0.749], [0.249, 9 / 12]),
        Edge("jitter", [0.0, 0.249], [0.25, -TINY]),
        Edge("zoom", [(1.0, 1.0), (1.0, 1.8)], [(1 - TINY, 1.0), (1.5, 1.4), (1.0, math.inf)]),
        Edge("num_pairs", **COUNT),
        Edge("colors", ["project", "keep"], ["grey"]),
        Edge("p_low_resolution", [0.0, 1.0], [-TINY, 1 + TINY]),
        Edge("hidden_size", **COUNT),
    ],
    "denoise": [Edge("probability", [TINY, LARGE], [0.0, 1.0])],
    "mae": [
        Edge("mask_ratio", [0.001, 0.937], [0.0, 0.938, 1.0, math.nan]),  # of 16 patches
        Edge("decoder_depth", **COUNT),
        Edge("decoder_width", [4, 36], [0, -4, 2, 6]),
        Edge("decoder_heads", [1, 32], [0, 3]),
    ],
    "context": [
        Edge("probability", [1.0, TINY], [0.0, 1 + TINY]),
        Edge("num_blocks", **COUNT),
        Edge("lambda_rec", [0.0], [-TINY, math.inf]),
        Edge("lambda_adv", [0.0], [-TINY, math.inf]),
    ],
    "split_brain": [
        Edge("l_step", [0.5, 60.0], [0.0, -1.0, 101.0]),
        Edge("ab_step", [7.0, 120.0], [0.0, -1.0, 240.0]),
        Edge("l_offset", [0.0, 5.0], [math.inf, math.nan]),
        Edge("stride", [1, 32], [0, 33]),
    ],
    "bigan": [Edge("latent_channels", **COUNT), Edge("latent_grid", **COUNT)],
    "instance": [
        Edge("embedding_size", **COUNT),
        Edge("num_negatives", **COUNT),
        Edge("temperature", [TINY], [0.0]),
        Edge("bank_momentum", **MOMENTUM),
        Edge("proximal_weight", [0.0], [-TINY, math.inf]),
        Edge("num_images", [2], [1]),
        Edge("form", ["nce"], ["NCE"]),
        Edge("augmentation", ["paper", "simclr", None], ["Paper"]),
    ],
    "cmc": [
        Edge("embedding_size", **COUNT),
        Edge("num_negatives", **COUNT),
        Edge("temperature", [TINY], [0.0]),
        Edge("bank_momentum", **MOMENTUM),
        Edge("num_images", [2], [1]),
        Edge("form", ["nce"], ["NCE"]),
        Edge("positives", ["batch"], ["both"]),
        Edge("augmentation", ["paper", "simclr", None], ["Paper"]),
    ],
    "pirl": [
        Edge("embedding_size", **COUNT),
        Edge("num_negatives", **COUNT),
        Edge("temperature", [TINY], [0.0]),
        Edge("bank_momentum", **MOMENTUM),
        Edge("puzzle_weight", [TINY, LARGE], [0.0, 1.0]),
        Edge("grid", [2], [1]),
        Edge("num_permutations", [2, 24], [1, 25]),
        Edge("form", ["nce"], ["NCE"]),
        Edge("augmentation", ["paper", "simclr", None], ["Paper"]),
    ],
    "moco": [
        Edge("embedding_size", **COUNT),
        Edge("queue_size", **COUNT),
        Edge("norm_groups", **COUNT),
        Edge("momentum", **MOMENTUM),
        Edge("temperature", [TINY], [0.0]),
        Edge("augmentation", ["byol", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "byol": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("momentum", [0.0, 1.0], [-TINY, 1 + TINY]),
    ],
    "swav": [
        Edge("num_prototypes", [2], [1, 0]),
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("temperature", [TINY], [0.0, math.inf]),
        Edge("epsilon", [TINY], [0.0, math.inf]),
        Edge("sinkhorn_iterations", **COUNT),
        Edge("frozen_updates", [0], [-1]),
        Edge("queue_size", [0], [-1]),
        Edge("queue_after", [0], [-1]),
        Edge("num_small", [0], [-1]),
        Edge("small_size", [32, (32, 32)], [0, 31, (32,), (32, 33)]),  # of a stride of 32
        Edge("augmentation", ["swav", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "dino": [
        Edge("num_classes", [2], [1, 0]),
        Edge("bottleneck_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("temperature", [TINY], [0.0, math.inf]),
        Edge("teacher_temperature", [TINY, (0.04, TINY)], [0.0, math.inf, (0.04, 0.0), (0.04,)]),
        Edge("teacher_warmup_epochs", [0, TINY], [-TINY, math.inf]),
        Edge("clip_norm", [TINY, None], [0.0, -1.0]),
        Edge("center_momentum", [0.0, 1.0], [-TINY, 1 + TINY]),
        Edge("momentum", [0.0, 1.0], [-TINY, 1 + TINY]),
        Edge("frozen_updates", [0], [-1]),
        Edge("keep", ["teacher", "student"], ["Teacher", "both"]),
        Edge("num_small", [0], [-1]),
        Edge("small_size", [32, (32, 32)], [0, 31, (32,), (32, 33)]),  # of a stride of 32
        Edge(
            "augmentation",
            ["dino", ("moco", "simclr"), ("dino-1", "dino-2", "dino-small"), None],
            ["paper", ("moco",), ("moco",) * 4],
        ),
    ],
    "barlow_twins": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("num_layers", **COUNT),
        Edge("off_diagonal_weight", [0.0], [-TINY, math.inf]),
        Edge("augmentation", ["byol", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "deep_cluster": [
        Edge("num_clusters", [(2,), (2, 3)], [(), (1,), (2, 1)]),
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("temperature", [TINY], [0.0, math.inf]),
        Edge("kmeans_iterations", **COUNT),
        Edge("num_small", [0], [-1]),
        Edge("small_size", [32, (32, 32)], [0, 31, (32,), (32, 33)]),  # of a stride of 32
        Edge("num_images", [2], [1]),
        Edge("augmentation", ["swav", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "lejepa": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("num_layers", **COUNT),
        Edge("sigreg_weight", [0.0, 1.0], [-TINY, 1 + TINY]),
        Edge("num_directions", **COUNT),
        Edge("num_knots", [2], [1]),
        Edge("extent", [TINY], [0.0, math.inf]),
        Edge("num_large", [2], [1]),
        Edge("num_small", [0], [-1]),
        Edge("small_size", [32, (32, 32)], [0, 31, (32,), (32, 33)]),  # of a stride of 32
        Edge("augmentation", ["lejepa", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "distillation": [
        Edge("teacher_channels", [(2, 1, 0), (0, 0, 0), None], [(), (3,), (-1, 0, 1), "012"]),
        Edge("teacher_features", [(1, 0), (5, 7), None], [(0, 1), (1, -1), (3,), 5]),
        Edge("hidden_size", **COUNT),
        Edge("feature_weight", [TINY, LARGE], [0.0, -TINY, math.inf]),
        Edge("map_weight", [0.0, LARGE], [-TINY, math.inf]),
        Edge("cosine_weight", [0.0, LARGE], [-TINY, math.inf]),
        Edge("smooth_weight", [0.0, LARGE], [-TINY, math.inf]),
        Edge("pseudo_classes", [0, 1], [-1]),
        Edge("pseudo_weight", [TINY], [0.0, math.inf]),
        Edge("temperature", [TINY], [0.0, math.inf]),
        Edge("teacher_temperature", [TINY], [0.0, math.inf]),
        Edge("augmentation", ["byol-1", "mild", None], ["paper"]),
    ],
    "nnclr": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("num_layers", **COUNT),
        Edge("prediction_size", **COUNT),
        Edge("queue_size", **COUNT),
        Edge("temperature", [TINY], [0.0, math.inf]),
        Edge("augmentation", ["byol", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "vicreg": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("num_layers", **COUNT),
        Edge("invariance_weight", [0.0], [-TINY, math.inf]),
        Edge("variance_weight", [0.0], [-TINY, math.inf]),
        Edge("covariance_weight", [0.0], [-TINY, math.inf]),
        Edge("deviation", [TINY], [0.0, math.inf]),
        Edge("augmentation", ["byol", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "simsiam": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("num_layers", **COUNT),
        Edge("bottleneck_size", **COUNT),
        Edge("augmentation", ["byol", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "simclr": [
        Edge("embedding_size", **COUNT),
        Edge("hidden_size", **COUNT),
        Edge("num_layers", **COUNT),
        Edge("temperature", [TINY], [0.0]),
        Edge("augmentation", ["byol", ("moco", "simclr"), None], ["paper", ("moco",)]),
    ],
    "motion": [
        Edge("source", ["video", "masks", "synthetic", None], ["Video", ""]),
        Edge("step", **COUNT),
        Edge("mask_size", [1, (8, 9)], [0, (0, 1)]),
        Edge("limits", [(TINY, 0.5), (0.5, 0.5)], [(0.0, 0.5), (0.5, 1.0), (0.6, 0.5)]),
        Edge("shift", [(0.0, 1.0), (0.0, 0.0)], [(-0.1, 0.5), (0.5, 1.1), (0.6, 0.5)]),
        Edge("positive_weight", [TINY], [0.0, -1.0]),
        Edge("scale", [(TINY, 1.0)], [(0.5, 1.1), (0.6, 0.5)]),
        Edge("augmentation", ["simclr", None], ["Paper"]),
    ],
    "multi_task": [
        Edge("task_weights", [(TINY, 1.0), None], [(0.0, 1.0), (1.0, -1.0), (1.0,)]),
        Edge("steps", ["alternating", "summed"], ["both"]),
        Edge("lasso", [None], [-TINY, math.inf, math.nan]),
        Edge("tasks", [("rotate",), (("jigsaw", {"grid": 2}),)], [("bigan",), ("x",)]),
    ],
    "cpc": [
        Edge("grid", [3, 7], [2, 0]),
        Edge("offsets", [(1,), (2,)], [(), (0,), (3,), (1, 1)]),
        Edge("embedding_size", **COUNT),
        Edge("context_size", **COUNT),
        Edge("context", ["plain", "residual"], ["Residual", ""]),
        Edge("num_negatives", **COUNT),
        Edge("clip_norm", [TINY, None], [0.0, -1.0]),
        Edge("logit_scale", [TINY], [0.0]),
        Edge("augmentation", ["paper", "simclr", None], ["Paper"]),
    ],
}

ROWS = [(algorithm, edge) for algorithm, edges in EDGES.items() for edge in edges]


def build(algorithm: str, name: str, value: Any) -> Any:
    others: dict[str, Any] = (
        {"num_permutations": 2}
        if algorithm == "pirl" and name not in ("num_permutations", "grid")
        else {}
    )
    if name == "teacher_warmup_epochs":
        others = {"teacher_temperature": (0.04, 0.07)}
    return SUPERVISORS[algorithm](
        backbone=wide(algorithm, 4), image_size=32, **{**others, name: value}
    )


def test_every_algorithm_has_edges() -> None:
    assert set(EDGES) == set(SUPERVISORS)


@pytest.mark.parametrize(("algorithm", "edge"), ROWS, ids=lambda value: str(value)[:40])
def test_the_edges_of_a_range_are_taken_and_what_lies_beyond_is_refused(
    algorithm: str, edge: Edge
) -> None:
    for value in edge.taken:
        build(algorithm, edge.name, value)
    for value in edge.refused:
        with pytest.raises(ValueError):
            build(algorithm, edge.name, value)


def test_both_weights_of_the_context_encoder_are_not_nothing() -> None:
    with pytest.raises(ValueError, match="not both 0"):
        SUPERVISORS["context"](image_size=32, backbone=Wide(4), lambda_rec=0.0, lambda_adv=0.0)


@pytest.mark.parametrize(
    ("algorithm", "head", "inside"),
    [
        ("pirl", "puzzle_predictor", 4),
        ("pirl", "predictor", 4),
        ("byol", "prediction_head", 8),
        ("byol", "predictor", 4),
        ("instance", "predictor", 4),
        ("cmc", "predictor", 4),
        ("moco", "predictor", 4),
        ("simclr", "predictor", 4),
        ("swav", "predictor", 4),
        ("barlow_twins", "predictor", 4),
        ("vicreg", "predictor", 4),
        ("deep_cluster", "predictor", 4),
        ("lejepa", "predictor", 4),
        ("nnclr", "predictor", 4),
        ("nnclr", "prediction_head", 8),
        ("simsiam", "predictor", 4),
        ("simsiam", "prediction_head", 8),
    ],
)
def test_a_head_of_one_s_own_has_the_width_of_the_space(
    algorithm: str, head: str, inside: int
) -> None:
    others = {"num_permutations": 2} if algorithm == "pirl" else {}
    for width, is_right in ((8, True), (7, False)):
        given: dict[str, Any] = {head: nn.Linear(inside, width), "embedding_size": 8, **others}
        if is_right:
            SUPERVISORS[algorithm](backbone=Wide(4), image_size=32, **given)
            continue
        with pytest.raises(ValueError, match=head):
            SUPERVISORS[algorithm](backbone=Wide(4), image_size=32, **given)
