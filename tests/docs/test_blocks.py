"""Every block of Python in the README and the documentation runs, as it stands, page by page.

Each page runs in a folder that has what the pages speak of, and with the names that they take for
granted. What takes hours is made short: runs have one epoch, comparisons one seed, the networks of
clusters are small ones. What chooses by the clock, `pretrain` and `choose`, is called by its real
signature and not waited for: its own tests run it.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import inspect
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from torch import nn

import super_selfish
from super_selfish import evaluation
from super_selfish.evaluation.comparison.plan import algorithms_by_name
from super_selfish.evaluation.protocols import expand_protocols
from super_selfish.supervisors import RotateNetSupervisor, Supervisor
from tests.conftest import tiny_teacher
from tests.data.standing_in import modules

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "design.md",
    "streams.md",
}  # tests/test_design.py runs these, and looks at what they do
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALLER = {  # by what stands on the page; nothing is fetched
    'weights="imagenet")': "weights=None)",
    '"resnet50"': '"narrow-resnet"',
    '"resnet18", weights': '"narrow-resnet", weights',
    '"resnet18", image_size': '"narrow-resnet", image_size',
    '"resnet18", value_range': '"narrow-resnet", value_range',
    '(drawn, "resnet18")': '(drawn, "narrow-resnet")',
    'build_backbone("resnet18"': 'build_backbone("narrow-resnet"',
    'teacher="timm/vit_small_patch14_dinov2.lvd142m"': "teacher=tiny_teacher()",
    "queue_size=65536": "queue_size=8",
}


NOT_EVERYWHERE = {"datasets"}  # its blocks run where it is


def is_there(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def pages_to_run() -> list[Path]:
    """Those with blocks, but for pages of which every block stands on another one as well."""
    found = {page: blocks_of(page) for page in PAGES if page.name not in ELSEWHERE}
    for page, blocks in list(found.items()):
        others = [block for other in found if other != page for block in found[other]]
        if set(blocks) <= set(others):
            del found[page]
    return list(found)


def pictures(number: int, seed: int, side: int = 32) -> np.ndarray:
    """Smooth colour images [number, side, side, 3] of bytes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(number, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (smooth.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def make_files(folder: Path) -> None:
    """What the pages name: folders of images, of frames, of raw files and of masks."""
    for place, seed in (("path/to/images", 0), ("path/to/test/images", 1)):
        for number, image in enumerate(pictures(16, seed)):
            file = folder / place / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    test_image = folder / "path/to/test/images/a/0.png"  # which is among the others as well
    (folder / "path/to/images/a/copy.png").write_bytes(test_image.read_bytes())
    for place in (
        "ct",
        "volumes",
        "sequences",
        "xrays",
        "sentinel2",
        "frames",
        "scans",
        "raw",
        "tiles",
        "pets/images",
        "photographs",
    ):
        (folder / place).mkdir(parents=True)
    (folder / "pets/annotations/trimaps").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number, image in enumerate(pictures(12, 2)):
        Image.fromarray(image).save(folder / "frames" / f"{number:02}.png")
        Image.fromarray(image).save(folder / "photographs" / f"{number:02}.png")
        image[..., 0].tofile(folder / "raw" / f"{number}.raw")
        deep = Image.fromarray((image[..., 0].astype(np.uint16) << 4), mode=None)
        deep.save(folder / "scans" / f"{number}.tif")
        tifffile.imwrite(folder / "ct" / f"{number}.tif", image[..., 0].astype(np.int16) * 5 - 1000)
        scene = generator.integers(0, 4000, (32, 32, 13)).astype(np.uint16)
        tifffile.imwrite(folder / "sentinel2" / f"{number}.tif", scene, planarconfig="contig")
        bands = generator.integers(0, 10_000, (32, 32, 10)).astype(np.int32)
        np.save(folder / "tiles" / f"{number}.npy", bands)
        Image.fromarray(image).save(folder / "pets/images" / f"pet{number}.jpg")
        trimap = generator.integers(1, 4, (4, 4)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(trimap).save(folder / "pets/annotations/trimaps" / f"pet{number}.png")
    volume = generator.normal(size=(32, 32, 12)).astype(np.float32)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(folder / "volumes" / "head.nii.gz")
    phases = generator.normal(size=(32, 32, 4, 3)).astype(np.float32)
    nibabel.Nifti1Image(phases, np.eye(4)).to_filename(folder / "sequences" / "head.nii.gz")
    scan = dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    scan.WindowCenter, scan.WindowWidth = [40, -600], [400, 1500]
    for number in range(4):
        scan.save_as(folder / "xrays" / f"{number}.dcm")
    with h5py.File(folder / "patches.h5", "w") as file:
        file["images"] = pictures(8, 3)
    names = [f"pet{number} 1 1 1\n" for number in range(12)]
    (folder / "pets/annotations/trainval.txt").write_text("".join(names[:8]))
    (folder / "pets/annotations/test.txt").write_text("".join(names[8:]))


def labelled(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sixteen images in two classes."""
    return torch.from_numpy(pictures(16, seed)).permute(0, 3, 1, 2), torch.arange(16) % 2


class Ground(NamedTuple):
    """What every page begins with a copy of."""

    folder: Path
    supervisor: Supervisor  # its run is stored there, as store/base.pt


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Made once."""
    folder = tmp_path_factory.mktemp("ground")
    make_files(folder)
    supervisor = RotateNetSupervisor(labelled(0), "narrow-resnet")
    supervisor.supervise(epochs=1, batch_size=16, name=folder / "store/base", progress=False)
    return Ground(folder, supervisor)


def names_taken_for_granted(supervisor: Supervisor) -> dict[str, Any]:
    """What a page may use without saying where it comes from."""
    train, test, cars, pets = (labelled(seed) for seed in range(4))
    images, labels = train
    return {
        "__name__": "a page",
        **{"images": images, "labels": labels, "supervisor": supervisor},
        "tiny_teacher": tiny_teacher,  # for one that would have to be fetched
        **{"labelled_train": train, "labelled_test": test, "train": train, "test": test},
        **{"cars": cars, "test_cars": test, "pets": pets, "test_pets": test},
        **{"backbone": supervisor.get_backbone(), "network": supervisor.get_backbone()},
    }


def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of one epoch, comparisons of one seed; what goes by the clock is bound alone."""
    supervise, report = Supervisor.supervise, Supervisor.report
    compare, evaluate = evaluation.compare, evaluation.evaluate

    @functools.wraps(supervise)
    def short_run(self: Supervisor, *args: Any, **named: Any) -> Any:
        given = inspect.signature(supervise).bind(self, *args, **named)
        given.arguments.pop("devices", None)  # accelerators, which are not here
        given.arguments.update(epochs=1, progress=False)
        if isinstance(given.arguments.get("batch_size"), int):
            given.arguments["batch_size"] = min(given.arguments["batch_size"], 16)
        return supervise(*given.args, **given.kwargs)

    @functools.wraps(compare)
    def short_comparison(*args: Any, **named: Any) -> Any:
        given = inspect.signature(compare).bind(*args, **named)
        assert given.arguments.pop("budget") is not None
        expand_protocols(given.arguments.get("protocols", ("knn",)))
        given.arguments.update(epochs=1, seeds=1, progress=False)
        given.arguments.update(backbone="narrow-resnet", protocols=["knn"])
        if "base_sizes" in given.arguments:
            given.arguments["base_sizes"] = [8]
        if isinstance(given.arguments["algorithms"], list):
            algorithms_by_name(given.arguments["algorithms"])
            given.arguments["algorithms"] = given.arguments["algorithms"][:1]
        return compare(*given.args, **given.kwargs)

    @functools.wraps(evaluate)
    def short_evaluation(*args: Any, **named: Any) -> Any:
        given = inspect.signature(evaluate).bind(*args, **named)
        wanted = expand_protocols(given.arguments.get("protocols", ("knn",)))
        of_pixels = [name for name in wanted if name.startswith("segmentation")]
        given.arguments["protocols"] = of_pixels[:1] or ["knn"]
        return evaluate(*given.args, **given.kwargs)

    @functools.wraps(report)
    def short_report(self: Supervisor, *args: Any, **named: Any) -> Any:
        return report(self, *args, **{"most_images": 8, "map_method": "pca", **named})

    def bound_alone(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            inspect.signature(function).bind(*args, **named)
            return SimpleNamespace(backbone=nn.Identity())

        return call

    monkeypatch.setattr(Supervisor, "supervise", short_run)
    monkeypatch.setattr(Supervisor, "report", short_report)
    monkeypatch.setattr(evaluation, "compare", short_comparison)
    monkeypatch.setattr(evaluation, "evaluate", short_evaluation)
    for name in ("pretrain", "choose"):
        monkeypatch.setattr(super_selfish, name, bound_alone(getattr(super_selfish, name)))


@pytest.mark.filterwarnings("ignore")  # tiny images, tiny batches: their warnings are right
@pytest.mark.parametrize("page", pages_to_run(), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: Path, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ground.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name, module in modules().items():  # what is on the page needs files of theirs
        monkeypatch.setitem(sys.modules, name, module)
    shortened(monkeypatch)
    torch.manual_seed(0)
    names = names_taken_for_granted(copy.deepcopy(ground.supervisor))
    for number, block in enumerate(blocks_of(page), 1):
        for large, small in SMALLER.items():
            block = block.replace(large, small)
        library = re.match(r"from (\w+)", block)
        if library is not None and library[1] in NOT_EVERYWHERE and not is_there(library[1]):
            continue
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


def test_most_pages_have_blocks() -> None:
    found = pages_to_run()
    assert len(found) > 20
    assert sum(len(blocks_of(page)) for page in found) > 50
