from __future__ import annotations

import base64
import io
import re
from importlib import resources
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jinja2 import UndefinedError
from PIL import Image

from super_selfish.evaluation.report.html import Plate, plate, render, thumbnail
from super_selfish.evaluation.report.run_settings import Block, Settings
from super_selfish.evaluation.sheets import new_figure

TEMPLATES = resources.files("super_selfish.evaluation.report") / "templates"
EVIL = "\"><script>alert('1')</script>&"
SAFE = "&#34;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"


def page(told: Any, anchor: str = "settings", words: str = "words") -> str:
    return render(
        "page.html",
        title=words,
        name=words,
        algorithm=SimpleNamespace(idea=words, paper=words),
        sections=[SimpleNamespace(anchor=anchor, title=words, told=told)],
        signature=words,
        written=words,
    )


def content_of(source: str) -> bytes:
    return base64.b64decode(source.partition("base64,")[2])


def test_a_template_that_is_not_given_what_it_asks_for_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("page.html", sections=[])


def test_no_text_of_a_page_is_ever_a_tag() -> None:
    table = [[EVIL, EVIL], [EVIL, 1.5]]
    written = page(Settings([Block(EVIL, EVIL, table)], EVIL), words=EVIL)  # type: ignore[arg-type]
    assert "<script" not in written and written.count(SAFE) == 16
    assert '<th scope="row">' in written and "<td>1.5</td>" in written


@pytest.mark.parametrize("anchor", ["views", "neighbours"])
def test_no_text_about_a_figure_is_ever_a_tag(anchor: str) -> None:
    written = page(Plate("data:image/png;base64,QQ==", EVIL, 3, 2, 1, EVIL), anchor)
    assert "<script" not in written and written.count(SAFE) == 2
    assert f'alt="{SAFE}" width="3" height="2" style="min-width:1px"' in written
    assert f"<figcaption>{SAFE}</figcaption>" in written


def test_a_sentence_stands_where_a_section_has_nothing_to_tell() -> None:
    written = page(f"There is no {EVIL}.")
    assert f'<p class="absent">There is no {SAFE}.</p>' in written and "<h3>" not in written


def test_no_template_switches_the_escaping_off() -> None:
    files = [file for file in TEMPLATES.iterdir() if file.name.endswith(".html")]
    assert len(files) == 13
    for file in files:
        code = re.sub(r"\{#.*?#\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", code)


def test_a_thumbnail_is_a_png_of_the_image() -> None:
    image = torch.zeros(3, 10, 20)
    image[0] = 1
    source, is_small = thumbnail(image)
    assert source.startswith("data:image/png;base64,") and is_small
    shown = np.asarray(Image.open(io.BytesIO(content_of(source))))
    assert shown.shape == (10, 20, 3)
    assert (shown == [255, 0, 0]).all()


def test_large_pictures_are_shrunk() -> None:
    source, is_small = thumbnail(torch.rand(3, 600, 300))
    assert Image.open(io.BytesIO(content_of(source))).size == (96, 192) and not is_small


@pytest.mark.parametrize(("vector", "kind"), [(False, "png"), (True, "svg+xml")])
def test_a_figure_lies_inside_of_the_page_with_its_words(vector: bool, kind: str) -> None:
    pytest.importorskip("matplotlib")
    made = plate(new_figure(2, 1), "what it shows", "below", vector=vector)
    assert made.source.startswith(f"data:image/{kind};base64,")
    assert made[1:] == ("what it shows", 192, 96, 192, "below")
    assert plate(new_figure(10, 1), "").least_width == round(0.62 * 960)


def test_a_large_picture_becomes_a_jpeg_that_looks_the_same() -> None:
    pytest.importorskip("matplotlib")
    figure = new_figure(8, 8)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(np.random.default_rng(0).random((300, 300, 3)), interpolation="bicubic")
    source = plate(figure, "noise").source
    assert source.startswith("data:image/jpeg;base64,")
    shown = np.asarray(Image.open(io.BytesIO(content_of(source)))).astype(float)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    whole = np.asarray(Image.open(file).convert("RGB")).astype(float)
    assert len(source) < 0.8 * file.tell() * 4 / 3
    assert shown.shape == whole.shape
    assert abs(shown - whole).mean() < 4
