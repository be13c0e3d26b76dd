from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.features import (
    classes_at_hand,
    extract_features,
    labelled_only,
    open_data,
)
from super_selfish.supervisors import RotateNetSupervisor
from tests.conftest import TinyBackbone

LABELS = torch.arange(22) % 3


class FlatPixels(nn.Module):
    """Returns the pixels that it was given."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Failing(nn.Module):
    """Breaks off in the middle of a forward pass."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("broken")


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def test_frozen_means_frozen(images: Tensor, tiny_backbone: Callable[..., nn.Module]) -> None:
    backbone = tiny_backbone().train()
    before = fingerprint(backbone)
    extract_features(backbone, images, batch_size=5)
    assert fingerprint(backbone) == before


def test_every_module_gets_its_own_mode_back(
    images: Tensor, tiny_backbone: Callable[..., nn.Module]
) -> None:
    backbone = tiny_backbone().train()
    norm = next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))
    norm.eval()  # as a user does who fine-tunes with frozen statistics
    modes = [module.training for module in backbone.modules()]
    extract_features(backbone, images)
    assert [module.training for module in backbone.modules()] == modes


def test_the_mode_comes_back_after_an_error_too(images: Tensor) -> None:
    backbone = Failing().train()
    with pytest.raises(RuntimeError, match="broken"):
        extract_features(backbone, images)
    assert backbone.training


def test_dropout_and_batch_statistics_play_no_part(
    images: Tensor, tiny_backbone: Callable[..., nn.Module]
) -> None:
    backbone = nn.Sequential(tiny_backbone(), nn.Dropout(0.5)).train()
    whole = extract_features(backbone, images).features
    in_parts = extract_features(backbone, images, batch_size=3).features
    torch.testing.assert_close(in_parts, whole)


def test_features_are_those_of_a_plain_forward_pass(
    images: Tensor, tiny_backbone: Callable[..., nn.Module]
) -> None:
    backbone = tiny_backbone().eval()
    expected = backbone(images.float() / 255).detach()
    features = extract_features(backbone, images, batch_size=4).features
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected)


def test_maps_are_pooled(images: Tensor) -> None:
    backbone = nn.Conv2d(3, 5, 1)
    features = extract_features(backbone, images).features
    torch.testing.assert_close(
        features, backbone(images.float() / 255).mean(dim=(2, 3)), check_dtype=False
    )
    assert features.shape == (22, 5)


def test_features_can_be_trained_on(images: Tensor) -> None:
    features = extract_features(FlatPixels(), images).features
    head = nn.Linear(features.shape[1], 2)
    head(features).sum().backward()  # inference tensors would refuse
    assert head.weight.grad is not None


@pytest.mark.parametrize("scale, dtype", [(255, torch.uint8), (65535, torch.uint16)])
def test_integers_arrive_in_the_unit_range(scale: int, dtype: torch.dtype) -> None:
    ramp = torch.linspace(0, scale, 32 * 32).round().to(torch.int32).view(1, 1, 32, 32).to(dtype)
    features = extract_features(FlatPixels(), ramp).features
    assert features.min() == 0.0
    assert features.max() == pytest.approx(1.0)


def test_preprocess_comes_before_the_backbone_and_keeps_its_mode(images: Tensor) -> None:
    preprocess = nn.Sequential(nn.BatchNorm2d(3, affine=False)).train()
    before = fingerprint(preprocess)
    plain = extract_features(FlatPixels(), images).features
    shifted = extract_features(FlatPixels(), images, preprocess=preprocess).features
    torch.testing.assert_close(shifted, plain / (1 + 1e-5) ** 0.5)
    assert preprocess.training
    assert fingerprint(preprocess) == before


def test_labels_come_in_the_order_of_the_images(images: Tensor) -> None:
    from_items = extract_features(
        FlatPixels(), [(i, int(y)) for i, y in zip(images, LABELS, strict=True)]
    )
    from_pair = extract_features(FlatPixels(), (images, LABELS), batch_size=4)
    assert from_items.labels is not None and from_pair.labels is not None
    assert torch.equal(from_items.labels, LABELS)
    assert torch.equal(from_pair.labels, LABELS)
    assert torch.equal(from_items.features, from_pair.features)


def test_labels_may_be_numbers_of_any_kind(images: Tensor) -> None:
    expected = LABELS.tolist()
    for labels in (expected, tuple(expected), list(LABELS), list(LABELS.numpy())):
        features = extract_features(FlatPixels(), (images, labels))
        assert features.labels is not None
        assert features.labels.tolist() == expected
    rows = [[1, 0, 1]] * 22
    assert extract_features(FlatPixels(), (images, rows)).labels is not None


def test_labels_that_are_text_or_of_several_lengths_are_refused(images: Tensor) -> None:
    with pytest.raises(TypeError, match=r"labels must be whole numbers.* got 'cat' and so on"):
        extract_features(FlatPixels(), (images, ["cat"] * 22))
    with pytest.raises(TypeError, match=r"all of one length, got \[1, 0\] and so on"):
        extract_features(FlatPixels(), (images, [[1, 0]] * 21 + [[1]]))


def test_labels_of_none_are_refused_as_labels(images: Tensor) -> None:
    expected = r"whole numbers, one an image \(-1 for none\).* got None and so on"
    for labels in ([None] * 22, [1, None, *[0] * 20]):
        with pytest.raises(TypeError, match=expected):
            extract_features(FlatPixels(), (images, labels))


def test_images_with_the_label_minus_one_are_left_out_wherever_it_comes_from(
    images: Tensor,
) -> None:
    labels = torch.tensor([-1, *[0, 1] * 10, -1])
    apart = open_data((images, labels))
    for given in (apart, open_data(ImageSource(images).with_labels(labels))):
        with pytest.warns(UserWarning, match=r"^2 of 22 test images have no label \(-1\) and are"):
            left = labelled_only(given, "test")
        known = classes_at_hand(left)
        assert known is not None and known.tolist() == [0, 1] * 10
        assert torch.equal(left.images[0].image, images[1])  # type: ignore[union-attr]
        assert labelled_only(left, "test") is left  # and nothing is said again
    rows = open_data((images, torch.eye(22, dtype=torch.int64)))
    assert labelled_only(rows, "test") is rows


def test_a_part_without_any_label_is_refused_in_words(images: Tensor) -> None:
    expected = "all labels of 22 train images are -1, which means that an image has none: number"
    with pytest.raises(ValueError, match=expected):
        labelled_only(open_data((images, -torch.ones(22, dtype=torch.int64))), "train")


def test_images_that_a_backbone_cannot_take_are_told_of(
    images: Tensor, tiny_backbone: Callable[..., nn.Module]
) -> None:
    expected = r"TinyBackbone failed on images of 32x32 pixels and 3 channels \(in_channels= and"
    with pytest.raises(RuntimeError, match=expected):
        extract_features(tiny_backbone(1), images)


def test_a_pair_may_be_a_source_and_a_list(images: Tensor) -> None:
    labels = extract_features(FlatPixels(), (ImageSource(images), LABELS.tolist())).labels
    assert labels is not None
    assert labels.dtype == torch.int64
    assert torch.equal(labels, LABELS)


def test_skipped_images_do_not_shift_the_labels(tmp_path: Path) -> None:
    for number in range(4):
        pixels = np.full((32, 32, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    source = ImageSource(tmp_path, on_error="skip")
    with pytest.warns(UserWarning, match="1 image left out: .*1.png"):
        features, labels = extract_features(FlatPixels(), (source, [0, 1, 2, 3]), batch_size=1)
    assert labels is not None
    assert labels.tolist() == [0, 2, 3]
    assert (features[:, 0] * 255 / 60).round().tolist() == [0, 2, 3]


def test_images_without_labels_give_none(images: Tensor) -> None:
    assert extract_features(FlatPixels(), images).labels is None


def test_images_are_brought_to_a_size(images: Tensor) -> None:
    features = extract_features(FlatPixels(), images, image_size=(40, 48)).features
    assert features.shape == (22, 3 * 40 * 48)


def test_the_global_stream_is_left_alone(images: Tensor) -> None:
    state = torch.get_rng_state()
    extract_features(FlatPixels(), images)
    assert torch.equal(torch.get_rng_state(), state)


def test_worker_processes_change_nothing(
    images: Tensor, tiny_backbone: Callable[..., nn.Module]
) -> None:
    alone = extract_features(tiny_backbone(), (images, LABELS), batch_size=8)
    helped = extract_features(tiny_backbone(), (images, LABELS), batch_size=8, num_workers=1)
    assert torch.equal(alone.features, helped.features)


def test_labels_that_do_not_match_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="22 images"):
        extract_features(FlatPixels(), (images, [0, 1, 2]))


def test_labels_that_are_no_classes_are_refused(images: Tensor) -> None:
    with pytest.raises(TypeError, match="single integer"):
        extract_features(FlatPixels(), (images, torch.rand(22)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_labels_may_be_rows_of_zeros_and_ones(images: Tensor, dtype: torch.dtype) -> None:
    rows = (torch.arange(22 * 3) % 2).view(22, 3)
    from_items = extract_features(
        FlatPixels(), [(i, y) for i, y in zip(images, rows.to(dtype), strict=True)], batch_size=5
    )
    from_pair = extract_features(FlatPixels(), (ImageSource(images), rows.to(dtype)), batch_size=5)
    assert from_items.labels is not None and from_pair.labels is not None
    assert from_items.labels.dtype == torch.int64
    assert torch.equal(from_items.labels, rows)
    assert torch.equal(from_pair.labels, rows)


def test_rows_of_other_numbers_are_refused(images: Tensor) -> None:
    with pytest.raises(TypeError, match="or zeros and ones"):
        extract_features(FlatPixels(), (ImageSource(images), 2 * torch.ones(22, 3)))


def test_a_diverged_backbone_is_noticed(images: Tensor) -> None:
    backbone = nn.Conv2d(3, 2, 1)
    nn.init.constant_(backbone.weight, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        extract_features(backbone, images)


def test_a_supervisor_brings_its_own_form_of_images(images: Tensor) -> None:
    supervisor = RotateNetSupervisor(
        images, TinyBackbone(), image_size=24, normalize=((0.5,) * 3, (0.25,) * 3)
    )
    result = extract_features(supervisor, images).features
    expected = extract_features(
        supervisor.get_backbone(), images, image_size=24, preprocess=supervisor.preprocess
    ).features
    assert torch.equal(result, expected)


@pytest.mark.gpu
def test_a_device_is_borrowed_for_the_call(
    images: Tensor, tiny_backbone: Callable[..., nn.Module]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an accelerator")
    backbone = tiny_backbone()
    here = extract_features(backbone, images).features
    there = extract_features(backbone, images, device="cuda").features
    assert next(backbone.parameters()).device.type == "cpu"
    torch.testing.assert_close(there, here, atol=1e-3, rtol=1e-2)
