"""One grey or colour of a PNG may be transparent (its tRNS), which is alpha as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from super_selfish.data.samples import Sample
from super_selfish.data.sources import ImageSource
from tests.data.test_user_loaders import DEEP, RGB, deep_png


def image_of(path: Path, in_channels: int | None = None) -> Any:
    sample = ImageSource([path], (32, 40), in_channels)[0]
    assert isinstance(sample, Sample)
    return sample.image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_a_transparent_colour_is_told_of_or_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1.png"
    colours = {"grey": RGB[0, :, :, :1], "colour": RGB[0], "deep": DEEP}[kind]
    key = colours[3, 5]
    if kind == "deep":
        deep_png(path, key.astype(">u2").tobytes())
    else:
        given = int(key[0]) if kind == "grey" else tuple(key.tolist())
        Image.fromarray(colours.squeeze()).save(path, transparency=given)

    with pytest.warns(UserWarning, match="an alpha channel is left out"):
        assert np.array_equal(image_of(path), colours)
    whole = image_of(path, colours.shape[2] + 1)

    assert np.array_equal(whole[..., :-1], colours)
    opaque = np.iinfo(colours.dtype).max
    expected = np.where((colours == key).all(axis=2), 0, opaque)
    assert np.array_equal(whole[..., -1], expected)


@pytest.mark.parametrize("word", ["percentile", "bits"])
def test_black_and_white_images_have_no_range_to_find(word: Any) -> None:
    with pytest.raises(ValueError, match=r"images of bool .*: leave value_range out"):
        ImageSource(np.zeros((3, 32, 32), bool), value_range=word)
