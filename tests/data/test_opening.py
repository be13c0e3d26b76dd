"""Whatever a user gives becomes a source, and a source stays what it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from super_selfish.data import ImageSource, StreamSource
from super_selfish.data.mistaken import refuse_mistaken
from super_selfish.data.opening import as_source
from super_selfish.data.samples import Sample
from tests.data.streamed import Numbers


def images(channels: int = 3) -> torch.Tensor:
    made = torch.zeros(4, channels, 32, 40, dtype=torch.uint8)
    made[..., 20:] = 255
    return made


def test_data_become_a_source_with_what_was_said() -> None:
    source = as_source(images(), (16, 20), 1, on_error="skip", value_range=(0, 255))
    assert type(source) is ImageSource
    assert (source.image_size, source.in_channels, source.on_error) == ((16, 20), 1, "skip")
    assert source.value_range == (0.0, 255.0)
    plain = as_source(list(images()))
    assert (plain.image_size, plain.in_channels, plain.on_error) == ((32, 40), 3, "raise")
    stream = as_source(Numbers(4), 16, on_error="skip")
    assert type(stream) is StreamSource
    assert (stream.image_size, stream.on_error) == ((16, 16), "skip")


def test_a_source_passes_where_nothing_else_is_said() -> None:
    source = ImageSource(images(), on_error="skip", value_range=(0, 300))
    for options in (
        {},
        {"image_size": (32, 40)},
        {"in_channels": 3},
        {"on_error": "skip"},
        {"value_range": (0, 300)},
    ):
        given: dict[str, Any] = options
        assert as_source(source, **given) is source


def loader(path: str) -> Any:
    return None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 32}, r"gives images of \(32, 40\), but image_size is 32: make"),
        ({"in_channels": 1}, "gives 3 channels, but in_channels is 1: make the source"),
        ({"on_error": "skip"}, "made with on_error='raise', but on_error is 'skip': make the"),
        ({"value_range": (0, 9)}, r"made with value_range=None, but value_range is \(0.0, 9.0\)"),
        ({"pages": 0}, "made with pages=None, but pages is 0"),
        ({"loader": loader}, "made with loader=None, but loader is <function"),
    ],
)
def test_a_source_that_was_made_otherwise_is_refused(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_source(ImageSource(images(), image_size=(32, 40)), **options)


def test_a_size_that_nobody_has_said_is_no_contradiction() -> None:
    source = ImageSource(images())
    assert source.image_size == (32, 40)
    resized = as_source(source, image_size=32)
    assert resized.image_size == (32, 32) and source.image_size == (32, 40)
    item = resized[0]
    assert isinstance(item, Sample) and item.image.shape == (3, 32, 32)


def test_a_word_for_a_range_is_what_it_comes_to() -> None:
    deep = (torch.arange(4 * 32 * 32) % 4000).to(torch.uint16).view(4, 1, 32, 32)
    source = ImageSource(deep, value_range="bits")
    assert as_source(source, value_range="bits") is source
    assert as_source(source, value_range=(0, 4095)) is source
    with pytest.raises(ValueError, match=r"value_range=\(0.0, 4095.0\), but value_range is \("):
        as_source(source, value_range="percentile")


def test_one_channel_is_told_as_one() -> None:
    with pytest.raises(ValueError, match="gives 1 channel, but in_channels is 3"):
        as_source(ImageSource(images(1)), in_channels=3)


# What is none


def of_library(module: str, name: str) -> Any:
    return type(name, (), {"__module__": module})()


def test_a_table_that_is_not_computed_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a LazyFrame holds no rows yet: give frame.collect\(\)"):
        refuse_mistaken(of_library("polars", "LazyFrame"))
    refuse_mistaken(of_library("mine.polars", "LazyFrame"))
    refuse_mistaken(of_library("polars", "Series"))


def test_loaders_and_empty_paths_are_refused() -> None:
    with pytest.raises(TypeError, match="expected a data set, got a DataLoader, which makes"):
        as_source(DataLoader([1, 2]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="but the path is empty"):
        refuse_mistaken("")
    refuse_mistaken("a")
    refuse_mistaken([])
