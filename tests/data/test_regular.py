"""How large a file, and the image that it promises, may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from super_selfish.data.regular import check_size, open_regular


def sparse(path: Path, size: int) -> Path:
    """A file that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_file_of_a_gigabyte_is_read_as_a_whole_and_no_larger_one(tmp_path: Path) -> None:
    open_regular(sparse(tmp_path / "one", 2**30)).close()
    larger = sparse(tmp_path / "more", 2**30 + 1)
    with pytest.raises(ValueError, match=r"the file has 1.1 GB, .* and may have 1.1: store it"):
        open_regular(larger)
    open_regular(larger, whole=False).close()


def test_an_image_has_four_gigabytes_at_most() -> None:
    check_size(2**32)
    with pytest.raises(ValueError, match=r"would take 4.3 GB of memory, and may take 4.3: cut it"):
        check_size(2**32 + 1)


def test_a_large_image_is_at_most_two_thousand_times_as_large_as_its_file(tmp_path: Path) -> None:
    with sparse(tmp_path / "small", 10).open("rb") as file:
        check_size(2**28, file)  # not large
        with pytest.raises(
            ValueError, match=r"the file has 10 bytes, but promises an image of 0.3"
        ):
            check_size(2**28 + 1, file)
    with sparse(tmp_path / "larger", 200_000).open("rb") as file:
        check_size(400_000_000, file)
        with pytest.raises(ValueError, match=r"promises an image of 0.4 GB: it is broken"):
            check_size(400_000_001, file)
