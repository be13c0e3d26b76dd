from __future__ import annotations

import importlib
import importlib.util
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from super_selfish.augmentations import RaftFlow
from super_selfish.augmentations.motion import moving_parts
from super_selfish.augmentations.optical_flow import FLOWS, is_raft
from super_selfish.data import FramePairs
from super_selfish.supervisors import MotionSegmentationSupervisor

# Beside the repository.
CLIPS = Path(__file__).parents[2].parent / "shared" / "datasets" / "video" / "clips.tar"
needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV, which finds the flow, is missing"
)
of_opencv = pytest.mark.parametrize("name", ["dis", "farneback"])


def shifted(height: int, width: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """A texture of patches of about four pixels, and the same after it has gone on."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, height // 4, width // 4, generator=generator)
    world = F.interpolate(coarse, size=(height + 20, width + 20), mode="bicubic").clamp(0, 1)
    first = world[:, :, 10 : 10 + height, 10 : 10 + width]
    top, left = 10 - rows, 10 - columns
    return first, world[:, :, top : top + height, left : left + width]


@needs_opencv
@of_opencv
@pytest.mark.parametrize("size", [(32, 32), (64, 48), (160, 192)])
@pytest.mark.parametrize("way", [(1, -2), (3, -5)])
def test_a_known_way_is_found_to_a_fraction_of_a_pixel(
    name: str, size: tuple[int, int], way: tuple[int, int]
) -> None:
    first, second = shifted(*size, *way)
    flow = FLOWS[name](first, second)
    assert flow.shape == (2, 2, *size) and flow.dtype == torch.float32
    error = (flow * min(size) - torch.tensor(way).view(1, 2, 1, 1)).square().sum(dim=1).sqrt()
    border = min(size) // 5
    # Pixels; a way of a sixth of the side is more than Farneback's windows hold.
    bound = 0.5 if name == "farneback" and min(size) < 96 else 0.1
    assert float(error[:, border:-border, border:-border].mean()) < bound


@needs_opencv
@of_opencv
def test_frames_of_any_channels_are_taken_and_not_changed(name: str) -> None:
    first, second = (frames.mean(dim=1, keepdim=True) for frames in shifted(48, 48, 2, 1))
    before = first.clone()
    many = FLOWS[name](first.expand(-1, 5, -1, -1), second.expand(-1, 5, -1, -1))
    torch.testing.assert_close(many, FLOWS[name](first, second), atol=1e-3, rtol=0)
    assert torch.equal(first, before)


@needs_opencv
@pytest.mark.parametrize(("size", "window"), [((48, 64), 13), ((104, 200), 13), ((136, 150), 17)])
def test_windows_have_an_eighth_of_the_shorter_side(
    size: tuple[int, int], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2: Any = importlib.import_module("cv2")
    given: list[tuple[Any, ...]] = []

    def farneback(one: Any, other: Any, *rest: Any) -> Any:
        given.append(rest)
        return np.zeros((*one.shape[:2], 2), np.float32)

    monkeypatch.setattr(cv2, "calcOpticalFlowFarneback", farneback)
    first = torch.rand(1, 3, *size)
    FLOWS["farneback"](first, first)
    # No beginning; half the size in each of four levels; five rounds; a neighbourhood of five.
    assert given == [(None, 0.5, 4, window, 5, 5, 1.1, 0)]


@needs_opencv
@pytest.mark.skipif(not CLIPS.exists(), reason="the clips are not beside the repository")
@of_opencv
def test_on_real_clips_what_moves_is_what_changes(name: str) -> None:
    with tarfile.open(CLIPS) as archive:
        members = sorted(m for m in archive.getnames() if m.startswith("box/0"))[40:160:3]
        files = [archive.extractfile(member) for member in members]
        frames = [pil_to_tensor(Image.open(io.BytesIO(f.read()))) for f in files if f is not None]
    clip = torch.stack(frames).float() / 255
    first, second = clip[:-1:4], clip[1::4]
    motion = moving_parts(first, second, FLOWS[name])
    assert motion.is_usable.float().mean() >= 0.7
    change = (second - first).abs().mean(dim=1, keepdim=True)
    moves, stays = motion.share > 0.7, motion.share < 0.4
    assert change[moves].mean() > 3 * change[stays].mean()


@needs_opencv
@of_opencv
def test_a_name_is_all_that_training_needs(
    name: str, tiny_backbone: Callable[..., nn.Module], tmp_path: Path
) -> None:
    first, second = shifted(32, 32, 1, 1)
    clip = torch.stack([first[0], second[0]] * 2).mul(255).to(torch.uint8)
    supervisor = MotionSegmentationSupervisor(FramePairs([clip]), tiny_backbone(), flow=name)
    supervisor.supervise(epochs=1, batch_size=3, name=tmp_path / "a", progress=False)
    loaded = MotionSegmentationSupervisor(backbone=tiny_backbone()).load(tmp_path / "a")
    assert loaded.arguments["flow"] == name


def test_without_opencv_it_is_said_what_to_install(
    tiny_backbone: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    clip = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ModuleNotFoundError, match=r"pip install super-selfish\[flow\]"):
        MotionSegmentationSupervisor(FramePairs([clip]), tiny_backbone(), flow="dis")
    # What shall only be loaded, or finds nothing between frames, does without.
    MotionSegmentationSupervisor(backbone=tiny_backbone(), flow="dis")


@pytest.mark.parametrize(
    ("flow", "words"), [("farnebeck", 'did you mean "farneback"'), (3, "or a function of two")]
)
def test_what_is_no_flow_is_refused(
    flow: Any, words: str, tiny_backbone: Callable[..., nn.Module]
) -> None:
    with pytest.raises(ValueError, match=words):
        MotionSegmentationSupervisor(backbone=tiny_backbone(), flow=flow)


class Constant(nn.Module):
    """Every pixel goes five to the right and three down, in the pixels that it is shown."""

    shown: tuple[int, ...] = ()

    def forward(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        assert first.min() >= -1 and first.max() <= 1 and first.shape[1] == 3
        self.shown = tuple(first.shape)
        flow = first.new_tensor([5.0, 3.0]).view(1, 2, 1, 1)
        return [torch.zeros(()), flow.expand(len(first), -1, *first.shape[2:])] * num_flow_updates


def test_raft_is_shown_frames_that_it_takes_and_its_ways_are_brought_back() -> None:
    network = Constant()
    flow = RaftFlow(network, updates=2)
    found = flow(torch.rand(2, 1, 32, 40), torch.rand(2, 1, 32, 40))
    assert network.shown == (2, 3, 128, 160)
    expected = torch.tensor([3.0 / 4 / 32, 5.0 / 4 / 32]).view(1, 2, 1, 1)
    torch.testing.assert_close(found, expected.expand(2, 2, 32, 40))
    flow(torch.rand(1, 3, 150, 130), torch.rand(1, 3, 150, 130))
    assert network.shown[2] % 8 == 0 and network.shown[3] % 8 == 0
    with pytest.raises(ValueError, match="3 channels or 1, got 4"):
        flow(torch.rand(1, 4, 32, 32), torch.rand(1, 4, 32, 32))
    with pytest.raises(ValueError, match="updates must be >= 1"):
        RaftFlow(network, updates=0)


def test_raft_runs_with_weights_of_a_file(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    network = raft_small(weights=None, progress=False)
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    flow = RaftFlow(tmp_path / "raft.pth", updates=1)
    first, second = shifted(32, 32, 1, 1)
    found = flow(first, second)
    torch.testing.assert_close(found, RaftFlow(network, updates=1)(first, second))
    assert found.shape == (2, 2, 32, 32) and found.isfinite().all()
    assert is_raft(network) and not is_raft(flow)
    with pytest.raises(ValueError, match="no weights of torchvision's raft_large or raft_small"):
        RaftFlow({"a": torch.zeros(1)})


def test_torchvisions_raft_itself_is_a_flow(tiny_backbone: Callable[..., nn.Module]) -> None:
    from torchvision.models.optical_flow import raft_small

    network = raft_small(weights=None, progress=False)
    supervisor: Any = MotionSegmentationSupervisor(backbone=tiny_backbone(), flow=network)
    assert supervisor.collate_fn.flow.network is network
    assert not any(part is network for part in supervisor.modules())  # and is not trained
