"""What None stands for, and numbers that are no arguments: by METHODS, on both sides of a bound."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from super_selfish.models import momentum_at
from super_selfish.models.heads import hidden_width, suited_width
from super_selfish.supervisors import SUPERVISORS, deep_cluster, nnclr, self_distillation, swav
from super_selfish.supervisors.defaults import HEAD_WIDTH, patch_decoder_width
from super_selfish.supervisors.exemplar_net import MOST_CLASSES
from super_selfish.supervisors.jigsaw_net import JigsawCollator
from super_selfish.supervisors.momentum_contrast import default_queue_size
from super_selfish.supervisors.multi_crop import fitting_small_size
from super_selfish.supervisors.patch_grid import fitting_grid
from super_selfish.supervisors.puzzles import permutation_table
from super_selfish.supervisors.swav import default_num_prototypes
from super_selfish.training.optimizers import LARS
from super_selfish.training.run import UNLIMITED
from tests.conftest import TinyBackbone
from tests.papers.numbers import SIGNATURES
from tests.papers.test_heads import Wide, wide


def built(algorithm: str, size: int = 64, dataset: Any = None, **arguments: Any) -> Any:
    return SUPERVISORS[algorithm](dataset, wide(algorithm, 16), image_size=size, **arguments)


def test_moco_s_queue_is_the_paper_s_for_large_datasets_and_the_authors_cifar_s_for_others() -> (
    None
):
    sizes = {None: 4096, 3: 1, 5000: 2500, 8192: 4096, 50_000: 4096, 100_000: 4096}
    sizes |= {100_001: 50_000, 131_072: 65536, 1_281_167: 65536}
    assert {images: default_queue_size(images) for images in sizes} == sizes
    assert built("moco").queue.keys.shape == (4096, 128)


@pytest.mark.parametrize(
    ("features", "hidden"),
    [(16, 512), (128, 512), (129, 516), (512, 2048), (1023, 4092), (1024, 4096), (2048, 4096)],
)
def test_byol_s_heads_are_as_wide_as_the_paper_s_from_1024_features_on(
    features: int, hidden: int
) -> None:
    assert hidden_width(features) == hidden


@pytest.mark.parametrize(
    ("features", "width"), [(1, 256), (64, 256), (65, 260), (511, 2044), (512, 2048), (2048, 2048)]
)
def test_spaces_of_embeddings_are_the_paper_s_from_a_quarter_of_their_width_on(
    features: int, width: int
) -> None:
    assert suited_width(features, 2048) == width


@pytest.mark.parametrize(
    ("size", "large", "small"), [(32, 4, 0), (95, 4, 0), (96, 2, 6), (224, 2, 6)]
)
def test_lejepa_s_crops_are_the_paper_s_of_images_that_have_room_for_small_ones(
    size: int, large: int, small: int
) -> None:
    supervisor = built("lejepa", size)
    assert (supervisor.num_large, supervisor.num_small) == (large, small)
    crops = supervisor.collate_fn
    assert (crops.num_large, crops.num_small) == (large, small)
    recipe = "lejepa" if small else "lejepa-whole"
    assert supervisor.arguments["augmentation"] == recipe
    names = {name: SIGNATURES["lejepa"][name].paper for name in ("num_large", "num_small")}
    assert (names == {"num_large": large, "num_small": small}) == (size >= 96)


def test_deep_cluster_s_clusters_are_the_paper_s_for_large_datasets() -> None:
    sizes = {None: 300, 1: 2, 29: 2, 100: 10, 3000: 300, 100_000: 300, 100_001: 3000}
    found = {images: deep_cluster.default_num_clusters(images) for images in sizes}
    assert found == {images: (number,) * 3 for images, number in sizes.items()}
    paper = deep_cluster.default_num_clusters(1_281_167)
    assert SIGNATURES["deep_cluster"]["num_clusters"].paper == paper


@pytest.mark.parametrize(
    ("features", "width"), [(1024, 512), (2048, 512), (192, 96), (190, 64), (16, 32), (4, 32)]
)
def test_mae_s_decoder_has_half_of_the_features_at_most_the_paper_s(
    features: int, width: int
) -> None:
    assert patch_decoder_width(features) == width
    paper = {name: SIGNATURES["mae"][f"decoder_{name}"].paper for name in ("width", "heads")}
    assert paper["width"] // HEAD_WIDTH == paper["heads"]


def test_nnclr_s_queue_is_the_paper_s_for_large_datasets() -> None:
    sizes = {
        None: 16384,
        1: 1,
        5: 2,
        32_768: 16384,
        100_000: 16384,
        200_000: 98304,
        100_001: 50_000,
    }
    assert {images: nnclr.default_queue_size(images) for images in sizes} == sizes
    assert SIGNATURES["nnclr"]["queue_size"].paper == nnclr.default_queue_size(1_281_167)


def test_swav_s_prototypes_and_queue_are_the_paper_s_for_large_datasets() -> None:
    sizes = {None: 512, 1: 2, 5: 2, 100: 50, 1024: 512, 100_000: 512, 100_001: 3000}
    assert {images: default_num_prototypes(images) for images in sizes} == sizes
    assert SIGNATURES["swav"]["num_prototypes"].paper == default_num_prototypes(1_281_167)
    sizes = {None: 3840, 1: 1, 5: 2, 7679: 3839, 7680: 3840, 1_281_167: 3840}
    assert {images: swav.default_queue_size(images) for images in sizes} == sizes


@pytest.mark.parametrize(
    ("epochs", "each", "frozen"),
    [(1, 9, 0), (10, 100, 100), (100, 100, 313), (200, 5005, 313), (UNLIMITED, 100, 313)],
)
def test_swav_s_prototypes_thaw_sooner_in_short_runs(epochs: int, each: int, frozen: int) -> None:
    run = SimpleNamespace(epochs=epochs, total_updates=epochs * each)
    assert built("swav")._thaws_after(run) == frozen
    assert built("swav", frozen_updates=7)._thaws_after(run) == 7
    assert SIGNATURES["swav"]["frozen_updates"].paper == built("swav")._thaws_after(
        SimpleNamespace(total_updates=10**6)
    )


@pytest.mark.parametrize(
    ("size", "small"), [(32, 14), (64, 27), (96, 41), (224, 96), (225, 96), ((96, 128), (41, 55))]
)
def test_small_crops_have_the_size_of_the_reference(size: Any, small: Any) -> None:
    small = (small, small) if isinstance(small, int) else small
    size = (size, size) if isinstance(size, int) else size
    assert fitting_small_size(TinyBackbone(), 3, size) == small  # METHODS 1.5, R6


@pytest.mark.parametrize(("size", "width"), [(32, 2048), (223, 2048), (224, 4096), (225, 4096)])
@pytest.mark.parametrize("algorithm", ["barlow_twins", "vicreg"])
def test_embeddings_that_are_decorrelated_are_wider_of_large_images(
    algorithm: str, size: int, width: int
) -> None:
    supervisor = SUPERVISORS[algorithm](backbone=Wide(1024), image_size=size)
    assert supervisor.model.predictor.out_features == width
    assert suited_width(2048, 8192) == SIGNATURES[algorithm]["embedding_size"].paper


@pytest.mark.parametrize(("size", "layers"), [(32, 2), (64, 2), (65, 3), (224, 3)])
def test_simsiam_s_projector_is_that_for_cifar_on_small_images(size: int, layers: int) -> None:
    head = built("simsiam", size).model.predictor
    assert sum(isinstance(layer, nn.Linear) for layer in head) == layers


@pytest.mark.parametrize(("size", "strength"), [(32, 0.5), (33, 1.0), (64, 1.0)])
def test_simclr_s_jitter_is_the_paper_s_for_cifar_on_small_images(
    size: int, strength: float
) -> None:
    supervisor = built("simclr", size)
    for view in (supervisor.collate_fn.first, supervisor.collate_fn.second):
        jitter = view.augmentations[1]
        assert jitter.saturation == pytest.approx(0.8 * strength)
    assert supervisor.loss.temperature == SIGNATURES["simclr"]["temperature"].ours


def test_the_head_on_pairs_of_patches_is_as_wide_as_the_papers_for_large_backbones() -> None:
    for features, hidden in ((16, 512), (512, 2048), (1024, 4096)):
        supervisor = SUPERVISORS["context_prediction"](backbone=Wide(features), image_size=128)
        assert supervisor.model.predictor[0].out_features == hidden
    assert SIGNATURES["context_prediction"]["hidden_size"].paper == 4096


@pytest.mark.parametrize(("side", "patch"), [(32, 12), (63, 23), (64, 16), (225, 56)])
def test_patches_are_a_quarter_of_the_side_but_larger_of_small_images(
    side: int, patch: int
) -> None:
    assert built("context_prediction", side).places.side == patch  # METHODS 3.3, from 64 on


def test_both_kinds_of_transformations_have_the_paper_s_scales() -> None:
    assert built("aet").transformations.scale == SIGNATURES["aet"]["scale"].paper
    assert built("aet", kind="affine").transformations.scale == (0.7, 1.3)


def test_the_head_that_counts_is_as_wide_as_the_papers_for_large_backbones() -> None:
    for features, hidden in ((16, 512), (1024, 4096)):
        supervisor = SUPERVISORS["counting"](backbone=Wide(features), image_size=64)
        assert supervisor.model.predictor[0].out_features == hidden
    assert SIGNATURES["counting"]["hidden_size"].paper == 4096


def test_dino_s_classes_are_the_paper_s_for_large_datasets() -> None:
    sizes = {None: 512, 10: 512, 100_000: 512, 100_001: 65_536}
    found = {images: self_distillation.default_num_classes(images) for images in sizes}
    assert found == sizes
    assert SIGNATURES["dino"]["num_classes"].paper == 65_536


def at(epoch: int, step: int, *, epochs: int, steps: int = 10) -> Any:
    """A run of so many epochs of so many steps that stands there."""
    return SimpleNamespace(
        epochs=epochs, total_updates=steps * epochs, epoch=epoch, step=step, accumulate=1
    )


def test_byol_s_momentum_is_the_paper_s_once_as_much_was_seen() -> None:
    published = SIGNATURES["byol"]["momentum"].paper
    assert published == 0.996
    byol = built("byol", 32)
    assert byol.momentum_now(at(0, 0, epochs=10**6)) == 0.1
    assert byol.momentum_now(at(223, 9, epochs=10**6)) == 2240 / 2249 < published
    for epoch in (225, 5 * 10**5, 10**6 - 1):
        run = at(epoch, 0, epochs=10**6)
        at_most = (10 * epoch + 1) / (10 * epoch + 10)
        expected = min(momentum_at(10 * epoch, 10**7, published), at_most)
        assert byol.momentum_now(run) == expected >= published
    assert built("byol", 32, momentum=0.7).momentum_now(at(0, 0, epochs=1)) == pytest.approx(0.7)


def test_dino_s_teacher_is_as_sharp_as_in_the_paper() -> None:
    epochs = SIGNATURES["dino"]["teacher_warmup_epochs"].paper
    assert epochs == 30
    for of_run, warmup in ((800, 30), (100, 30), (10, 3)):  # 30 of the paper's shortest, 100
        dino = built("dino", 32, teacher_temperature=(0.04, 0.07))
        for share in (0.0, 0.5, 1.0, 2.0):
            run = at(int(share * warmup), int(10 * share * warmup) % 10, epochs=of_run)
            expected = 0.04 + 0.03 * min(1.0, share)
            assert dino.temperature_now(run) == pytest.approx(expected), (of_run, share)
        assert dino.temperature_now(at(of_run - 1, 9, epochs=of_run)) == 0.07
        assert dino.temperature_now(None) == 0.07
    own = built("dino", 32, teacher_temperature=(0.04, 0.07), teacher_warmup_epochs=0.5)
    found = [own.temperature_now(at(0, step, epochs=2)) for step in (0, 1, 4, 5)]
    assert found == pytest.approx([0.04, 0.046, 0.064, 0.07])
    at_once = built("dino", 32, teacher_temperature=(0.04, 0.07), teacher_warmup_epochs=0)
    assert at_once.temperature_now(at(0, 0, epochs=2)) == 0.07
    assert built("dino", 32).temperature_now(at(3, 0, epochs=100)) == 0.04


def test_moco_s_momentum_is_the_paper_s_once_as_much_was_seen() -> None:
    published = SIGNATURES["moco"]["momentum"].paper
    assert published == 0.999
    moco = built("moco", 32)
    assert moco.momentum_now(at(0, 0, epochs=1)) == 0.99
    assert moco.momentum_now(at(88, 9, epochs=1)) == 0.99  # 890 / 899 is a little less
    assert moco.momentum_now(at(89, 1, epochs=1000)) == 892 / 901 > 0.99
    assert moco.momentum_now(at(898, 9, epochs=1000)) == 8990 / 8999 < published
    assert moco.momentum_now(at(899, 0, epochs=1000)) == published
    assert moco.momentum_now(at(899, 0, epochs=UNLIMITED)) == published
    assert built("moco", 32, momentum=0.7).momentum_now(at(0, 0, epochs=1)) == 0.7


def test_byol_s_momentum_rises_to_one_along_half_a_cosine() -> None:
    supervisor = built("byol", 32, momentum=0.9)
    for epoch, step, expected in ((0, 0, 0.9), (5, 0, 0.95), (9, 8, 0.99997)):
        run = SimpleNamespace(epochs=10, total_updates=100, epoch=epoch, step=step, accumulate=1)
        done = epoch * 10 + step
        exact = 1 - 0.1 * (1 + math.cos(math.pi * done / 100)) / 2
        assert supervisor.momentum_now(run) == pytest.approx(exact, abs=1e-9)
        assert exact == pytest.approx(expected, abs=1e-3)


def test_exemplars_are_the_smallest_of_the_paper_s_choices_or_the_whole_dataset() -> None:
    assert MOST_CLASSES == SIGNATURES["exemplar"]["num_classes"].paper
    assert built("exemplar", num_transforms=1).num_classes == 8000
    images = torch.zeros(9, 3, 64, 64, dtype=torch.uint8)
    assert built("exemplar", dataset=images, num_transforms=1).num_classes == 9


@pytest.mark.parametrize(("grid", "count"), [(2, 24), (3, 1000)])
def test_puzzles_have_all_permutations_or_the_paper_s_thousand(grid: int, count: int) -> None:
    table = permutation_table(grid)
    assert table.shape == (count, grid * grid)
    assert count in (24, SIGNATURES["jigsaw"]["num_permutations"].paper)
    if count == 1000:  # METHODS 2.3, as the published set: mean distance 8.01, at least 2
        different = (table[:, None] != table[None]).sum(dim=2)
        apart = different[~torch.eye(1000, dtype=torch.bool)]
        assert int(apart.min()) >= 2
        assert float(apart.float().mean()) == pytest.approx(8.01, abs=0.02)


def test_a_jigsaw_takes_every_permutation_of_every_image() -> None:
    supervisor = built("jigsaw")
    assert (
        supervisor.collate_fn.num_permutations == supervisor.collate_fn.permutations_per_image == 24
    )
    assert supervisor.permutations.shape == (24, 4)


@pytest.mark.parametrize(("side", "grid"), [(32, 2), (47, 2), (48, 3), (225, 3)])
def test_pirl_cuts_nine_tiles_where_cells_have_sixteen_pixels(side: int, grid: int) -> None:
    supervisor = built("pirl", side, num_permutations=2)
    assert supervisor.permutations.shape == (2, grid**2)


@pytest.mark.parametrize(
    ("side", "grid"), [(16, 3), (32, 3), (40, 4), (48, 5), (56, 6), (63, 6), (64, 7), (225, 7)]
)
def test_cpc_cuts_as_many_patches_of_sixteen_pixels_as_there_are_up_to_seven(
    side: int, grid: int
) -> None:
    assert fitting_grid((side, 2 * side)) == grid  # METHODS 1.5, R5


def test_cpc_foretells_two_and_three_rows_ahead() -> None:
    assert built("cpc").offsets == (2, 3)
    assert built("cpc", 32).offsets == (2,)  # of three rows


def test_the_discriminator_of_context_encoders_learns_at_a_tenth() -> None:
    players = built("context")._players()  # METHODS 2.5: 2e-3 for the painter, 2e-4 for D
    assert players["generator"].lr_factor == 1.0
    assert players["discriminator"].lr_factor == pytest.approx(0.1)


def test_adversaries_have_dcgan_s_moments() -> None:
    supervisor = built("bigan", dataset=torch.zeros(4, 3, 64, 64, dtype=torch.uint8))
    supervisor.supervise(epochs=1, batch_size=4, name=None)
    groups = supervisor.run.optimizer.param_groups
    assert [group["betas"] for group in groups] == [(0.5, 0.999)] * 2


def test_memories_are_uniform_on_the_sphere_and_as_large_as_the_dataset() -> None:
    images = torch.zeros(300, 3, 64, 64, dtype=torch.uint8)
    banks = [built("instance", dataset=images).bank]
    banks += [built("pirl", dataset=images, num_permutations=2).bank]
    both = built("cmc", dataset=images)
    banks += [both.lightness_bank, both.color_bank]
    for bank in banks:
        assert bank.rows.shape == (300, 128)
        assert bank.momentum == 0.5
        torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(300))
        assert float(bank.rows.std()) == pytest.approx(128**-0.5, rel=0.02)
    assert not torch.equal(both.lightness_bank.rows, both.color_bank.rows)


@pytest.mark.parametrize("algorithm", ["instance", "cmc", "pirl"])
def test_losses_of_memories_have_the_paper_s_temperature(algorithm: str) -> None:
    for form in ("softmax", "nce"):
        arguments = {"num_permutations": 2} if algorithm == "pirl" else {}
        supervisor = built(algorithm, form=form, **arguments)
        assert supervisor.loss.temperature == SIGNATURES[algorithm]["temperature"].paper


def test_the_other_losses_have_the_papers_scales() -> None:
    assert built("moco").loss.temperature == 0.2
    assert built("cpc").loss.logit_scale == 0.1


@pytest.mark.parametrize("algorithm", ["instance", "cmc", "pirl"])
def test_memories_are_asked_for_as_many_negatives_as_the_signature_says(algorithm: str) -> None:
    arguments = {"num_permutations": 2} if algorithm == "pirl" else {}
    supervisor = built(algorithm, num_images=10_000, **arguments)
    number = SIGNATURES[algorithm]["num_negatives"].default
    assert supervisor.collate_fn.num_negatives == number


def test_split_brain_has_fifty_and_eighty_one_bins() -> None:
    """METHODS 2.6: i = floor((a + 128) / 26), 0 to 8 for colours of sRGB, class 9 i_a + i_b."""
    assert built("split_brain").bins.sizes == (50, 9, 9)


def test_lars_takes_two_steps_of_its_formula_with_its_own_numbers() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))  # length 5
        layer.bias.fill_(2.0)
    optimizer = LARS(layer.parameters(), lr=2.0)
    layer.weight.grad = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, 0.4]])  # length 0.5
    layer.bias.grad = torch.full((2,), 0.25)
    direction = layer.weight.grad + 1.5e-6 * layer.weight.detach()
    step = 1e-3 * 5.0 / direction.norm() * direction
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), weight - 2 * step)
    torch.testing.assert_close(layer.bias.detach(), bias - 2 * 0.25)  # neither decay nor trust
    optimizer.step()
    second = layer.weight.grad + 1.5e-6 * (weight - 2 * step)
    second = 0.9 * step + 1e-3 * (weight - 2 * step).norm() / second.norm() * second
    torch.testing.assert_close(layer.weight.detach(), weight - 2 * step - 2 * second)
    torch.testing.assert_close(layer.bias.detach(), bias - 2 * 0.25 - 2 * (0.9 + 1) * 0.25)


@pytest.mark.parametrize(("count", "stride"), [(24, 17), (1000, 619), (2, 1), (5, 3)])
def test_lists_of_permutations_begin_a_golden_section_apart(count: int, stride: int) -> None:
    """Near 0.618 of the table, and without a factor in common, so that all places come."""
    collator = JigsawCollator(built("jigsaw").collate_fn.cutter, count, 1)
    assert collator.stride == stride
    assert len({image * stride % count for image in range(count)}) == count


@pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))
def test_every_collator_is_a_plain_collate_fn(algorithm: str) -> None:
    images = torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8)
    arguments = {"pirl": {"num_permutations": 2}, "exemplar": {"num_transforms": 2}}.get(
        algorithm, {}
    )
    supervisor = built(algorithm, dataset=images, **arguments)
    (batch,) = DataLoader(supervisor.source, 6, collate_fn=supervisor.collate_fn)
    supervisor.eval()
    with torch.no_grad():
        loss = supervisor._forward(batch)
    for part in loss.values() if isinstance(loss, dict) else [loss]:
        assert bool(torch.isfinite(part))
