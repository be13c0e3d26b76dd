"""One contract for every algorithm: a new one joins by its line in `SUPERVISORS`."""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch, Collator
from super_selfish.models import EfficientFeatures
from super_selfish.supervisors import SUPERVISORS, Supervisor
from super_selfish.training.acceleration import lay_out
from super_selfish.training.run import total
from tests.conftest import OF_TRANSFORMERS, pictures, same_backbone
from tests.outside.similarity import SimilaritySupervisor

Backbones = Callable[..., nn.Module]
# Those of the library, and one that somebody has written outside of it.
ALGORITHMS: dict[str, type[Any]] = {**SUPERVISORS, "outside": SimilaritySupervisor}
every_algorithm = pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
every_one_of_ours = pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))


# Every algorithm with other arguments than its defaults, where these change what is kept or seen.
OTHER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "byol": {"embedding_size": 12, "hidden_size": 20, "momentum": 0.9},
    "bigan": {"latent_channels": 3, "latent_grid": 1},
    "cmc": {"form": "nce", "positives": "batch", "augmentation": "paper", "num_negatives": 5},
    "aet": {"kind": "affine", "shear": 10.0, "padding": "reflect", "crop": False},
    "colorization": {
        "ab_step": 30.0,
        "neighbors": 3,
        "uniform_share": 0.9,
        "num_prior_images": 7,
        "stride": 8,
        "crop": False,
    },
    "context": {"least_squares": True, "lambda_rec": 0.5, "lambda_adv": 0.5, "num_blocks": 3},
    "counting": {"num_counts": 12, "margin": 3.0, "kernels": ("area",), "hidden_size": 20},
    "context_prediction": {
        "patch_fraction": 0.4,
        "zoom": (1.0, 1.5),
        "num_pairs": 2,
        "colors": "project",
        "hidden_size": 20,
    },
    "cpc": {
        "offsets": (1, 2),
        "num_negatives": 3,
        "context": "residual",
        "context_size": 8,
        "embedding_size": 12,
        "augmentation": "paper",
        "clip_norm": None,
    },
    "denoise": {"probability": 0.2},
    "mae": {
        "mask_ratio": 0.5,
        "norm_pix": False,
        "decoder_depth": 1,
        "decoder_width": 8,
        "decoder_heads": 2,
    },
    "exemplar": {"num_classes": 12, "num_transforms": 7, "max_elements": 3, "seed": 4},
    "instance": {"form": "nce", "augmentation": "paper", "bank_momentum": 0.2},
    "jigsaw": {
        "grid": 3,
        "num_permutations": 30,
        "num_permutations_per_image": 7,
        "tile_fraction": 0.7,
        "channel_shift": 0.1,
    },
    "moco": {"queue_size": 10, "symmetric": True, "momentum": 0.9, "embedding_size": 12},
    "motion": {"mask_size": 6, "limits": (0.3, 0.6), "positive_weight": 2.0, "scale": (0.8, 1.0)},
    "multi_task": {
        "tasks": ("rotate", ("instance", {"embedding_size": 12})),
        "steps": "summed",
        "task_weights": (1.0, 0.5),
        "lasso": 0.1,
        "harmonize": True,
    },
    "pirl": {"form": "nce", "augmentation": "paper", "grid": 3, "num_permutations": 30},
    "rotate": {"rotations": (180, 0), "crop": False},
    "outside": {"temperature": 0.2},
    "swav": {
        "num_prototypes": 30,
        "embedding_size": 12,
        "queue_size": 10,
        "queue_after": 0,
        "frozen_updates": 2,
        "num_small": 1,
        "small_size": (20, 16),
    },
    "dino": {
        "num_classes": 30,
        "bottleneck_size": 6,
        "hidden_size": 12,
        "teacher_temperature": (0.04, 0.07),
        "teacher_warmup_epochs": 0.5,
        "clip_norm": None,
        "frozen_updates": 2,
        "num_small": 1,
        "small_size": (20, 16),
    },
    "distillation": {
        "hidden_size": 20,
        "map_weight": 0.5,
        "smooth_weight": 0.3,
        "standardize": False,
        "pseudo_classes": 10,
        "teacher_size": 24,
        "teacher_channels": (2, 1, 0),
    },
    "barlow_twins": {"embedding_size": 12, "hidden_size": 20, "num_layers": 2},
    "deep_cluster": {
        "num_clusters": (5, 4),
        "embedding_size": 12,
        "hidden_size": 20,
        "kmeans_iterations": 3,
        "num_small": 1,
        "small_size": (20, 16),
        "views_per_image": 0,
    },
    "lejepa": {
        "embedding_size": 12,
        "hidden_size": 20,
        "num_layers": 2,
        "num_directions": 30,
        "num_knots": 5,
        "num_large": 3,
        "num_small": 1,
        "small_size": (20, 16),
    },
    "nnclr": {
        "embedding_size": 12,
        "hidden_size": 20,
        "num_layers": 2,
        "prediction_size": 9,
        "queue_size": 10,
    },
    "vicreg": {"embedding_size": 12, "hidden_size": 20, "num_layers": 2, "deviation": 0.5},
    "simsiam": {"embedding_size": 12, "hidden_size": 20, "num_layers": 3, "bottleneck_size": 5},
    "simclr": {"embedding_size": 12, "hidden_size": 20, "num_layers": 3, "temperature": 0.5},
    "split_brain": {"ab_step": 30.0, "stride": 8, "crop": False},
}


# Whose heads and losses are those of its tasks.
HEADLESS = {"multi_task"}


def build(algorithm: str, dataset: Any, backbone: Any, **arguments: Any) -> Supervisor:
    torch.manual_seed(0)
    return ALGORITHMS[algorithm](dataset, backbone=backbone, **arguments)


def batch_of(supervisor: Supervisor, images: Tensor) -> Any:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(0)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def weights(supervisor: Supervisor) -> Tensor:
    return torch.cat([value.flatten().double() for value in supervisor.state_dict().values()])


def losses(supervisor: Supervisor) -> list[float]:
    return [row["loss"] for row in supervisor.history]


class StopError(Exception):
    pass


def stop_before(supervisor: Supervisor, step: int) -> None:
    forward = supervisor._forward

    def stopping(data: Any) -> Any:
        assert supervisor.run is not None
        if supervisor.run.global_step == step:
            raise StopError
        return forward(data)

    supervisor._forward = stopping  # type: ignore[method-assign]


@every_algorithm
def test_the_loss_is_a_finite_scalar(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build(algorithm, images, tiny_backbone())
    loss = supervisor(batch_of(supervisor, images))
    parts = loss.values() if isinstance(loss, dict) else [loss]
    for part in parts:
        assert part.shape == ()
        assert torch.isfinite(part)


@every_algorithm
def test_everything_that_trains_gets_a_gradient_and_nothing_else_does(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build(algorithm, images, tiny_backbone())
    got: dict[str, bool] = {}
    for seed in range(3):  # a unit may rest for one batch
        torch.manual_seed(seed)
        total(supervisor(batch_of(supervisor, images[:8]))).backward()
        for name, parameter in supervisor.named_parameters():
            has = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            got[name] = got.get(name, False) or has
    for name, parameter in supervisor.named_parameters():
        assert got[name] == parameter.requires_grad, name


@every_algorithm
def test_everything_that_trains_moves_in_training_and_nothing_is_trained_twice(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = build(algorithm, images[:16], tiny_backbone())
    before = {name: p.detach().clone() for name, p in supervisor.named_parameters()}
    supervisor.supervise(lr=0.01, epochs=3, batch_size=8, name=None)
    for name, parameter in supervisor.named_parameters():
        if parameter.requires_grad:
            assert not torch.equal(parameter, before[name]), name
    assert all(math.isfinite(loss) for loss in losses(supervisor))


@every_algorithm
def test_equal_seeds_give_equal_runs_with_any_number_of_workers(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    runs = []
    for num_workers in (0, 2):
        supervisor = build(algorithm, images[:14], tiny_backbone())
        supervisor.supervise(epochs=2, batch_size=8, name=None, num_workers=num_workers)
        runs.append((losses(supervisor), weights(supervisor)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


class Whole(NamedTuple):
    """A run that never stopped, and its checkpoint."""

    algorithm: str
    arguments: dict[str, Any]
    images: Tensor
    supervisor: Supervisor
    name: Path


OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 8}
# Heads of millions take seconds to store, and keep nothing more than with other arguments.
LARGE_BY_DEFAULT = {"bigan", "cpc", "jigsaw", "pirl"}
EITHER_WAY = [
    pytest.param(
        (algorithm, other),
        id=f"{algorithm}-{other}",
        marks=pytest.mark.slow if algorithm in LARGE_BY_DEFAULT and not other else (),
    )
    for algorithm in sorted(ALGORITHMS)
    for other in (False, True)
]


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Of two steps an epoch, with the default arguments or with others."""
    algorithm, is_other = request.param
    arguments = OTHER_ARGUMENTS[algorithm] if is_other else {}
    images = pictures(16)
    name = tmp_path_factory.mktemp("whole") / "base"
    supervisor = build(algorithm, images, same_backbone(algorithm), **arguments)
    supervisor.supervise(**OPTIONS, name=name)
    return Whole(algorithm, arguments, images, supervisor, name)


@pytest.mark.parametrize("whole", EITHER_WAY, indirect=True)
def test_save_load_and_go_on_equals_never_having_stopped(whole: Whole, tmp_path: Path) -> None:
    stopped = build(
        whole.algorithm, whole.images, same_backbone(whole.algorithm), **whole.arguments
    )
    stop_before(stopped, 3)  # in the middle of the second epoch of two steps
    with pytest.raises(StopError):
        stopped.supervise(**OPTIONS, name=tmp_path / "base", checkpoint_every=3)
    torch.manual_seed(9)  # whatever the new networks are, the checkpoint replaces
    backbone = same_backbone(whole.algorithm)
    resumed = ALGORITHMS[whole.algorithm](whole.images, backbone=backbone, **whole.arguments)
    resumed.supervise(**OPTIONS, name=tmp_path / "base", resume=True)
    assert losses(resumed) == losses(whole.supervisor)
    assert torch.equal(weights(resumed), weights(whole.supervisor))


@pytest.mark.parametrize("whole", EITHER_WAY, indirect=True)
def test_loading_needs_no_dataset(whole: Whole) -> None:
    loaded = ALGORITHMS[whole.algorithm](backbone=same_backbone(whole.algorithm)).load(whole.name)
    assert loaded.image_size == (32, 32)
    trained_state, loaded_state = whole.supervisor.state_dict(), loaded.state_dict()
    assert trained_state.keys() == loaded_state.keys()
    for name, value in trained_state.items():
        assert torch.equal(value, loaded_state[name]), name
    whole.supervisor.eval()
    loaded.eval()
    lay_out(loaded, None)  # as supervise() did: the layout decides the order of sums
    data = batch_of(whole.supervisor, whole.images[:12])
    first, second = (total(s(data)) for s in (whole.supervisor, loaded))
    assert torch.equal(first, second)


# Those that take other networks than the rest, several of them, or leave them to their parts.
BUILT_IN_OTHER_WAYS = {
    "rotate",
    "cmc",
    "split_brain",
    "cpc",
    "dino",
    "mae",
    "multi_task",
    "outside",
}


@pytest.mark.parametrize(
    "algorithm",
    [
        name if name in BUILT_IN_OTHER_WAYS else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(ALGORITHMS)
    ],
)
def test_a_checkpoint_asks_for_a_backbone_of_the_users_own(
    algorithm: str, images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    build(algorithm, images, tiny_backbone()).save(tmp_path / "base")
    own = rf"backbone={type(tiny_backbone()).__name__}\(\.\.\.\), an object of your own"
    with pytest.raises(ValueError, match=own):
        ALGORITHMS[algorithm](image_size=32).load(tmp_path / "base")


@every_algorithm
def test_no_algorithm_has_a_training_loop_of_its_own(algorithm: str) -> None:
    kind = ALGORITHMS[algorithm]
    assert kind._epochs is Supervisor._epochs
    assert kind.supervise is Supervisor.supervise


@every_algorithm
@pytest.mark.parametrize("number", [2, 3])
def test_a_dataset_smaller_than_a_batch_trains(
    algorithm: str, images: Tensor, tiny_backbone: Backbones, number: int
) -> None:
    supervisor = build(algorithm, images[:number], tiny_backbone())
    before = weights(supervisor)
    supervisor.supervise(epochs=1, batch_size=8, name=None)
    assert not torch.equal(weights(supervisor), before)


@every_algorithm
@pytest.mark.parametrize("size", [(16, 16), (32, 32), (64, 64), (96, 128)])
def test_sizes_square_or_not(
    algorithm: str, generator: torch.Generator, tiny_backbone: Backbones, size: tuple[int, int]
) -> None:
    images = torch.randint(256, (4, 3, *size), generator=generator, dtype=torch.uint8)
    said = {"image_size": size} if min(size) < 32 else {}  # else they would be enlarged
    supervisor = build(algorithm, images, tiny_backbone(), **said)
    assert supervisor.image_size == size
    assert torch.isfinite(total(supervisor(batch_of(supervisor, images))))


SIZES = [(32, 32), (64, 64), (96, 96), (224, 224), (225, 225), (96, 128)]
NETWORKS: dict[str, Callable[[tuple[int, int]], Any]] = {
    "batch norm": lambda size: EfficientFeatures(stem_stride=1 if min(size) <= 64 else 2),
    "layer norm": lambda size: EfficientFeatures(
        norm_type="layer", stem_stride=1 if min(size) <= 64 else 2
    ),
    "resnet": lambda size: "resnet18",
}


@pytest.mark.slow
@every_algorithm
@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize("size", SIZES)
def test_every_size_with_every_kind_of_network(
    algorithm: str, generator: torch.Generator, size: tuple[int, int], network: str
) -> None:
    images = torch.randint(256, (3, 3, *size), generator=generator, dtype=torch.uint8)
    backbone = NETWORKS[network](size)
    if algorithm in OF_TRANSFORMERS:
        if network != "resnet":
            pytest.skip("takes transformers alone, which have one norm")
        backbone = "timm/vit_tiny_patch16_224"
    supervisor = build(algorithm, images, backbone)
    first = next(parameter for parameter in supervisor.parameters() if parameter.requires_grad)
    before = first.detach().clone()
    supervisor.supervise(epochs=1, batch_size=2, name=None)  # the third joins the others
    assert math.isfinite(losses(supervisor)[0])
    assert not torch.equal(first, before)
    if algorithm not in ("cmc", "split_brain") or network != "resnet":  # else two networks
        features = supervisor.eval().get_backbone()(to_unit_range(images[:1]))
        assert features.shape[0] == 1
        assert torch.isfinite(features).all()


@every_algorithm
def test_it_is_constructed_with_nothing(algorithm: str) -> None:
    supervisor = ALGORITHMS[algorithm]()
    assert supervisor.image_size == (225, 225)
    assert supervisor.dataset is None
    assert any(parameter.requires_grad for parameter in supervisor.get_backbone().parameters())
    with pytest.raises(ValueError, match=r"nothing to train on: .*\(dataset\) takes the images"):
        supervisor.supervise(epochs=1, name=None)


@every_one_of_ours
def test_hyperparameters_are_keywords_with_defaults_and_differences_are_told(
    algorithm: str,
) -> None:
    kind = ALGORITHMS[algorithm]
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    given = ["dataset", "backbone", "predictor", "loss"]
    if algorithm in HEADLESS:
        given = given[:2]
    assert [p.name for p in parameters[: len(given)]] == given
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD  # device= and its like
    for parameter in parameters[:-1]:
        assert parameter.default is not inspect.Parameter.empty
        assert f"            {parameter.name}: " in (kind.__init__.__doc__ or "")
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[len(given) : -1])
    differences = (kind.__doc__ or "").partition("Differences from the paper: ")[2]
    differences = " ".join(differences.partition("\n\n")[0].split())
    # What supervise() does where nothing is said, which no paper does.
    rate = f"{kind.default_lr:.0e}".replace("e-0", "e-")
    said = rf"By default Adam .*at a constant rate of {rate} in batches of 32"
    assert re.search(said, differences)
    assert "instead of" in differences


@every_one_of_ours
def test_the_readme_has_a_line_for_it(algorithm: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (line,) = re.findall(rf"^\| `{algorithm}` \| (`\w+`) \| (.+) \| (.+) \|$", readme, re.MULTILINE)
    kind, paper, predicts = line
    assert kind.strip() == f"`{ALGORITHMS[algorithm].__name__}`"
    year = re.search(r"20[0-2][0-9]", paper)
    assert year is not None
    module = inspect.getmodule(ALGORITHMS[algorithm])
    assert module is not None and year.group() in (module.__doc__ or "")
    address = re.search(r"arxiv.org/abs/([0-9.]+)", paper)
    assert address is None or f"arXiv {address.group(1)}" in (module.__doc__ or "").replace(
        "\narXiv", "arXiv"
    )
    assert predicts.strip()


@every_one_of_ours
def test_a_head_of_ones_own_takes_the_place_of_the_default(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    if algorithm in HEADLESS:
        pytest.skip("it has no head of its own")
    head = copy.deepcopy(build(algorithm, images, tiny_backbone()).get_predictor())
    torch.manual_seed(1)
    supervisor = ALGORITHMS[algorithm](images, backbone=tiny_backbone(), predictor=head)
    assert supervisor.get_predictor() is head
    total(supervisor(batch_of(supervisor, images))).backward()
    assert any(parameter.grad is not None for parameter in head.parameters())


@every_algorithm
def test_the_backbone_stays_the_very_module_and_eats_images(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone()
    keeps = {"keep": "student"} if algorithm == "dino" else {}  # by default a copy of its teacher
    supervisor = build(algorithm, images[:8], backbone, **keeps)
    supervisor.supervise(epochs=1, batch_size=8, name=None)
    assert supervisor.get_backbone() is backbone
    with torch.no_grad():
        assert backbone.eval()(to_unit_range(images)).shape == (22, 16)


@every_algorithm
@pytest.mark.parametrize("precision", ["bf16"])
def test_lower_precision_trains(
    algorithm: str, images: Tensor, tiny_backbone: Backbones, precision: str
) -> None:
    supervisor = build(algorithm, images[:8], tiny_backbone())
    supervisor.supervise(epochs=1, batch_size=8, name=None, precision=precision)
    assert math.isfinite(losses(supervisor)[0])
