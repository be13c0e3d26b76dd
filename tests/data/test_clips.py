from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data.clips import FramePairs, holds_video

needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="PyAV, which decodes video, is not installed"
)


def frames(count: int, height: int = 24, width: int = 32) -> Tensor:
    """Every frame has its own grey, and a white half."""
    greys = torch.arange(count, dtype=torch.uint8) * 7
    clip = greys[:, None, None, None].expand(count, 3, height, width).contiguous()
    clip[..., width // 2 :] = 255
    return clip


def brighter(clip: Tensor) -> Tensor:
    return torch.where(clip == 255, 255, clip + 100).to(torch.uint8)


def write_frames(folder: Path, clip: Tensor) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(clip):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{number:04}.png")


def write_video(path: Path, clip: Tensor) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = clip.shape[3], clip.shape[2], "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in clip:
            array = frame.permute(1, 2, 0).contiguous().numpy()
            for packet in stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def greys(pairs: FramePairs) -> list[tuple[int, int]]:
    return [(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in (pairs[i] for i in range(len(pairs)))]


@pytest.mark.parametrize("step", [1, 3])
def test_pairs_never_cross_from_one_clip_to_the_next(step: int) -> None:
    pairs = FramePairs([frames(5), brighter(frames(4))], step)
    expected = [(7 * i, 7 * (i + step)) for i in range(5 - step)]
    expected += [(100 + 7 * i, 100 + 7 * (i + step)) for i in range(4 - step)]
    assert greys(pairs) == expected
    assert pairs.size == (24, 32)


def test_a_folder_of_frames_is_a_clip_in_the_order_of_names(tmp_path: Path) -> None:
    write_frames(tmp_path / "one", frames(12))
    (tmp_path / "one" / "notes.txt").write_text("no frame")
    assert greys(FramePairs(tmp_path / "one")) == [(7 * i, 7 * i + 7) for i in range(11)]


def test_a_folder_of_folders_is_one_clip_each(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips" / "a", frames(3))
    write_frames(tmp_path / "clips" / "b", brighter(frames(2, 48, 48)))
    pairs = FramePairs(tmp_path / "clips")
    assert greys(pairs) == [(0, 7), (7, 14), (100, 107)]
    assert all(frame.shape == (3, 24, 32) for pair in (pairs[0], pairs[2]) for frame in pair)
    assert FramePairs(tmp_path / "clips", image_size=16)[2][1].shape == (3, 16, 16)


@needs_av
def test_video_files_are_decoded(tmp_path: Path) -> None:
    write_video(tmp_path / "b.mp4", frames(6, 48, 64))
    write_video(tmp_path / "a.mp4", brighter(frames(4, 48, 64)))
    assert holds_video(tmp_path) and holds_video(tmp_path / "a.mp4")
    for given in (tmp_path, [tmp_path / "a.mp4", str(tmp_path / "b.mp4")]):
        pairs = FramePairs(given, 2)
        found = torch.tensor(greys(pairs))
        expected = [(100, 114), (107, 121), *((7 * i, 7 * i + 14) for i in range(4))]
        torch.testing.assert_close(found, torch.tensor(expected), atol=6, rtol=0)
    assert FramePairs(tmp_path / "a.mp4", image_size=(24, 40))[0][0].shape == (3, 24, 40)


@needs_av
def test_too_many_frames_for_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from super_selfish.data import clips

    write_video(tmp_path / "a.mp4", frames(6, 48, 64))
    monkeypatch.setattr(clips, "MOST_BYTES", 20_000)
    with pytest.raises(ValueError, match="more than 0 GB in memory at 48x64 pixels: give"):
        FramePairs(tmp_path / "a.mp4")


def test_without_pyav_a_video_file_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(ModuleNotFoundError, match=r"pip install super-selfish\[video\]"):
        FramePairs(tmp_path / "a.mp4")


def test_what_holds_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip has more than 4 frames, the longest has 4"):
        FramePairs([frames(4)], 4)
    with pytest.raises(FileNotFoundError, match="there is no"):
        FramePairs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="neither frames nor video files"):
        FramePairs(tmp_path)
    with pytest.raises(ValueError, match="step must be at least 1"):
        FramePairs([frames(4)], 0)
    with pytest.raises(TypeError, match="clips must be a folder"):
        FramePairs(3)


def test_stills_are_no_video(tmp_path: Path) -> None:
    write_frames(tmp_path / "stills", frames(2))
    assert not holds_video(tmp_path / "stills")
    assert not holds_video(frames(3))
    assert not holds_video(None)
    assert holds_video(FramePairs([frames(3)]))
