"""Options of images through supervisors: in training, in checkpoints, in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data import ImageSource
from super_selfish.evaluation import embed, evaluate, health
from super_selfish.evaluation.features import extract_features
from super_selfish.supervisors import SUPERVISORS, RotateNetSupervisor, Supervisor
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint


def bands(folder: Path, count: int = 6, channels: int = 13, top: int = 4095) -> NDArray[Any]:
    """A folder of TIFFs of 12 bits in 16, `[N, C, 32, 32]` of which are returned."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    images = generator.integers(0, top + 1, (count, channels, 32, 32), dtype=np.uint16)
    for number, image in enumerate(images):
        tifffile.imwrite(
            folder / f"{number}.tif", image, photometric="minisblack", planarconfig="separate"
        )
    return images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bands(tmp_path / "bands")
    return tmp_path / "bands"


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store" / "base")


def test_bands_of_twelve_bits_take_the_two_lines(
    folder: Path,
    store: str,
    tiny_backbone: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    supervisor = RotateNetSupervisor(folder, tiny_backbone(13), value_range="bits")
    supervisor.supervise(epochs=1, batch_size=3, name=store)

    assert supervisor.value_range == (0.0, 4095.0)
    said = capfd.readouterr().err
    found = "are uint16 of 0 to 4095, taken 0 to 4095 as black to white"
    assert said.count(found) == 1
    page = supervisor.report(store).read_text()
    assert found in page and "(0.0, 4095.0)" in page

    loaded = RotateNetSupervisor(backbone=tiny_backbone(13), in_channels=13).load(store)
    assert loaded.value_range == (0.0, 4095.0)
    features = extract_features(loaded, folder).features
    known = ImageSource(folder, value_range=(0, 4095))
    assert torch.equal(features, extract_features(loaded.get_backbone(), known).features)
    with pytest.warns(UserWarning, match=r"images use 6\.\d% of black to white"):
        other = extract_features(loaded.get_backbone(), folder).features
    assert not torch.allclose(features, other, atol=1e-3)


def test_evaluation_reads_images_as_training_did(
    folder: Path, store: str, tmp_path: Path, tiny_backbone: Callable[..., Any]
) -> None:
    RotateNetSupervisor(folder, tiny_backbone(13), value_range=(0, 4095)).save(store)
    loaded = RotateNetSupervisor(backbone=tiny_backbone(13), in_channels=13).load(store)
    labels = [0, 1] * 3
    evaluate(loaded, (str(folder), labels), (str(folder), labels), protocols=("knn",))
    assert health(loaded, folder).images == 6
    embed(loaded, folder, tmp_path / "features.csv")
    wrong = ImageSource(folder, value_range=(0, 20000))
    with pytest.raises(ValueError, match=r"value_range=\(0\.0, 20000\.0\), but value_range is"):
        extract_features(loaded, wrong)
    with pytest.raises(TypeError, match="labels need images in a fixed order"):
        evaluate(loaded, (folder.glob("*"), labels), (str(folder), labels))


def test_another_range_than_the_stored_one_is_told(
    folder: Path, store: str, tiny_backbone: Callable[..., Any]
) -> None:
    def built(value_range: Any) -> RotateNetSupervisor:
        return RotateNetSupervisor(folder, tiny_backbone(13), value_range=value_range)

    built((0, 4095)).supervise(epochs=1, batch_size=3, name=store)
    with pytest.warns(UserWarning, match=r"trained on images with value_range=\(0\.0, 4095\.0\)"):
        built((0, 5000)).load(store)
    with pytest.raises(ValueError, match=r"value_range=\(0\.0, 4095\.0\).*\(0\.0, 5000\.0\)"):
        built((0, 5000)).supervise(epochs=2, batch_size=3, name=store, resume=True)
    built("bits").supervise(epochs=2, batch_size=3, name=store, resume=True)  # the same


def test_a_checkpoint_cannot_name_something_else_as_a_range(
    folder: Path, store: str, tiny_backbone: Callable[..., Any]
) -> None:
    RotateNetSupervisor(folder, tiny_backbone(13), value_range=(0, 4095)).save(store)
    state = read_checkpoint(checkpoint_path(store))
    for wrong in ("percentile", (3, 2), "x"):
        write_checkpoint(checkpoint_path(store), {**state, "value_range": wrong})
        with pytest.raises(ValueError, match="value_range"):
            RotateNetSupervisor(backbone=tiny_backbone(13), in_channels=13).load(store)
    del state["value_range"]  # as checkpoints were before
    write_checkpoint(checkpoint_path(store), state)
    assert (
        RotateNetSupervisor(backbone=tiny_backbone(13), in_channels=13).load(store).value_range
        is None
    )


@pytest.mark.parametrize("name", SUPERVISORS)
def test_every_algorithm_takes_the_options_of_images(name: str, tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.raw", np.full((32, 32, 3), number, np.uint8))
    with pytest.raises(OSError, match=r"cannot read image .*0\.raw\.npy"):
        SUPERVISORS[name](tmp_path, on_error="raise", loader=unreadable)
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        SUPERVISORS[name](tmp_path, on_error="ignore")
    with pytest.raises(ValueError, match="value_range must be"):
        SUPERVISORS[name](tmp_path, value_range="all")
    with pytest.raises(ValueError, match="pages must be"):
        SUPERVISORS[name](tmp_path, pages="all")


def unreadable(path: str) -> Any:
    raise OSError("of no kind")


def test_an_algorithm_reads_pages_and_leaves_out_what_it_cannot_read(
    tmp_path: Path, tiny_backbone: Callable[..., Any]
) -> None:
    generator = np.random.default_rng(0)
    stack = generator.integers(0, 256, (4, 32, 32), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "1.tif", stack, photometric="minisblack")
    (tmp_path / "2.tif").write_bytes(b"II*\0broken")
    supervisor = RotateNetSupervisor(
        tmp_path, tiny_backbone(1), pages="frames", on_error="skip", in_channels=1, image_size=32
    )
    with pytest.warns(UserWarning, match=r"left out: .*2\.tif"):
        supervisor.supervise(epochs=1, batch_size=5, name=None)
    assert supervisor.history[0]["unreadable"] == 1
    assert "damaged" not in supervisor.history[0]


def test_damaged_photographs_are_left_out_counted_and_told(
    tmp_path: Path, tiny_backbone: Callable[..., Any]
) -> None:
    pytest.importorskip("simplejpeg")
    generator = np.random.default_rng(0)
    for number in range(4):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64)).save(tmp_path / f"{number}.jpg")
    whole = (tmp_path / "2.jpg").read_bytes()
    scan = whole.index(b"\xff\xda") + 60
    (tmp_path / "2.jpg").write_bytes(whole[:scan] + b"\xff\xd9")  # the end comes too early
    with Image.open(tmp_path / "2.jpg") as image:
        image.load()  # Pillow makes up the rest, and says nothing

    with pytest.raises(ValueError, match=r"2\.jpg: DamagedError: the file is damaged \(Corrupt"):
        list(ImageSource(tmp_path))  # type: ignore[call-overload]
    supervisor = RotateNetSupervisor(tmp_path, tiny_backbone(), on_error="skip")
    with pytest.warns(UserWarning, match=r"left out: .*2\.jpg: DamagedError"):
        supervisor.supervise(epochs=1, batch_size=4, name=None)
    assert (supervisor.history[0]["unreadable"], supervisor.history[0]["damaged"]) == (1, 1)


def test_a_supervisor_without_images_knows_a_range_that_was_given() -> None:
    assert Supervisor(value_range=(0, 10)).value_range == (0.0, 10.0)
    assert Supervisor(value_range="percentile").value_range is None
