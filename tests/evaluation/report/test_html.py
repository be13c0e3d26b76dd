from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.evaluation.report.html import element, embedded, joined, picture, table, text
from super_selfish.evaluation.sheets import new_figure


def test_text_is_never_a_tag() -> None:
    assert text('<b> & "c"') == "&lt;b&gt; &amp; &quot;c&quot;"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    built = element("a", text("x"), class_="one", aria_label='"><script>')
    assert built == '<a class="one" aria-label="&quot;&gt;&lt;script&gt;">x</a>'


def test_elements_keep_what_is_inside() -> None:
    assert element("p", text("a"), element("b", text("<"))) == "<p>a<b>&lt;</b></p>"
    assert joined([text("a"), text("b")]) == "a\nb"


def test_a_table_has_headings_and_escaped_cells() -> None:
    built = table([["<row>", 1], ["other", "<cell>"]], ["name", "value"])
    assert built.count("<tr>") == 3 and built.count('scope="row"') == 2
    assert built.count('scope="col"') == 2
    assert "<row>" not in built and "&lt;cell&gt;" in built


def test_a_picture_is_a_png_of_the_image() -> None:
    image = torch.zeros(3, 10, 20)
    image[0] = 1
    built = picture(image, "red")
    content = base64.b64decode(re.findall(r'src="data:image/png;base64,([^"]+)"', built)[0])
    shown = np.asarray(Image.open(io.BytesIO(content)))
    assert shown.shape == (10, 20, 3)
    assert (shown == [255, 0, 0]).all()


def test_large_pictures_are_shrunk() -> None:
    content = re.findall(r"base64,([^\"]+)", picture(torch.rand(3, 600, 300), "noise"))[0]
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (96, 192)


@pytest.mark.parametrize(("vector", "kind"), [(False, "png"), (True, "svg+xml")])
def test_a_figure_lies_inside_of_the_page_with_its_words(vector: bool, kind: str) -> None:
    pytest.importorskip("matplotlib")
    built = embedded(new_figure(2, 1), "what <it> shows", "below", vector=vector)
    assert f"data:image/{kind};base64," in built
    assert 'alt="what &lt;it&gt; shows"' in built and 'width="192"' in built
    assert "<figcaption>below</figcaption>" in built


def test_a_large_picture_becomes_a_jpeg_that_looks_the_same() -> None:
    pytest.importorskip("matplotlib")
    figure = new_figure(8, 8)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(np.random.default_rng(0).random((300, 300, 3)), interpolation="bicubic")
    built = embedded(figure, "noise")
    content = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', built)[0]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(float)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    whole = np.asarray(Image.open(file).convert("RGB")).astype(float)
    assert len(content) < 0.8 * file.tell() * 4 / 3
    assert shown.shape == whole.shape
    assert abs(shown - whole).mean() < 4
