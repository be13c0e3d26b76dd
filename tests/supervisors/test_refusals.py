"""A wrong value is refused by the constructor, in words, whatever the algorithm."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations import RandomResizedCrop
from super_selfish.models.color_split import SplitHead
from super_selfish.supervisors import SUPERVISORS
from super_selfish.supervisors.refusals import as_numbers, require_counts

Backbones = Callable[..., nn.Module]
NAN, INF = math.nan, math.inf

COUNTS = (0, -1, 2.5)
WIDTHS = (0, (), (0, 4), (2.5, 3), "ab")
RECIPES = ("none", RandomResizedCrop(9))  # no name, and views of another size
WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "byol": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "momentum": (-0.1, 1.1, NAN),
        "augmentation": RECIPES,
    },
    "bigan": {
        "latent_channels": COUNTS,
        "latent_grid": COUNTS,
        "players": ("full",),
        "augmentation": RECIPES,
    },
    "cmc": {
        "views_per_image": (-1, 2.5),
        "embedding_size": COUNTS,
        "num_images": (1, 0),
        "num_negatives": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "form": ("sigmoid",),
        "bank_momentum": (-0.1, 1.0, NAN),
        "positives": ("both",),
        "augmentation": RECIPES,
    },
    "aet": {
        "kind": ("Affine",),
        "scale": ((1.0,), (1.2, 0.8), (0.0, 1.0), 1.0, (NAN, 1.0)),
        "shift": (0.0, -0.1, 0.2, NAN),
        "degrees": (0.0, 181.0, NAN),
        "translate": (0.0, 1.0, NAN),
        "shear": (0.0, 90.0, NAN),
        "padding": ("zeros",),
        "fill": (-0.1, 1.1, NAN),
        "augmentation": RECIPES,
    },
    "colorization": {
        "ab_step": (0.0, -1.0, 500.0, NAN, INF),
        "bins": ([[0, 0]], [[0, 0, 0]], "no", [[NAN, 0], [0, 0]]),
        "neighbors": (262, *COUNTS),
        "sigma": (0.0, -1.0, NAN, INF),
        "prior_sigma": (0.0, -1.0, NAN, INF),
        "uniform_share": (-0.1, 1.1, NAN),
        "num_prior_images": COUNTS,
        "gray_below": (-0.1, NAN, INF),
        "temperature": (0.0, 1.1, NAN),
        "stride": (33, *COUNTS),
        "augmentation": RECIPES,
    },
    "mae": {
        "mask_ratio": (0.0, 1.0, -0.1, 1.1, NAN, 0.95, 1e-12),
        "norm_pix": (),
        "decoder_depth": COUNTS,
        "decoder_width": (*COUNTS, 2, 6),
        "decoder_heads": (*COUNTS, 3),
        "augmentation": RECIPES,
    },
    "context": {
        "decoder_widths": WIDTHS,
        "discriminator_widths": WIDTHS,
        "probability": (0.0, 1.1, NAN),
        "num_blocks": COUNTS,
        "scale": ((0.2, 0.1), (0.0, 0.0), (0.1,), 0.1),
        "ratio": ((0.0, 1.0), (2.0, 1.0), (0.5,), 1.0),
        "lambda_rec": (-0.1, NAN, INF),
        "lambda_adv": (-0.1, NAN, INF),
        "augmentation": RECIPES,
    },
    "counting": {
        "num_counts": COUNTS,
        "margin": (0.0, -1.0, NAN, INF),
        "weight": (0.0, -1.0, NAN, INF),
        "kernels": ((), ("gauss",), "area"),
        "p_grayscale": (-0.1, 1.5, NAN),
        "hidden_size": COUNTS,
        "augmentation": RECIPES,
    },
    "context_prediction": {
        "patch_fraction": (0.0, 0.1, 0.5, 1.0, NAN),
        "gap": (-0.1, 0.2, 3.0, NAN, INF),
        "jitter": (-0.1, 0.5, NAN, INF),
        "num_pairs": COUNTS,
        "colors": ("grey",),
        "p_low_resolution": (-0.1, 1.5, NAN),
        "zoom": ((0.5, 1.0), (2.0, 1.0), (NAN, 1.0), (1.0, INF), 2.0),
        "hidden_size": COUNTS,
        "augmentation": RECIPES,
    },
    "cpc": {
        "grid": (2, *COUNTS),
        "offsets": ((), (3,), (1, 1), 1),
        "embedding_size": COUNTS,
        "context_size": COUNTS,
        "context": ("none",),
        "logit_scale": (0.0, -1.0, NAN, INF),
        "num_negatives": COUNTS,
        "clip_norm": (0.0, -1.0, NAN),
        "augmentation": RECIPES,
    },
    "denoise": {
        "probability": (0.0, 1.0, NAN),
        "decoder_widths": WIDTHS,
        "augmentation": RECIPES,
    },
    "exemplar": {
        "views_per_class": (-1, 2.5),
        "num_classes": (1, 23, *COUNTS),
        "num_transforms": COUNTS,
        "max_elements": COUNTS,
        "probability": (0.0, 1.1, NAN),
    },
    "instance": {
        "views_per_image": (-1, 2.5),
        "embedding_size": COUNTS,
        "num_negatives": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "bank_momentum": (-0.1, 1.0, NAN),
        "form": ("sigmoid",),
        "proximal_weight": (-0.1, NAN, INF),
        "augmentation": RECIPES,
        "num_images": (1, 23),
    },
    "jigsaw": {
        "grid": (1, 17, *COUNTS),
        "num_permutations": (1, 25, *COUNTS),
        "num_permutations_per_image": (25, *COUNTS),
        "tile_fraction": (0.0, 1.0, 1.5, NAN),
        "p_grayscale": (-0.1, 1.5, NAN),
        "channel_shift": (-0.1, 1.0, NAN),
        "augmentation": RECIPES,
    },
    "moco": {
        "embedding_size": COUNTS,
        "queue_size": COUNTS,
        "momentum": (-0.1, 1.0, NAN),
        "temperature": (0.0, -1.0, NAN, INF),
        "norm_groups": COUNTS,
        "augmentation": (*RECIPES, ("moco",)),
    },
    "pirl": {
        "views_per_image": (-1, 2.5),
        "embedding_size": COUNTS,
        "grid": (1, 33, *COUNTS),
        "num_permutations": (1, 25, *COUNTS),
        "num_negatives": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "form": ("sigmoid",),
        "puzzle_weight": (0.0, 1.0, NAN),
        "bank_momentum": (-0.1, 1.0, NAN),
        "augmentation": RECIPES,
        "num_images": (1, 23),
    },
    "rotate": {
        "rotations": ((0,), (0, 45), (90, 90), (0, 360), (), 90, "0"),
        "augmentation": RECIPES,
    },
    "swav": {
        "num_prototypes": (1, *COUNTS),
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "epsilon": (0.0, -1.0, NAN, INF),
        "sinkhorn_iterations": COUNTS,
        "frozen_updates": (-1, 2.5),
        "queue_size": (-1, 2.5),
        "queue_after": (-1, 2.5),
        "num_small": (-1, 2.5),
        "small_size": (0, (8, 8, 8)),
        "augmentation": (*RECIPES, ("swav",)),
    },
    "dino": {
        "num_classes": (1, *COUNTS),
        "bottleneck_size": COUNTS,
        "hidden_size": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "teacher_temperature": (0.0, -1.0, NAN, INF, (0.04,), (0.04, 0.0), (NAN, 0.07)),
        "teacher_warmup_epochs": (-0.1, NAN, INF, 30),  # of a temperature that stays as well
        "clip_norm": (0.0, -1.0, NAN),
        "center_momentum": (-0.1, 1.1, NAN),
        "momentum": (-0.1, 1.1, NAN),
        "frozen_updates": (-1, 2.5),
        "keep": ("neither", ""),
        "num_small": (-1, 2.5),
        "small_size": (0, (8, 8, 8)),
        "augmentation": (*RECIPES, ("dino",)),
    },
    "barlow_twins": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "num_layers": COUNTS,
        "off_diagonal_weight": (-0.1, NAN, INF),
        "augmentation": (*RECIPES, ("byol",)),
    },
    "deep_cluster": {
        "num_clusters": ((), (1,), (23,), 5, (2.5,)),
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "kmeans_iterations": COUNTS,
        "num_small": (-1, 2.5),
        "small_size": (0, (8, 8, 8)),
        "augmentation": (*RECIPES, ("swav",)),
        "num_images": (1, 23),
        "views_per_image": (-1, 2.5),
    },
    "lejepa": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "num_layers": COUNTS,
        "sigreg_weight": (-0.1, 1.1, NAN),
        "num_directions": COUNTS,
        "num_knots": (1, 0, 2.5),
        "extent": (0.0, -1.0, NAN, INF),
        "num_large": (1, *COUNTS),
        "num_small": (-1, 2.5),
        "small_size": ((8, 8, 8),),
        "augmentation": (*RECIPES, ("lejepa",)),
    },
    "distillation": {
        "teacher_channels": ((), (0, 1), (0, 1, 3), (0, 1, 2.5), "012"),
        "teacher_size": (0, (8, 8, 8)),
        "teacher_features": ((0, 4), (3,), (3, -1)),
        "hidden_size": COUNTS,
        "feature_weight": (-0.1, NAN, INF),
        "map_weight": (-0.1, NAN, INF),
        "cosine_weight": (-0.1, NAN, INF),
        "smooth_weight": (-0.1, NAN, INF),
        "pseudo_classes": (-1, 2.5),
        "pseudo_weight": (0.0, -1.0, NAN, INF),
        "temperature": (0.0, -1.0, NAN, INF),
        "teacher_temperature": (0.0, -1.0, NAN, INF),
        "augmentation": RECIPES,
    },
    "nnclr": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "num_layers": COUNTS,
        "prediction_size": COUNTS,
        "queue_size": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "augmentation": (*RECIPES, ("byol",)),
    },
    "vicreg": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "num_layers": COUNTS,
        "invariance_weight": (-0.1, NAN, INF),
        "variance_weight": (-0.1, NAN, INF),
        "covariance_weight": (-0.1, NAN, INF),
        "deviation": (0.0, -1.0, NAN, INF),
        "augmentation": (*RECIPES, ("byol",)),
    },
    "motion": {
        "source": ("film", ""),
        "step": COUNTS,
        "mask_size": (0, (0, 4)),
        "limits": ((0.0, 0.5), (0.7, 0.4), (0.5, 1.0), (NAN, 0.5)),
        "shift": ((-0.1, 0.2), (0.3, 0.2), (0.1, 1.5), (NAN, 0.2)),
        "positive_weight": (0.0, -1.0, NAN, INF),
        "scale": ((0.5, 1.1), (0.6, 0.5)),
        "augmentation": RECIPES,
    },
    "multi_task": {
        "lasso": (-0.1, NAN, INF),
        "tasks": (("nothing",), ("bigan",), (("rotate", {"backbone": "x"}),)),
        "task_weights": ((0.0, 1.0), (1.0,), (-1.0, 1.0), (NAN, 1.0)),
        "steps": ("both", "summed "),
    },
    "simsiam": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "num_layers": COUNTS,
        "bottleneck_size": COUNTS,
        "augmentation": (*RECIPES, ("moco",)),
    },
    "simclr": {
        "embedding_size": COUNTS,
        "hidden_size": COUNTS,
        "num_layers": COUNTS,
        "temperature": (0.0, -1.0, NAN, INF),
        "augmentation": (*RECIPES, ("simclr",)),
    },
    "split_brain": {
        "l_step": (0.0, -1.0, 500.0, NAN),
        "l_offset": (NAN, INF),
        "ab_step": (0.0, -1.0, 500.0, NAN),
        "a_offset": (NAN, INF),
        "b_offset": (NAN, INF),
        "stride": (33, *COUNTS),
        "augmentation": RECIPES,
    },
}
# Networks, and switches, seeds, which every value suits.
NO_RANGE = {
    *("self", "dataset", "backbone", "predictor", "loss"),
    *("image_size", "in_channels", "normalize", "options"),
    *("prediction_head", "puzzle_predictor", "generator", "discriminator"),
    *("crop", "symmetric", "least_squares", "seed", "fix_prediction_lr"),
    *("normalize_losses", "flow", "harmonize"),
    *("teacher", "teacher_weights", "teacher_normalize", "map_adapter", "standardize"),
}
CASES = [
    (algorithm, name, value)
    for algorithm, arguments in WRONG.items()
    for name, values in arguments.items()
    for value in values
]


def test_every_argument_of_every_algorithm_is_in_the_table() -> None:
    for algorithm, kind in SUPERVISORS.items():
        names = set(inspect.signature(kind.__init__).parameters) - NO_RANGE
        assert names == set(WRONG[algorithm]), algorithm


@pytest.mark.parametrize(("algorithm", "name", "value"), CASES)
def test_a_wrong_value_is_refused_by_the_constructor_in_words(
    algorithm: str, name: str, value: Any, images: Tensor, tiny_backbone: Backbones
) -> None:
    with pytest.raises(
        ValueError, match=r"got|asked for|leaves no gap|(classes|images) is|task|no algorithm"
    ):
        SUPERVISORS[algorithm](images, tiny_backbone(), **{name: value})


class Constant(nn.Module):
    """A head of some shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))
        self.wants_map = len(shape) == 3

    def forward(self, features: Tensor) -> Tensor:
        return self.value.expand(len(features), *self.value.shape)


@pytest.mark.parametrize(
    ("algorithm", "head", "arguments", "message"),
    [
        ("rotate", (3,), {}, "gives 3 numbers, but there are 4 rotations to tell apart"),
        ("jigsaw", (23,), {}, "gives 23 numbers, but there are 24 permutations to tell apart"),
        ("exemplar", (23,), {}, "gives 23 numbers, but there are 22 images to tell apart"),
        ("byol", (9,), {}, "predictor= gives 9 numbers, embedding_size is 256: give embedding"),
        ("cmc", (9,), {}, "predictor= gives 9 numbers, embedding_size is 128: give embedding"),
        ("instance", (9,), {}, "predictor= gives 9 numbers, embedding_size is 128: give embedd"),
        ("moco", (9,), {}, "predictor= gives 9 numbers, embedding_size is 128: give embedding"),
        ("pirl", (9,), {}, "predictor= gives 9 numbers, embedding_size is 128: give embedding"),
        ("swav", (9,), {}, "predictor= gives 9 numbers, embedding_size is 128: give embedding"),
        ("barlow_twins", (9,), {"embedding_size": 8}, "gives 9 numbers, embedding_size is 8: give"),
        ("deep_cluster", (9,), {}, "predictor= gives 9 numbers, embedding_size is 128: give em"),
        ("lejepa", (9,), {}, "predictor= gives 9 numbers, embedding_size is 64: give embedding"),
        ("distillation", (9,), {}, "predictor= gives 9 numbers, but the teacher has 12 to foret"),
        ("nnclr", (9,), {}, "predictor= gives 9 numbers, embedding_size is 256: give embedding"),
        ("vicreg", (9,), {"embedding_size": 8}, "gives 9 numbers, embedding_size is 8: give embed"),
        ("simsiam", (9,), {"embedding_size": 8}, "gives 9 numbers, embedding_size is 8: give embe"),
        ("simclr", (9,), {}, "predictor= gives 9 numbers, embedding_size is 256: give embedding"),
        ("denoise", (1, 32, 32), {}, r"must give images \[3, 32, 32\], got \[1, 32, 32\]"),
        ("mae", (16, 9), {}, r"could not take tokens .*1 to 2 positional|positional arguments"),
        ("context", (3, 16, 16), {}, r"must give images \[3, 32, 32\], got \[3, 16, 16\]"),
    ],
)
def test_a_head_of_another_width_is_refused(
    algorithm: str,
    head: tuple[int, ...],
    arguments: dict[str, Any],
    message: str,
    images: Tensor,
    tiny_backbone: Backbones,
) -> None:
    with pytest.raises(ValueError, match=message):
        SUPERVISORS[algorithm](images, tiny_backbone(), Constant(*head), **arguments)


@pytest.mark.parametrize(
    ("algorithm", "name"), [("byol", "prediction"), ("nnclr", "prediction"), ("pirl", "puzzle")]
)
def test_a_second_head_of_another_width_is_refused(
    algorithm: str, name: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    head = {"prediction": "prediction_head", "puzzle": "puzzle_predictor"}[name]
    with pytest.raises(ValueError, match=f"^{head}= gives 9 numbers, embedding_size is 16"):
        SUPERVISORS[algorithm](images, tiny_backbone(), embedding_size=16, **{head: Constant(9)})


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        ((80, 50), r"must tell colours from lightness as \[81, 8, 8\], got \[80, 8, 8\]"),
        ((81, 49), r"must tell lightness from colours as \[50, 8, 8\], got \[49, 8, 8\]"),
    ],
)
def test_decoders_of_other_bins_are_refused(
    bins: tuple[int, int], message: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    color, lightness = (nn.Conv2d(16, size, 1) for size in bins)
    with pytest.raises(ValueError, match=message):
        SUPERVISORS["split_brain"](
            images, tiny_backbone(), SplitHead(color, lightness, 16, wants_map=True)
        )


def test_a_loss_of_ones_own_may_want_other_outputs(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    head = nn.Linear(16, 2)
    supervisor = SUPERVISORS["rotate"](
        images, tiny_backbone(), head, loss=lambda outputs, _: outputs.mean()
    )
    supervisor.supervise(epochs=1, batch_size=11, name=None)
    assert supervisor.get_predictor() is head


def test_counts_are_whole_and_from_one_on() -> None:
    require_counts(one=1, none=None, large=torch.tensor(7))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^apples must be at least 1, got 0$"):
        require_counts(pears=3, apples=0)
    with pytest.raises(ValueError, match=r"^apples must be a whole number, got 1.5$"):
        require_counts(apples=1.5)  # type: ignore[arg-type]


def test_sequences_have_their_length() -> None:
    assert as_numbers("x", [1, 2]) == (1, 2)
    with pytest.raises(ValueError, match=r"^x must be 2 numbers \(low, high\), got \(1,\)$"):
        as_numbers("x", (1,), 2)
    with pytest.raises(ValueError, match=r"^x must be a sequence of numbers, got 3$"):
        as_numbers("x", 3)  # type: ignore[arg-type]
