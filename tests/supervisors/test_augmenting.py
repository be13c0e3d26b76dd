"""Users' own augmentations, in every algorithm that augments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from super_selfish.augmentations import (
    RECIPES,
    Augmentation,
    ColorJitter,
    Compose,
    Invert,
    RandomApply,
    RandomGaussianBlur,
    RandomResizedCrop,
    RandomSolarize,
    recipe,
)
from super_selfish.data.collate import Batch, Collator
from super_selfish.supervisors import SUPERVISORS, LabelSupervisor
from super_selfish.supervisors.augmenting import two_views
from tests.conftest import TinyBackbone, backbone_for

# Of one the augmentation is the task, of the other the tasks have theirs.
ALGORITHMS = sorted(set(SUPERVISORS) - {"exemplar", "multi_task"})
DEFAULTS = {
    **dict.fromkeys(("instance", "pirl", "cmc"), "paper"),
    "cpc": "cpc",
    **{"moco": "moco", "byol": "byol", "mae": "mae"},
    "swav": "swav",
    "dino": "dino",
    "barlow_twins": "byol",
    "vicreg": "byol",
    "nnclr": "byol",
    "distillation": "mild",
    "deep_cluster": "swav",
    "lejepa": "lejepa-whole",  # without small crops
    "simsiam": "moco",
    "simclr": "simclr-small",  # of images of 32 pixels
}
COLORS = Compose([ColorJitter(0.4, 0.4, 0.4, 0.1), RandomApply(RandomSolarize(), 0.3)])


def build(algorithm: str, dataset: Any = None, **more: Any) -> Any:
    torch.manual_seed(0)
    return SUPERVISORS[algorithm](
        dataset, backbone_for(algorithm, more.get("in_channels", 3)), **more
    )


def batch_of(supervisor: Any, images: Tensor) -> list[Tensor]:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(0)
    made = supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)
    return [value for value in made if isinstance(value, Tensor)]


def are_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 11, "name": folder / "a", "progress": False, **more}


def test_every_algorithm_but_one_takes_an_augmentation() -> None:
    for algorithm, kind in SUPERVISORS.items():
        takes = "augmentation" in inspect.signature(kind.__init__).parameters
        assert takes == (algorithm in ALGORITHMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_none_is_the_default_and_the_checkpoint_has_it_by_name(
    algorithm: str, images: Tensor
) -> None:
    usual, none = build(algorithm, images), build(algorithm, images, augmentation=None)
    assert are_equal(batch_of(usual, images), batch_of(none, images))
    assert none.arguments["augmentation"] == DEFAULTS.get(algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("own", ["mild", COLORS, v2.RandomHorizontalFlip(), Tensor.square])
def test_a_name_an_augmentation_torchvision_and_a_function_go_in(
    algorithm: str, own: Any, images: Tensor
) -> None:
    supervisor = build(algorithm, images, augmentation=own)
    batch = batch_of(supervisor, images)
    is_default = own == DEFAULTS.get(algorithm)
    assert are_equal(batch, batch_of(build(algorithm, images), images)) == is_default
    assert are_equal(batch, batch_of(supervisor, images))
    assert bool(torch.isfinite(torch.cat([values.flatten().double() for values in batch])).all())


def blur(p: float) -> Augmentation:
    return RandomApply(RandomGaussianBlur(), p)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_loading_needs_no_augmentation(algorithm: str, images: Tensor, tmp_path: Path) -> None:
    stored = build(algorithm, images, augmentation=blur(0.5)).save(tmp_path / "a")
    loaded = build(algorithm).load(tmp_path / "a")
    for key, value in stored.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])


@pytest.mark.parametrize("algorithm", ["rotate", "moco"])
def test_going_on_needs_the_same_augmentation(
    algorithm: str, images: Tensor, tmp_path: Path
) -> None:
    build(algorithm, images, augmentation=blur(0.5)).supervise(**options(tmp_path))
    build(algorithm).load(tmp_path / "a").save(tmp_path / "a")  # forgets not how it was trained
    for other, message in ((None, "augmentation='RandomApply', .* has"), (blur(0.9), "p=0.5, ")):
        with pytest.raises(ValueError, match=message):
            build(algorithm, images, augmentation=other).supervise(
                **options(tmp_path, epochs=2, resume=True)
            )
    same = build(algorithm, images, augmentation=blur(0.5))
    same.supervise(**options(tmp_path, epochs=2, resume=True))
    assert len(same.history) == 2


def test_a_run_that_goes_on_is_the_one_that_never_stopped(images: Tensor, tmp_path: Path) -> None:
    own = v2.Compose([v2.RandomResizedCrop(32, antialias=True), v2.ColorJitter(0.4, 0.4, 0.4)])
    whole = build("moco", images, augmentation=own).supervise(**options(tmp_path, epochs=2))
    build("moco", images, augmentation=own).supervise(**options(tmp_path / "b"))
    rest = build("moco", images, augmentation=own)
    rest.supervise(**options(tmp_path / "b", epochs=2, resume=True))
    assert [row["loss"] for row in rest.history] == [row["loss"] for row in whole.history]
    other = v2.Compose([v2.RandomResizedCrop(32, antialias=True), v2.ColorJitter(0.4, 0.4, 0.3)])
    with pytest.raises(ValueError, match="layers of augmentation"):
        build("moco", images, augmentation=other).supervise(**options(tmp_path, resume=True))


def test_compiling_leaves_torchvisions_transforms_alone(images: Tensor) -> None:
    losses = [
        build("moco", images, augmentation=v2.RandomHorizontalFlip())
        .supervise(epochs=1, batch_size=11, name=None, compile_augmentation=compiles)
        .history[0]["loss"]
        for compiles in (False, True)
    ]
    assert losses[0] == losses[1]


def test_checkpoints_from_before_the_argument_go_on(images: Tensor, tmp_path: Path) -> None:
    for algorithm in ("moco", "rotate"):
        build(algorithm, images).supervise(**options(tmp_path / algorithm))
        path = tmp_path / algorithm / "a"
        former = build(algorithm, images).load(path)
        del former.arguments["augmentation"]
        former.save(path)
        build(algorithm, images).supervise(**options(tmp_path / algorithm, epochs=2, resume=True))


def test_views_may_differ(images: Tensor) -> None:
    for algorithm in ("moco", "byol"):
        supervisor = build(algorithm, images, augmentation=(Invert(), "byol-2"))
        first, second = batch_of(supervisor, images)[:2]
        assert torch.allclose(first, 1 - images / 255)
        assert not torch.allclose(second, first)
    one, two = two_views(build("moco", images), "byol")
    assert are_equal(
        [view(images, torch.Generator().manual_seed(1)) for view in (one, two)],
        [
            RECIPES[n]((32, 32))(images, torch.Generator().manual_seed(1))
            for n in ("byol-1", "byol-2")
        ],
    )
    with pytest.raises(ValueError, match="for both views, or a pair, one for each; got 3"):
        build("moco", images, augmentation=["moco"] * 3)


def test_pirl_takes_one_for_the_view_and_one_for_tiles(images: Tensor) -> None:
    view, tile = v2.RandomResizedCrop(32, antialias=True), Invert()
    with pytest.raises(ValueError, match=r"must make tiles \(a pair.*got \[3, 32, 32\]"):
        build("pirl", images, augmentation=view)
    supervisor = build("pirl", images, augmentation=(view, tile))
    plain, tiles = batch_of(supervisor, images)[:2]
    assert plain.shape == (22, 3, 32, 32)
    assert tiles.shape == (22, 4, 3, 16, 16)
    assert float(tiles[:, 2:].mean()) > 0.5  # the lower halves were dark


def test_cmc_makes_two_views_unless_its_own_recipe_is_asked_for(images: Tensor) -> None:
    for name, number in (("cmc", 1), ("paper", 1), ("simclr", 2)):
        assert batch_of(build("cmc", images, augmentation=name), images)[0].shape[1] == number


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize(
    "algorithm", sorted(set(ALGORITHMS) - {"cmc", "colorization", "split_brain"})
)
def test_recipes_take_any_channels_and_torchvision_says_where_it_does_not(
    algorithm: str, channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(4, channels, 32, 32, generator=generator)
    more = {"in_channels": channels}
    for name in ("cpc-paper", "simclr", "byol-2"):
        supervisor = build(algorithm, images, augmentation=name, **more)
        assert batch_of(supervisor, images)[0].shape[-3] == channels
    gray = v2.Grayscale(3)
    message = rf"must make \w+.* of \[{channels}, .* got \[3, "
    if channels == 5:
        gray = v2.ColorJitter(hue=0.2)
        message = "cannot take images of 5 channels and .* pixels: .*channel"
    with pytest.raises(ValueError, match=message):
        build(algorithm, images, augmentation=gray, **more)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (RandomResizedCrop(24), r"must make views of \[3, 32, 32\].*, got \[3, 24, 24\]: end it"),
        (v2.RandomCrop(24), r"got \[3, 24, 24\]: end it with a crop or a Resize to \(32, 32\)"),
        (lambda batch: batch.mean(), "cannot take images .* must make tensors"),
        (lambda batch: batch[..., 0], "cannot take images .* must make tensors"),
        (lambda batch: batch / 0 if 1 // 0 else batch, "cannot take images .* by zero"),
        ("mocco", "augmentation is one of .*, simclr, .*, got 'mocco': did you mean \"moco\""),
        (v2.Normalize([0.5], [0.5]), "leave Normalize out"),
    ],
)
def test_what_makes_no_views_is_refused_in_words(own: Any, message: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        build("moco", images, augmentation=own)


class Brighter(Augmentation):
    def draw(self, shape: Any, generator: torch.Generator) -> None:
        pass

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        return images * 2


class InPlace(Brighter):
    def apply(self, images: Tensor, parameters: None) -> Tensor:
        return images.mul_(0.5)


def test_an_augmentation_that_breaks_its_contract_is_refused(images: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"float numbers in \[0, 1\], got torch.float32 from .* to"
    ):
        build("instance", images, augmentation=Brighter())
    with pytest.raises(ValueError, match="changes the images that it is given"):
        build("instance", images, augmentation=InPlace())
    with pytest.raises(TypeError, match="a function or an object, got 3"):
        build("instance", images, augmentation=3)


def test_what_precedes_rotation_takes_the_place_of_its_crop(images: Tensor) -> None:
    supervisor = build("rotate", images, augmentation=Invert())
    views = batch_of(supervisor, images)[0]
    assert torch.allclose(views[:, 0], 1 - images / 255)
    assert supervisor.collate_fn.note == ""
    assert "Black bars" in build("rotate", images).collate_fn.note


def test_labels_take_torchvisions_transforms(images: Tensor) -> None:
    labelled = (images, torch.arange(len(images)) % 2)
    own = v2.RandomHorizontalFlip(1.0)
    supervisor = LabelSupervisor(labelled, TinyBackbone(), augmentation=own)
    batch = Batch(images, torch.arange(22), labelled[1])
    assert isinstance(supervisor.collate_fn, Collator)
    made = supervisor.collate_fn.augment(batch, torch.Generator())
    assert torch.allclose(made.images, images.flip(-1) / 255)


Make = Callable[[tuple[int, int]], Augmentation]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_views_of_what_is_stacked(name: str, images: Tensor) -> None:
    size = (24, 20)
    view = recipe(name, size)
    side = (20, 20) if name == "rotate" else size
    words = (images.int() * 257).to(torch.uint16)
    for given in (images, words, images / 255):
        made = view(given, torch.Generator().manual_seed(0))
        assert made.shape == (22, 3, *side)
        assert made.is_floating_point()
        assert view.output_shape((22, 3, 32, 32)) == (22, 3, *side)


def test_a_module_that_augments_is_no_network(images: Tensor) -> None:
    class Dim(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return batch * torch.rand(len(batch), 1, 1, 1)

    supervisor = build("moco", images, augmentation=Dim())
    assert not any("Dim" in type(part).__name__ for part in supervisor.modules())
