"""CSV files and frames as images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from super_selfish.data import ImageSource, as_source
from super_selfish.data.labels import labels_of
from super_selfish.evaluation import evaluate
from super_selfish.evaluation.features import labelled_only, open_data


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    for number in range(4):
        pixels = np.full((32, 32, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scans" / f"{number}.png")
    return tmp_path


def table(folder: Path, text: str, name: str = "images.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def read(data: Any) -> tuple[list[str], list[int] | None, Any]:
    """Names of the files, labels and classes."""
    source = as_source(data)
    labels = labels_of(source)
    names = [Path(source.name(index)).name for index in range(len(source))]
    return names, None if labels is None else labels.tolist(), source.classes


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("path,label\nscans/0.png,dog\nscans/1.png,cat\n", "images.csv"),
        ("\ufeffImage Path;Class;other\nscans/0.png;dog;1\nscans/1.png;cat;2\n", "images.CSV"),
        ("other\tspecies of it\nscans/0.png\tdog\n\nscans/1.png\tcat\n", "images.tsv"),
        ("scans/0.png,dog\nscans/1.png,cat\n", "images.csv"),
        ('label,file\n"dog"," scans/0.png "\ncat,scans/1.png\n', "images.csv"),
    ],
)
def test_columns_are_found_however_they_are_called(text: str, name: str, pictures: Path) -> None:
    assert read(table(pictures, text, name)) == (["0.png", "1.png"], [1, 0], ["cat", "dog"])


def test_images_are_those_of_the_files(pictures: Path) -> None:
    source = ImageSource(table(pictures, "path\nscans/3.png\nscans/1.png\n"))
    values = [int(sample.image.max()) for sample in (source[0], source[1])]  # type: ignore[union-attr]
    assert values == [180, 60]
    assert labels_of(source) is None and source.classes is None


def test_paths_may_be_relative_to_the_present_folder(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "lists").mkdir()
    path = table(pictures / "lists", "path,label\nscans/0.png,3\nscans/2.png,7.0\n")
    with pytest.raises(ValueError, match=r"names scans/0.png, which is not in .*lists nor in the"):
        as_source(path)
    monkeypatch.chdir(pictures)
    assert read(path) == (["0.png", "2.png"], [3, 7], None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: expected a column of paths"),
        ("path,label\n", "has no rows"),
        ("a,b,c\n1,2,3\n", "which column of .* holds the paths of the images\\? Call it 'path'"),
        ("path,label\nscans/0.png\n", "line 2 of .* has 1 cells, and 2 columns are named"),
        ("path,label\n,cat\n", "row 0 of .* has no path"),
    ],
)
def test_what_is_no_table_is_refused(text: str, message: str, pictures: Path) -> None:
    with pytest.raises(ValueError, match=message):
        as_source(table(pictures, text))


class DataFrame:
    """As much of a frame as is asked for."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = list(columns)
        self._entries = columns

    def __getitem__(self, name: str) -> list[Any]:
        return self._entries[name]


class NAType:
    """As pandas has it: neither true nor false."""

    def __bool__(self) -> bool:
        raise TypeError


def test_a_frame_is_asked_for_its_columns(pictures: Path) -> None:
    paths = [pictures / "scans" / f"{number}.png" for number in range(3)]
    frame = DataFrame(weight=[1.5, 2.5, 3.5], path=paths, label=["b", "a", NAType()])
    assert read(frame) == (["0.png", "1.png", "2.png"], [1, 0, -1], ["a", "b"])
    frame = DataFrame(path=paths, label=[np.float64(2), float("nan"), None])
    assert read(frame)[1] == [2, -1, -1]
    assert read(DataFrame(path=paths, label=[None] * 3))[1] is None
    assert read(DataFrame(path=paths, label=[True, False, True]))[1] == [1, 0, 1]
    with pytest.raises(ValueError, match="'label' of the DataFrame holds numbers that are not"):
        read(DataFrame(path=paths, label=[0.5, 1.0, 2.0]))


def test_a_table_of_arrow_is_a_frame(pictures: Path) -> None:
    class Column(list[Any]):
        def to_pylist(self) -> list[Any]:
            return [f"{entry}.png" for entry in self]

    class Table(DataFrame):
        @property
        def column_names(self) -> list[str]:
            return ["path"]

    frame = Table(path=Column([str(pictures / "scans" / "1")]))
    frame.columns = [["some", "arrays"]]  # type: ignore[list-item]
    assert read(frame) == (["1.png"], None, None)


def test_images_without_a_label_do_not_count_in_a_rating(
    pictures: Path, tiny_backbone: Callable[..., Any]
) -> None:
    rows = [f"scans/{number % 4}.png,{('a', 'b', '')[number % 3]}" for number in range(12)]
    path = table(pictures, "\n".join(["path,label", *rows]))
    with pytest.warns(UserWarning, match="4 of 12 t[a-z]+ images have no label"):
        opened = labelled_only(open_data(path), "train")
        found = evaluate(tiny_backbone(), path, path, protocols=("knn",), untrained=None)
    assert len(opened.images) == 8
    assert labels_of(opened.images).tolist() == [0, 1] * 4  # type: ignore[union-attr]
    assert (found.train_images, found.test_images, found.classes) == (8, 8, 2)
    assert found.class_names == ("a", "b")


def test_a_reader_of_ones_own_reads_tables_as_images(pictures: Path) -> None:
    path = table(pictures, "1,2\n")
    source = ImageSource(path, loader=lambda _: np.zeros((32, 32), np.uint8))
    assert len(source) == 1
