"""Optical flow of others, in the form that `MotionSegmentationSupervisor(flow=...)` takes.

By OpenCV (`pip install super-selfish[flow]`), on the CPU and without anything learned: DIS
(Kroeger, Timofte, Dai, Van Gool, 2016, arXiv 1603.03590) and Farneback's polynomial expansion
(2003, doi.org/10.1007/3-540-45103-X_50). By torchvision RAFT (Teed, Deng, 2020, arXiv 2003.12039),
with weights that you have.

Shapes: `B` pairs; `C, H, W` frame.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.motion import Flow, block_flow

RAFT_SIDE = 128  # pixels: RAFT takes no smaller frames
RAFT_STEP = 8  # pixels: nor sides that it does not divide
_FINEST = 96  # pixels of the shorter side below which DIS looks at every pixel


def dis_flow(first: Tensor, second: Tensor) -> Tensor:
    """Displacements by DIS, dense inverse search, in OpenCV's preset "medium".

    Args:
        first: `[B, C, H, W]`, float in [0, 1].
        second: The later frames.

    Returns:
        `[B, 2, H, W]`, rows and columns, as fractions of the shorter side.

    Raises:
        ModuleNotFoundError: If OpenCV is missing.
    """
    cv2 = require_opencv()
    made = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if min(first.shape[-2:]) < _FINEST:
        made.setFinestScale(0)
    return _of_gray(lambda one, other: made.calc(one, other, None), first, second)


def farneback_flow(first: Tensor, second: Tensor) -> Tensor:
    """Displacements by Farneback's method.

    Windows have an eighth of the shorter side, at least 13 pixels. Args, returns and raises as for
    `dis_flow`.
    """
    cv2 = require_opencv()
    window = max(13, min(first.shape[-2:]) // 8)

    def flow(one: Any, other: Any) -> Any:
        return cv2.calcOpticalFlowFarneback(one, other, None, 0.5, 4, window, 5, 5, 1.1, 0)

    return _of_gray(flow, first, second)


class RaftFlow:
    """Displacements by RAFT, with weights that you have.

    It runs where the frames are, in evaluation mode and without gradients; frames below 128 pixels
    are enlarged for it.

    Attributes:
        network: torchvision's `RAFT`.
        updates: Rounds in which the flow is refined.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Mapping[str, Tensor] | nn.Module,
        updates: int = 12,  # torchvision's
    ) -> None:
        """Takes the weights.

        Args:
            weights: File of a state dict of torchvision's `raft_large` or `raft_small`, such a
                dict, or the network itself.
            updates: Rounds in which the flow is refined.

        Raises:
            ValueError: If the weights are of neither network, or `updates` is below 1.
        """
        if updates < 1:
            raise ValueError(f"updates must be >= 1, got {updates}")
        self.updates = updates
        network = weights if isinstance(weights, nn.Module) else _raft_with(weights)
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """As `dis_flow`.

        Raises:
            ValueError: If frames have neither one nor three channels.
        """
        if first.shape[1] not in (1, 3):
            raise ValueError(f"RAFT takes frames of 3 channels or 1, got {first.shape[1]}")
        self.network.to(first.device)
        height, width = first.shape[-2:]
        scale = max(1.0, RAFT_SIDE / min(height, width))
        size = [RAFT_STEP * round(scale * side / RAFT_STEP) for side in (height, width)]
        size = [max(RAFT_SIDE, side) for side in size]
        shown = [
            F.interpolate(frames.float(), size=size, mode="bilinear", align_corners=False)
            for frames in (first, second)
        ]
        ready = [(2 * frames - 1).expand(-1, 3, -1, -1).contiguous() for frames in shown]
        flow = self.network(*ready, num_flow_updates=self.updates)[-1]  # (B, 2, h, w), x and y
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        short = min(height, width)
        rows = flow[:, 1] * height / size[0] / short
        columns = flow[:, 0] * width / size[1] / short
        return torch.stack([rows, columns], dim=1)


FLOWS: dict[str, Flow] = {
    "blocks": block_flow,
    "dis": dis_flow,
    "farneback": farneback_flow,
}
OF_OPENCV = frozenset({"dis", "farneback"})


def require_opencv() -> Any:
    """OpenCV, or what to install.

    Raises:
        ModuleNotFoundError: If it is missing.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise ModuleNotFoundError(
            'flow="dis" and "farneback" are by OpenCV: pip install super-selfish[flow], or take '
            'flow="blocks"'
        ) from error


def is_raft(given: object) -> bool:
    """Whether something is torchvision's RAFT, whose call gives a list."""
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(given).__mro__}
    return "torchvision.models.optical_flow.raft.RAFT" in names


def _of_gray(flow: Callable[[Any, Any], Any], first: Tensor, second: Tensor) -> Tensor:
    """Displacements of pairs of gray frames, one after the other, in pixels, x before y."""
    gray = [
        (255 * frames.detach().float().mean(dim=1)).round().clamp(0, 255).to(torch.uint8).cpu()
        for frames in (first, second)
    ]
    found = [
        torch.from_numpy(flow(one.numpy(), other.numpy())) for one, other in zip(*gray, strict=True)
    ]
    in_pixels = torch.stack(found).to(first.device)  # (B, H, W, 2)
    return in_pixels.flip(-1).permute(0, 3, 1, 2) / min(first.shape[-2:])


def _raft_with(weights: str | os.PathLike[str] | Mapping[str, Tensor]) -> nn.Module:
    from torchvision.models.optical_flow import raft_large, raft_small

    state = weights
    if not isinstance(state, Mapping):
        file = os.path.expanduser(state)
        state = torch.load(file, map_location="cpu", weights_only=True)
    for build in (raft_large, raft_small):
        network: nn.Module = build(weights=None, progress=False)
        own = network.state_dict()
        if own.keys() == state.keys() and all(own[k].shape == state[k].shape for k in own):
            network.load_state_dict(state)
            return network
    raise ValueError(
        "these are no weights of torchvision's raft_large or raft_small: give a file of their "
        "state dict, or the network itself"
    )
