"""The notebooks run as they stand, of tiny sizes, and show what is meant to be seen.

Their cells run in this process, by what makes the pages of the site. A tiny run is too short for a
verdict, of which it warns.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from docs.making import notebooks

FILES = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
TINY: dict[str, dict[str, Any]] = {
    "quickstart": {"SIZE": 16, "PATCHES": 4, "EPOCHS": 2, "BATCH": 32},
    "which_algorithm": {
        **{"ALGORITHMS": ["moco", "rotate"], "SIZE": 16, "PATCHES": 2, "EPOCHS": 1},
        **{"SEEDS": 1, "BATCH": 28},
    },
    "many_channels": {"SIZE": 16, "PATCHES": 4, "EPOCHS": 1, "BATCH": 14},
}
# By notebook what has to be shown: beginnings of cards, and how many pictures.
SHOWN: dict[str, tuple[list[str], int]] = {
    "quickstart": (["MoCo v2", "MoCo v2", "Health of the features", "Did it help?"], 3),
    "which_algorithm": (["Algorithms compared", "", "Did it help?"], 1),
    "many_channels": (["MoCo v2", "MoCo v2", "Health of the features", "Did it help?"], 2),
}
every_notebook = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def outputs_of(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [output for cell in code for output in cell["outputs"]]


def test_every_notebook_is_known_here() -> None:
    assert {file.stem for file in FILES} == set(TINY) == set(SHOWN) == set(notebooks.ORDER)


@every_notebook
def test_a_notebook_is_stored_without_outputs(file: Path) -> None:
    notebook = notebooks.read(file)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    identifiers = [cell["id"] for cell in cells]
    assert len(set(identifiers)) == len(identifiers)
    assert all(re.fullmatch(r"[\w-]{1,64}", each) for each in identifiers)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert not re.search(r"^\s*[%!]", notebooks.source_of(cell), re.MULTILINE)
    tagged = [cell for cell in cells if notebooks.PARAMETERS in cell["metadata"].get("tags", ())]
    assert len(tagged) == 1 and tagged[0]["cell_type"] == "code"
    assert file.stat().st_size < 20_000


@every_notebook
def test_links_of_a_notebook_lead_somewhere(file: Path) -> None:
    text = "\n".join(
        notebooks.source_of(cell)
        for cell in notebooks.read(file)["cells"]
        if cell["cell_type"] == "markdown"
    )
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links
    for link in links:
        assert (file.parent / link.partition("#")[0]).is_file(), link


@pytest.mark.filterwarnings("ignore")  # tiny images, tiny batches: their warnings are right
@every_notebook
def test_a_notebook_runs_and_shows_cards_and_pictures(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = notebooks.run(notebooks.read(file), TINY[file.stem])
    outputs = outputs_of(made)
    text = "".join("".join(each["text"]) for each in outputs if "text" in each)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)  # no colours, no bars drawn anew
    assert len(text.splitlines()) < 60 and str(tmp_path) not in text
    data = [each["data"] for each in outputs if "data" in each]
    cards = ["".join(each["text/html"]) for each in data if "text/html" in each]
    assert not any(str(tmp_path) in card for card in cards)
    beginnings, pictures = SHOWN[file.stem]
    titles = [re.findall(r"<strong>(.*?)</strong>", card) for card in cards]
    assert [title[0][: len(known)] for title, known in zip(titles, beginnings, strict=True)] == (
        beginnings
    )
    assert sum("image/png" in each for each in data) == pictures
    assert len(data) == len(cards) + pictures  # nothing is shown as its bare repr

    page, drawn = notebooks.page(file.stem, made)
    assert len(drawn) == pictures and all(name in page for name in drawn)
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    assert page.count("```{raw} html") == len(cards) and "../../docs/" not in page
    assert "make notebooks" not in page


def notebook_of(*cells: str) -> dict[str, Any]:
    """A title, the first cell as the one of parameters, and others."""
    code: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{number}", "metadata": {}, "source": [text], "outputs": []}
        for number, text in enumerate(cells)
    ]
    code[0]["metadata"]["tags"] = [notebooks.PARAMETERS]
    title = {
        "cell_type": "markdown",
        "id": "t",
        "metadata": {},
        "source": ["# A title\n", "About."],
    }
    return {"cells": [title, *code], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}


def test_settings_replace_those_of_the_cell_of_parameters_and_no_others() -> None:
    notebook = notebook_of("A = 1", "print(A)", "A + 1", "None")
    shown = outputs_of(notebooks.run(notebook, {"A": 5}))
    assert [each.get("text") or each["data"] for each in shown] == [["5\n"], {"text/plain": ["6"]}]
    assert outputs_of(notebook) == []  # a copy was run
    with pytest.raises(ValueError, match=r"does not set \['B'\]"):
        notebooks.run(notebook, {"B": 5})


def test_a_cell_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match="cell 2 fails:\n1 / A") as error:
        notebooks.run(notebook_of("A = 0", "1 / A"))
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_no_line_of_an_output_ends_its_block() -> None:
    made = notebooks.run(notebook_of("A = 1", "print('```\\nx\\n````')"))
    page, _ = notebooks.page("some", made)
    assert page.endswith("\n\n`````text\n```\nx\n````\n`````\n")
    assert page.startswith("# A title\n\nThe notebook: {download}`some.ipynb <../../examples/")
    assert notebooks._NOT_RUN in notebooks.page("some", notebook_of("A = 1"))[0]


def test_pages_show_what_came_of_a_notebook_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, ran, site = (tmp_path / name for name in ("stored", "ran", "site"))
    for folder in (stored, ran, site):
        folder.mkdir()
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", stored)
    monkeypatch.setattr(notebooks, "RUN", ran)
    monkeypatch.setattr(notebooks, "ORDER", ("one",))
    monkeypatch.setattr(sys, "argv", ["notebooks"])
    (stored / "one.ipynb").write_text(json.dumps(notebook_of("A = 1", "print('said', A)")))
    (site / "former-1.png").write_bytes(b"of a notebook that is gone")
    notebooks.write_pages(site)
    assert sorted(file.name for file in site.iterdir()) == ["index.md", "one.md"]
    assert "make notebooks" in (site / "one.md").read_text()
    assert "| [A title](one.md) |" in (site / "index.md").read_text()

    notebooks.main()
    notebooks.write_pages(site)
    assert "```text\nsaid 1\n```" in (site / "one.md").read_text()

    (stored / "one.ipynb").write_text(json.dumps(notebook_of("A = 2", "print('said', A)")))
    notebooks.write_pages(site)  # what was run was another one
    assert "said 1" not in (site / "one.md").read_text()
