from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from super_selfish.data import FramePairs
from super_selfish.data.collate import Batch
from super_selfish.supervisors import MotionSegmentationSupervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.motion_segmentation import MovingImages
from super_selfish.training.randomness import step_generator

Backbones = Callable[..., nn.Module]
QUIET: dict[str, Any] = {"name": None, "progress": False, "batch_size": 8}


def clip(count: int = 12) -> Tensor:
    """A bright square that goes to the right over a plane with a pattern."""
    generator = torch.Generator().manual_seed(0)
    ground = F.interpolate(torch.rand(1, 3, 12, 16, generator=generator), (48, 64), mode="bilinear")
    thing = torch.rand(3, 12, 12, generator=generator)
    frames = ground.expand(count, -1, -1, -1).clone()
    for number in range(count):
        frames[number, :, 18:30, 8 + 3 * number : 20 + 3 * number] = thing
    return (255 * frames).to(torch.uint8)


def test_masks_of_video_lie_where_something_moves(tiny_backbone: Backbones) -> None:
    pairs = FramePairs([clip()])
    supervisor = MotionSegmentationSupervisor(pairs, tiny_backbone(), scale=(1.0, 1.0))
    assert supervisor.image_size == (48, 64) and supervisor.mask_size == (12, 16)
    data = seen_batch(supervisor, range(len(pairs)))
    assert data.is_usable.float().mean() > 0.8
    for number in range(len(pairs)):
        if not data.is_usable[number]:
            assert not data.counts[number].any()
            continue
        # The square is brighter here or there; its place is that of the frame, mirrored or not.
        left, right = (8 + 3 * number) / 4, (20 + 3 * number) / 4
        columns = data.targets[number, 0].any(dim=0).nonzero().flatten().float()
        middle = float(columns.mean()) + 0.5
        assert min(abs(middle - (left + right) / 2), abs(16 - middle - (left + right) / 2)) < 1.5


def test_only_the_first_frame_is_seen(tiny_backbone: Backbones) -> None:
    supervisor = MotionSegmentationSupervisor(FramePairs([clip()]), tiny_backbone())
    frames = clip()
    made = []
    for later in (frames[1:9], frames[4:12]):
        batch = Batch(frames[:8], torch.arange(8), later)
        collator: Any = supervisor.collate_fn
        made.append(collator.augment(batch, torch.Generator().manual_seed(0)))
    assert torch.equal(made[0].images, made[1].images)
    assert not torch.equal(made[0].targets, made[1].targets)


@pytest.mark.parametrize("kind", ["bool", "0 and 255", "share", "with a channel"])
def test_masks_of_ones_own_are_taken(kind: str, images: Tensor, tiny_backbone: Backbones) -> None:
    masks = torch.zeros(22, 32, 32, dtype=torch.bool)
    masks[:, 8:16, 8:24] = True
    given = {
        "bool": masks,
        "0 and 255": masks.to(torch.uint8) * 255,
        "share": masks.float(),
        "with a channel": masks[:, None],
    }[kind]
    supervisor = MotionSegmentationSupervisor(
        list(zip(images, given, strict=True)), tiny_backbone(), source="masks", scale=(1.0, 1.0)
    )
    data = seen_batch(supervisor, range(22))
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:4, 2:6] = True  # alike when mirrored
    assert torch.equal(data.targets[:, 0], expected.expand(22, -1, -1))
    assert data.counts.all()
    supervisor.supervise(epochs=1, **QUIET)


def test_what_moves_as_much_as_a_limit_counts_for_neither(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    shares = [0.0, 0.2, 0.25, 0.5, 0.75, 0.8, 1.0]
    masks = torch.tensor(shares)[:, None, None].expand(-1, 32, 32)
    supervisor = MotionSegmentationSupervisor(
        list(zip(images[:7], masks, strict=True)),
        tiny_backbone(),
        source="masks",
        limits=(0.25, 0.75),
        scale=(1.0, 1.0),
    )
    data = seen_batch(supervisor, range(7))
    both = [found.flatten(1).all(dim=1).tolist() for found in (data.targets, data.counts)]
    assert both == [[share > 0.75 for share in shares], [abs(s - 0.5) > 0.25 for s in shares]]


@pytest.mark.parametrize("moves", [True, False])
def test_what_is_logged_are_means_over_the_cells_that_count(
    moves: bool, tiny_backbone: Backbones
) -> None:
    supervisor = MotionSegmentationSupervisor(None, tiny_backbone(), image_size=32, in_channels=3)
    targets = torch.tensor([[[[moves, moves], [False, False]]]])
    counts = torch.tensor([[[[True, True], [True, False]]]])
    chances = torch.tensor([[[[0.9, 0.4], [0.3, 0.8]]]])
    model: Any = nn.Module()
    model.forward = lambda images: chances.logit()
    supervisor.model = model
    data = MovingImages(torch.zeros(1, 3, 32, 32), targets, counts, torch.tensor([True]))
    supervisor(data)
    logged = {name: float(value) for name, value in supervisor._logged.items()}
    contrast = 0.65 - 0.3 if moves else -(0.9 + 0.4 + 0.3) / 3
    expected = {"contrast": contrast, "iou": 0.5 * moves, "moving": 2 / 3 * moves, "usable": 1.0}
    assert logged == pytest.approx(expected, rel=1e-5)


def test_masks_are_cropped_as_images_are(tiny_backbone: Backbones) -> None:
    image = torch.zeros(16, 3, 32, 32)
    image[:, :, 8:20, 4:16] = 1.0
    supervisor = MotionSegmentationSupervisor(
        list(zip(image, image[:, 0], strict=True)),
        tiny_backbone(),
        source="masks",
        scale=(0.3, 0.6),
        mask_size=32,
    )
    data = seen_batch(supervisor, range(16))
    bright = data.images.mean(dim=1, keepdim=True) > 0.7
    assert (bright == data.targets).float().mean() > 0.99
    assert len({float(target.float().mean()) for target in data.targets}) > 8


@pytest.mark.parametrize("source", ["video", "masks"])
def test_what_lacks_is_told(source: Any, images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MotionSegmentationSupervisor(images, tiny_backbone(), source=source)
    with pytest.raises(ValueError, match=r"there are no (second frames|masks): items of the"):
        supervisor.supervise(epochs=1, **QUIET)


def test_a_folder_of_frames_trains_in_two_lines(tmp_path: Path) -> None:
    for number, frame in enumerate(clip()):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:03}.png")
    supervisor = MotionSegmentationSupervisor(FramePairs(tmp_path, 2), "narrow-resnet")
    supervisor.supervise(epochs=2, **{**QUIET, "name": tmp_path / "run"})
    row = supervisor.history[-1]
    assert row["usable"] > 0.5 and math.isfinite(row["loss"])
    loaded = MotionSegmentationSupervisor().load(tmp_path / "run")
    assert loaded.arguments["source"] == "video"
    assert loaded.mask_size == supervisor.mask_size


def test_frames_are_brought_to_the_size_that_is_asked_for(tiny_backbone: Backbones) -> None:
    supervisor = MotionSegmentationSupervisor(
        FramePairs([clip()]), tiny_backbone(), image_size=(32, 40)
    )
    data = seen_batch(supervisor, range(4))
    assert data.images.shape == (4, 3, 32, 40) and data.targets.shape == (4, 1, 8, 10)


def test_it_learns_where_things_are(images: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    dark, masks = images // 3, torch.zeros(22, 32, 32)
    for mask in masks:
        top, left = torch.randint(0, 20, (2,), generator=generator).tolist()
        mask[top : top + 12, left : left + 12] = 1.0
    shown = (dark + 150 * masks[:, None]).to(torch.uint8)
    torch.manual_seed(0)
    supervisor = MotionSegmentationSupervisor(
        list(zip(shown, masks, strict=True)), "narrow-resnet", source="masks"
    )
    supervisor.supervise(lr=3e-3, epochs=30, **{**QUIET, "batch_size": 11})
    first, last = supervisor.history[0], supervisor.history[-1]
    assert last["loss"] < 0.7 * first["loss"]
    assert last["contrast"] > 0.3 and last["iou"] > 2 * last["moving"]


def test_an_object_upon_itself_teaches_nothing(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = MotionSegmentationSupervisor(images, tiny_backbone(), shift=(0.0, 0.0))
    one = seen_batch(supervisor, [3])  # alone, it is its own donor
    plain = MotionSegmentationSupervisor(images, tiny_backbone(), source="masks")
    masks = torch.zeros(1, 32, 32)
    batch = Batch(images[3:4], torch.tensor([3]), masks)
    collator: Any = plain.collate_fn
    unchanged = collator.augment(batch, step_generator(0))
    torch.testing.assert_close(one.images, unchanged.images, atol=1e-5, rtol=0)
    assert one.targets.any()


def test_a_weight_of_what_moves_and_a_flow_can_be_given(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    asked = []

    def flow(first: Tensor, second: Tensor) -> Tensor:
        asked.append(first.shape)
        return torch.zeros(len(first), 2, 6, 8)

    still = MotionSegmentationSupervisor(FramePairs([clip()]), tiny_backbone(), flow=flow)
    data = seen_batch(still, range(4))
    assert asked == [(4, 3, 48, 64)]
    assert not data.is_usable.any() and not data.counts.any()
    assert float(still(data).detach()) == 0  # nothing counts
    torch.manual_seed(0)
    plain, weighed = (
        MotionSegmentationSupervisor(images, tiny_backbone(), positive_weight=weight)
        for weight in (1.0, 5.0)
    )
    weighed.load_state_dict(plain.state_dict())
    data = seen_batch(plain, range(8))
    assert float(weighed(data).detach()) > float(plain(data).detach())
    assert plain.chance_loss({}) == math.log(2) and weighed.chance_loss({}) is None


def test_a_head_of_another_size_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    class Head(nn.Conv2d):
        wants_map = True

    with pytest.raises(ValueError, match=r"must give masks \[1, 8, 8\], got \[2, 8, 8\]"):
        MotionSegmentationSupervisor(images, tiny_backbone(), Head(16, 2, 1))
    MotionSegmentationSupervisor(images, tiny_backbone(), Head(16, 1, 1))


@pytest.mark.parametrize("source", ["video", "masks"])
def test_labels_that_are_classes_are_refused_in_words(
    source: Any, images: Tensor, tiny_backbone: Backbones
) -> None:
    labelled = (images, torch.arange(22))
    supervisor = MotionSegmentationSupervisor(labelled, tiny_backbone(), source=source)
    with pytest.raises(ValueError, match=r"second frames must be images|masks must be"):
        supervisor.supervise(epochs=1, **QUIET)


def test_where_motion_comes_from_is_said(
    images: Tensor, tiny_backbone: Backbones, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = MotionSegmentationSupervisor(images, tiny_backbone())
    supervisor.supervise(epochs=1, **{**QUIET, "progress": True})
    assert "What moves: objects put into stills" in capsys.readouterr().err
    with pytest.raises(ValueError, match="step=7, but these FramePairs have step=2"):
        MotionSegmentationSupervisor(FramePairs([clip()], 2), tiny_backbone(), step=7)


def test_pairs_of_unrelated_stills_are_noticed(images: Tensor, tiny_backbone: Backbones) -> None:
    stills = torch.stack([image.roll(5 * n, 2).rot90(n, (1, 2)) for n, image in enumerate(images)])
    noise = (255 * torch.rand(22, 3, 32, 32, generator=step_generator(0))).to(torch.uint8)
    for frames, is_video in ((clip(), True), (stills, False), (noise, False)):
        supervisor = MotionSegmentationSupervisor(FramePairs([frames]), tiny_backbone())
        told = supervisor._caution(None)  # type: ignore[arg-type]
        assert (told is None) == is_video
        if told is not None:
            assert "have little in common (correlation" in told
    flat = FramePairs([torch.zeros(3, 3, 32, 32, dtype=torch.uint8)])
    assert flat.likeness() == 1.0
    assert MotionSegmentationSupervisor(images, tiny_backbone())._caution(None) is None  # type: ignore[arg-type]
