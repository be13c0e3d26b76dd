from __future__ import annotations

import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import super_selfish
from super_selfish.data import ImageSource
from super_selfish.supervisors import (
    LabelSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
)
from super_selfish.training.telling import warn
from tests.conftest import TinyBackbone

SETTINGS: dict[str, Any] = {"batch_size": 8, "progress": False}


def explodes(images: Tensor, folder: Path) -> None:
    class Exploding(RotateNetSupervisor):
        def _forward(self, data: Any) -> Any:
            assert self.run is not None
            return super()._forward(data) * 10.0 ** (self.run.step * 4)

    Exploding(images, TinyBackbone()).supervise(epochs=1, name=None, **SETTINGS)


def loads_the_former(images: Tensor, folder: Path) -> None:
    supervisor = RotateNetSupervisor(images, TinyBackbone())
    supervisor.supervise(epochs=1, name=folder / "base", **SETTINGS)
    shutil.copy(folder / "base.pt", folder / "base-previous.pt")
    (folder / "base.pt").write_bytes(b"damaged")
    supervisor.load(folder / "base")


def sees_an_item_that_cannot_be_read(images: Tensor, folder: Path) -> None:
    items = [*images[:16], None]
    supervisor = RotateNetSupervisor(items, TinyBackbone(), on_error="skip")
    supervisor.supervise(epochs=1, name=None, **SETTINGS)


def finds_files_that_are_no_images(images: Tensor, folder: Path) -> None:
    shutil.copy(__file__, folder / "scan.psd")
    (folder / "a.ppm").write_bytes(b"P6 32 32 255\n" + bytes(images[0].permute(1, 2, 0).flatten()))
    ImageSource(folder)


def keeps_too_few_groups(images: Tensor, folder: Path) -> None:
    supervisor = MomentumContrastSupervisor(images, TinyBackbone())
    supervisor.supervise(epochs=1, name=None, **{**SETTINGS, "batch_size": 4})


@pytest.mark.parametrize(
    "warns",
    [
        explodes,
        loads_the_former,
        sees_an_item_that_cannot_be_read,
        finds_files_that_are_no_images,
        keeps_too_few_groups,
    ],
)
def test_a_warning_shows_the_line_of_the_user(
    warns: Callable[[Tensor, Path], None], images: Tensor, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warns(images, tmp_path)
    assert caught
    assert {warning.filename for warning in caught} == {__file__}


def test_a_warning_within_torch_shows_the_line_of_the_user() -> None:
    supervisor = LabelSupervisor(num_classes=2, backbone=TinyBackbone())
    handle = supervisor.model.register_forward_pre_hook(of_the_package(lambda *_: warn("here")))
    with pytest.warns(UserWarning, match="here") as caught:
        supervisor.predict(torch.zeros(1, 3, 32, 32))
    handle.remove()
    assert caught[0].filename == __file__


def of_the_package(function: Any) -> Any:
    """The function as if it stood in the package."""
    names = {**function.__globals__, "__name__": "super_selfish.somewhere"}
    return type(function)(function.__code__, names, "of_the_package", None, function.__closure__)


def test_python_shows_the_script_and_says_it_once_a_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from super_selfish.training.telling import warn\n"
        "for _ in range(3):\n"
        "    warn('change this')  # mine\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stderr == (f"{script}:3: UserWarning: change this\n  warn('change this')  # mine\n")


def test_all_warnings_of_the_package_go_this_way() -> None:
    root = Path(super_selfish.__file__).parent
    others = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"warnings\.warn\(|stacklevel", path.read_text())
    ]
    assert others == ["training/telling.py"]
