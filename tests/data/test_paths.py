from __future__ import annotations

import os
import pickle
import sys
from multiprocessing.reduction import ForkingPickler

import pytest

from super_selfish.data.paths import Paths, PathsBuilder, common_folder

# Text of every kind, names that are no text (Linux has them), and what no file is called.
NAMES = ["a/b.png", "a/é.png", "日本/\U0001f600.jpg", "a/\udcff.png", "", "\ud800\udc00", "a\0b"]


def test_paths_come_back_as_they_were() -> None:
    paths = Paths.of(NAMES)

    assert list(paths) == NAMES and [paths[place] for place in range(len(NAMES))] == NAMES
    assert (paths[-1], paths[1:3], paths[::-1]) == (NAMES[-1], NAMES[1:3], NAMES[::-1])
    assert "a/é.png" in paths and paths.index("") == 4 and len(paths) == 7
    for place in (7, -8):
        with pytest.raises(IndexError, match="out of range for 7 paths"):
            paths[place]


def test_paths_are_equal_to_a_list_of_the_same() -> None:
    paths = Paths.of(NAMES)
    assert paths == NAMES and NAMES == paths and paths == Paths.of(NAMES)
    assert paths != NAMES[:-1] and paths != [*NAMES[:-1], "other"] and paths != "other"
    assert Paths.of([]) == [] and len(Paths.of([])) == 0
    assert repr(paths).startswith("<7 paths: 'a/b.png', ") and repr(paths).endswith(", ...>")


def test_many_paths_are_those_of_their_folders() -> None:
    builder = PathsBuilder("/data/")
    names = [f"{number}.png" for number in range(3000)]
    builder.add("a/", names)
    builder.add("b/c/", names)
    paths = builder.built()
    expected = [f"/data/{folder}/{name}" for folder in ("a", "b/c") for name in names]
    assert list(paths) == expected and paths[4321] == expected[4321]


def test_paths_are_repeated_without_their_text() -> None:
    paths = Paths.of(["a", "b" * 1000, "c"])
    twice = paths.repeated([1, 3, 0])
    assert twice == ["a", "b" * 1000, "b" * 1000, "b" * 1000]
    assert twice.nbytes < paths.nbytes + 100


def test_paths_take_less_than_half_of_the_memory_of_a_list() -> None:
    names = [f"n{number // 1000:08d}/n{number:08d}.JPEG" for number in range(20_000)]
    listed = sys.getsizeof(names) + sum(map(sys.getsizeof, names))
    assert Paths.of(names).nbytes < listed / 2


def test_processes_that_are_not_forked_share_the_memory() -> None:
    paths = Paths.of(f"{number}.png" for number in range(50_000))
    expected = list(paths)
    assert len(ForkingPickler.dumps(paths)) < 5000  # where the memory lies, and not what is in it
    assert list(paths) == expected and paths[49_999] == expected[-1]
    assert pickle.loads(pickle.dumps(paths)) == expected


@pytest.mark.parametrize(
    "names", [["/a/b/1", "/a/b/2"], ["/a/c/1", "/a/b/2", "/a/d"], ["x/1"], ["1", "2"], ["", "a"]]
)
def test_the_common_folder_is_that_of_all(names: list[str]) -> None:
    expected = os.path.dirname(os.path.commonprefix(names))  # noqa: RUF071
    assert common_folder(Paths.of(names)) == len(expected)
