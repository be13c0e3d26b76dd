from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data.collate import Batch
from super_selfish.evaluation import evaluate
from super_selfish.losses.patches import into_patches, standardised_patches
from super_selfish.models import untrained_twin
from super_selfish.supervisors import MAESupervisor
from super_selfish.supervisors.mae import MaskedImages, MaskingCollator
from super_selfish.training.randomness import step_generator
from tests.conftest import tiny_transformer

timm = pytest.importorskip("timm")

SMALL: dict[str, Any] = {"decoder_depth": 1, "decoder_width": 8, "decoder_heads": 2}


class Painter(nn.Module):
    """Paints what it was told, whatever it is shown."""

    def __init__(self, patches: Tensor) -> None:
        super().__init__()
        self.patches = nn.Parameter(patches)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        return self.patches.expand(len(tokens), -1, -1)


def small(images: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    settings = {"backbone": tiny_transformer(), **settings}
    if "predictor" not in settings:
        settings = {**SMALL, **settings}
    return MAESupervisor(images, **settings)


def seen(supervisor: Any, images: Tensor, seed: int = 0) -> MaskedImages:
    batch = Batch(images, torch.arange(len(images)))
    made: MaskedImages = supervisor.collate_fn.augment(batch, step_generator(seed))
    return made


def cost(supervisor: Any, data: MaskedImages) -> float:
    with torch.no_grad():
        return float(supervisor(data))


def mae_in_loops(
    images: Tensor, painted: Tensor, hidden: Tensor, patch: int, norm_pix: bool
) -> float:
    """He et al. 2021, section 3: a hidden patch at a time, in float64."""
    total, count = 0.0, 0
    columns = images.shape[3] // patch
    for image, places in enumerate(hidden.tolist()):
        for place in places:
            top, left = patch * (place // columns), patch * (place % columns)
            numbers = [
                float(images[image, c, top + y, left + x])
                for y in range(patch)
                for x in range(patch)
                for c in range(images.shape[1])
            ]
            if norm_pix:
                mean = sum(numbers) / len(numbers)
                variance = sum((n - mean) ** 2 for n in numbers) / (len(numbers) - 1)
                numbers = [(n - mean) / math.sqrt(variance + 1e-6) for n in numbers]
            for n, said in zip(numbers, painted[image, place].tolist(), strict=True):
                total += (n - said) ** 2
                count += 1
    return total / count


@pytest.mark.parametrize("norm_pix", [True, False])
@pytest.mark.parametrize(
    ("channels", "size"), [(3, (32, 32)), (1, (32, 48)), (5, (40, 32)), (3, (35, 33))]
)
def test_the_loss_is_that_of_the_paper(
    norm_pix: bool, channels: int, size: tuple[int, int], generator: torch.Generator
) -> None:
    images = torch.randint(256, (3, channels, *size), generator=generator, dtype=torch.uint8)
    backbone = timm.create_model(  # cuts away a border that is no whole patch
        "vit_tiny_patch16_224",
        **{"img_size": size, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1},
        **{"in_chans": channels, "num_classes": 0},
    )
    supervisor = small(images, backbone=backbone, norm_pix=norm_pix).double().eval()
    data = seen(supervisor, images)
    data = data._replace(images=data.images.double())
    with torch.no_grad():
        painted = supervisor.model(data.images, data.visible)
    found = cost(supervisor, data)
    expected = mae_in_loops(data.images, painted, data.hidden, 8, norm_pix)
    assert found == pytest.approx(expected, rel=1e-10)


def test_right_patches_cost_nothing_and_none_cost_one(images: Tensor) -> None:
    one = images[:1]
    supervisor = small(one, predictor=Painter(torch.zeros(1, 16, 192)), augmentation=torch.clone)
    data = seen(supervisor, one)
    patches = into_patches(data.images, 8)
    # Of standardised patches with an unbiased variance the mean square is (E - 1) / E.
    assert cost(supervisor, data) == pytest.approx(191 / 192, rel=1e-3)
    supervisor.model.predictor.patches.data = standardised_patches(patches)
    assert cost(supervisor, data) == pytest.approx(0.0, abs=1e-9)
    plain = small(one, predictor=Painter(patches + 0.1), norm_pix=False, augmentation=torch.clone)
    assert cost(plain, data) == pytest.approx(0.01, rel=1e-4)


def test_what_is_said_of_visible_patches_costs_nothing(images: Tensor) -> None:
    painter = Painter(torch.zeros(1, 16, 192))
    supervisor = small(images, predictor=painter)
    data = seen(supervisor, images[:1])
    before = cost(supervisor, data)
    painter.patches.data[:, data.visible[0]] = 100.0
    assert cost(supervisor, data) == before
    painter.patches.data[:, data.hidden[0, 0]] = 100.0
    assert cost(supervisor, data) > before + 100


def test_it_begins_at_about_one(generator: torch.Generator) -> None:
    images = torch.randint(256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
    supervisor = small(images, decoder_width=64)
    assert cost(supervisor, seen(supervisor, images)) == pytest.approx(1.0, abs=0.05)  # 1.6


def test_it_paints_better_than_the_mean_of_each_patch_after_some_steps(images: Tensor) -> None:
    supervisor = small(images, decoder_width=32, augmentation=torch.clone)
    supervisor.supervise(lr=3e-3, epochs=20, batch_size=22, name=None, progress=False)
    row = supervisor.history[-1]
    assert row["loss"] < 0.92 * row["variance"]
    assert supervisor._health(row) is None


def test_each_image_has_patches_of_its_own_hidden_all_equally_often() -> None:
    collator = MaskingCollator(16, 4, lambda images, generator: images.float())  # type: ignore[arg-type]
    images = torch.zeros(4000, 1, 1, 1)
    data = collator.augment(Batch(images, torch.arange(4000)), step_generator(0))
    both = torch.cat([data.visible, data.hidden], dim=1)
    assert data.visible.shape == (4000, 4)
    assert torch.equal(both.sort(dim=1).values, torch.arange(16).expand(4000, -1))
    shares = data.visible.flatten().bincount(minlength=16) / 4000
    assert float((shares - 0.25).abs().max()) < 5 * math.sqrt(0.25 * 0.75 / 4000)
    assert len(data.visible.sort(dim=1).values.unique(dim=0)) > 1000  # of 1820
    again = collator.augment(Batch(images, torch.arange(4000)), step_generator(0))
    other = collator.augment(Batch(images, torch.arange(4000)), step_generator(1))
    assert torch.equal(again.visible, data.visible)
    assert not torch.equal(other.visible, data.visible)


def test_the_default_is_a_small_transformer_of_timm_and_is_loaded_without_being_named(
    tmp_path: Path, images: Tensor
) -> None:
    supervisor = MAESupervisor(images)
    assert type(supervisor.get_backbone()).__name__ == "VisionTransformer"
    assert (supervisor.patch, supervisor.grid, supervisor.num_patches) == (4, (8, 8), 64)
    chosen = {"decoder_width": 96, "decoder_heads": 3, "decoder_depth": 4}
    assert supervisor.choices == chosen
    supervisor.save(tmp_path / "run")
    loaded = MAESupervisor(image_size=32).load(tmp_path / "run")
    pairs = zip(loaded.parameters(), supervisor.parameters(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)
    network: Any = loaded.get_backbone()
    with torch.no_grad():
        tokens = network.eval().forward_features(images[:2] / 255)
        torch.testing.assert_close(network(images[:2] / 255), tokens[:, 1:].mean(dim=1))
    assert untrained_twin(network).global_pool == "avg"


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_its_features_are_those_of_the_transformer_by_itself(images: Tensor, pool: str) -> None:
    options = {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 8}
    backbone = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, global_pool=pool, fc_norm=False, **options
    )
    supervisor = small(images, backbone=backbone)
    supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)
    kept: Any = supervisor.get_backbone()
    assert kept is backbone
    with torch.no_grad():
        tokens = kept.eval().forward_features(images / 255)
        expected = tokens[:, 0] if pool == "token" else tokens[:, 1:].mean(dim=1)
        torch.testing.assert_close(kept(images / 255), expected)
    labels = torch.arange(11) % 2
    found = evaluate(supervisor, (images[:11], labels), (images[11:], labels), protocols=("knn",))
    assert "the weights of the backbone before training" in str(found)


def test_pictures_show_what_was_seen_and_right_patches_make_the_image(images: Tensor) -> None:
    one = images[:1]
    supervisor = small(one, predictor=Painter(torch.zeros(1, 16, 192)), augmentation=torch.clone)
    (group,) = supervisor.exhibit([0], 3)
    hidden = seen(supervisor, one, 3).hidden[0].tolist()
    masked, painted, clean = (into_patches(each.image[None], 8)[0] for each in group)
    for place in range(16):
        if place in hidden:
            assert bool((masked[place] == 0.5).all())
            means = clean[place].mean().expand(192)  # zeros: each patch in its own mean
            torch.testing.assert_close(painted[place], means)
        else:
            assert torch.equal(masked[place], clean[place])
            assert torch.equal(painted[place], clean[place])
    assert group[1].caption == "painted, tone\nis given"
    plain = small(one, norm_pix=False).exhibit([0], 3)
    assert plain[0][1].caption == "hidden ones\npainted"  # then all of it is the network's
    right = standardised_patches(into_patches(one / 255, 8))
    supervisor.model.predictor.patches.data = right
    _, painted_right, as_it_is = supervisor.exhibit([0], 3)[0]
    torch.testing.assert_close(painted_right.image, as_it_is.image)


def test_biases_and_norms_do_not_decay(images: Tensor) -> None:
    supervisor = small(images)
    decaying = partial(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.05)
    supervisor.supervise(epochs=1, batch_size=11, optimizer=decaying, name=None, progress=False)
    groups = supervisor.run.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert all(parameter.ndim > 1 for parameter in groups[0]["params"])
    assert all(parameter.ndim == 1 for parameter in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(supervisor.parameters()))


def test_a_ratio_that_leaves_nothing_is_refused(images: Tensor) -> None:
    for ratio, left in ((0.99, 0), (1e-12, 16)):
        with pytest.raises(ValueError, match=rf"some of 16 patches.*got {ratio}, .* {left} to see"):
            small(images, mask_ratio=ratio)
    with pytest.raises(ValueError, match=r"of hidden patches, between 0 and 1, got 1\.0"):
        small(images, mask_ratio=1.0)


def test_a_network_that_adds_a_border_is_refused() -> None:
    padding = timm.create_model(
        "vit_tiny_patch16_224",
        **{"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1},
        **{"dynamic_img_size": True, "dynamic_img_pad": True, "num_classes": 0},
    )
    with pytest.raises(ValueError, match=r"adds a border to them: give image_size=\(40, 32\)"):
        small(None, backbone=padding, image_size=(36, 32))
    small(None, backbone=padding, image_size=(40, 32))


def test_a_predictor_that_gives_no_patches_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"must give patches \[2, 16, 192\] of two images, got"):
        small(images, predictor=Painter(torch.zeros(1, 16, 191)))


def test_other_networks_are_refused_by_name(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r'which NarrowResNet cannot see .*"timm/vit_tiny_patch16'):
        MAESupervisor(images, "narrow-resnet")


def test_few_patches_are_told_of(images: Tensor) -> None:
    run: Any = SimpleNamespace(batch_size=8, processes=1)
    assert small(images)._caution(run) is None
    few = small(images, backbone=tiny_transformer(patch=16))
    said = few._caution(run)
    assert said is not None and "4 patches, of which 1 is seen" in said
