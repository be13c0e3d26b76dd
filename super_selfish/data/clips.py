"""Pairs of frames of video: a frame, and the one some frames later.

Frames come from folders of images, each a clip, or from video files, which PyAV decodes (`pip
install super-selfish[video]`): its wheels bring FFmpeg along, for every Python and platform that
this library supports, and do not depend on the version of torch, as torchcodec's do.

Shapes: `F` frames; `C, H, W` channels, height, width.
"""

from __future__ import annotations

import importlib
import os
import statistics
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.files import IMAGE_ENDINGS
from super_selfish.data.fitting import fit_size, parse_size
from super_selfish.data.samples import images_at
from super_selfish.data.sources import ImageSource
from super_selfish.training.counting import plural
from super_selfish.training.typed import as_count

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v")
MOST_BYTES = 4_000_000_000  # of decoded frames that are kept in memory


class FramePairs:
    """A dataset of (frame, the frame `step` later), both `[C, H, W]`.

    Attributes:
        step: Frames from one to the other.
        size: (height, width) of all frames.
    """

    def __init__(
        self,
        clips: Any,
        step: int = 1,
        *,
        image_size: int | tuple[int, int] | None = None,
    ) -> None:
        """Finds the clips.

        Args:
            clips: A folder of frames, which is one clip in the order of their names, or a folder of
                such folders; a video file, or a folder or list of video files, whose frames are
                decoded into memory; or a list of tensors or arrays `[F, C, H, W]`.
            step: Frames from the first of a pair to the second.
            image_size: Side or (height, width) to which frames are brought. Default: that of the
                first one.

        Raises:
            ValueError: If there is no pair, or decoded frames are too many for memory.
            FileNotFoundError: If there is no such folder or file.
            ModuleNotFoundError: If there is a video file, and no PyAV.
        """
        self.step = as_count("step", step)
        self.given = clips
        found = _clips(clips)
        first = found[0] if found else None
        if first is None:
            raise ValueError(f"there are neither frames nor video files in {clips!r}")
        self.size = _size_of(first) if image_size is None else parse_size(image_size)
        lengths = []
        if isinstance(first, Tensor):
            frames: Any = torch.cat([fit_size(clip, self.size) for clip in found])
            lengths = [len(clip) for clip in found]
        elif isinstance(first, Path):
            decoded = _decoded(found, self.size)
            frames, lengths = torch.cat(decoded), [len(clip) for clip in decoded]
        else:
            frames = [path for clip in found for path in clip]
            lengths = [len(clip) for clip in found]
        self.frames = ImageSource(frames, self.size)
        self.starts = [
            start + position
            for start, length in zip([0, *accumulate(lengths)][:-1], lengths, strict=True)
            for position in range(length - self.step)
        ]
        if not self.starts:
            raise ValueError(
                f"no clip has more than {plural(self.step, 'frame')}, the longest has "
                f"{max(lengths)}: give a smaller step, or clips instead of single images"
            )

    def of_size(self, image_size: tuple[int, int]) -> FramePairs:
        """The same pairs in another size."""
        if image_size == self.size:
            return self
        return FramePairs(self.given, self.step, image_size=image_size)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.starts)

    def likeness(self, count: int = 12) -> float:
        """How alike the frames of a pair are: their correlation, the median of some pairs.

        Of frames in gray, 16 cells a side. Frames without any contrast count as alike.

        Args:
            count: Pairs to look at, spread over all.

        Returns:
            About 1 for video, about 0 for pictures that have nothing to do with each other.
        """
        chosen = torch.linspace(0, len(self) - 1, min(count, len(self))).long().tolist()
        found = []
        for index in chosen:
            cells = [
                F.adaptive_avg_pool2d(to_unit_range(frame)[None].mean(dim=1), 16).flatten()
                for frame in self[index]
            ]
            first, second = (frame - frame.mean() for frame in cells)
            lengths = first.norm() * second.norm()
            found.append(float(first @ second / lengths) if lengths > 1e-3 else 1.0)
        return statistics.median(found)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """A frame and a later one."""
        start = self.starts[index]
        first, second = images_at(self.frames, [start, start + self.step])
        return first, second


def holds_video(dataset: Any) -> bool:
    """Whether a dataset is video: pairs of frames, a video file, or a folder of such files."""
    if isinstance(dataset, FramePairs):
        return True
    if not isinstance(dataset, str | os.PathLike):
        return False
    path = Path(dataset).expanduser()
    if path.is_dir():
        return any(_is_video(file) for file in path.iterdir())
    return _is_video(path)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _clips(given: Any) -> list[Any]:
    """Tensors, paths of video files, or lists of paths of frames: all of one kind."""
    if isinstance(given, str | os.PathLike):
        return _clips_of_path(Path(given).expanduser())
    if isinstance(given, Sequence) and given and isinstance(given[0], str | os.PathLike):
        return [clip for path in given for clip in _clips_of_path(Path(path).expanduser())]
    if isinstance(given, Sequence):
        return [torch.as_tensor(clip) for clip in given]
    raise TypeError(
        "clips must be a folder, a video file, or a list of these or of tensors [F, C, H, W], got "
        f"a {type(given).__name__}"
    )


def _clips_of_path(path: Path) -> list[Any]:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    videos: list[Any] = [file for file in files if file.is_file() and _is_video(file)]
    if videos:
        return videos
    frames = [file for file in files if file.suffix.lower() in IMAGE_ENDINGS]
    own: list[Any] = [frames] if frames else []
    return own + [clip for file in files if file.is_dir() for clip in _clips_of_path(file)]


def _size_of(clip: Any) -> tuple[int, int]:
    if isinstance(clip, Tensor):
        return (clip.shape[-2], clip.shape[-1])
    if isinstance(clip, Path):
        with _opened(clip) as video:
            stream = video.streams.video[0]
            return (stream.height, stream.width)
    sample = ImageSource([clip[0]])
    height, width = sample.read_numbers(0, None)[0].shape[-2:]
    return (height, width)


def _opened(path: Path) -> Any:
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path} is a video file, which PyAV decodes: pip install super-selfish[video], or "
            "give a folder of its frames"
        ) from error
    return av.open(str(path))


def _decoded(paths: Sequence[Path], size: tuple[int, int]) -> list[Tensor]:
    """The frames of video files, `[F, 3, height, width]` uint8 each."""
    clips, taken = [], 0
    for path in paths:
        frames = []
        with _opened(path) as video:
            for frame in video.decode(video=0):
                image = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                frames.append(fit_size(image, size).contiguous())
                taken += frames[-1].nbytes
                if taken > MOST_BYTES:
                    raise ValueError(
                        f"the frames of {plural(len(paths), 'video file')} take more than "
                        f"{MOST_BYTES / 1e9:.0f} GB in memory at {size[0]}x{size[1]} pixels: give "
                        "a smaller image_size, shorter clips, or folders of frames"
                    )
        if not frames:
            raise ValueError(f"{path} has no frames")
        clips.append(torch.stack(frames))
    return clips
