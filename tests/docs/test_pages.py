"""The documentation holds together: pages are listed, links lead somewhere, numbers are measured.

Nothing is built here; `make docs` builds, and fails on a warning.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.making import algorithms, facts, others, reference
from super_selfish.supervisors import SUPERVISORS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [
    *PAGES,
    *sorted((DOCS / "notes").glob("*.md")),
    *sorted(facts.RESULTS.glob("*.md")),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
]
MADE = {
    *("algorithms/index", "algorithms/guessing", "reference/index", "examples/index"),
    "notebooks/index",
}
every_algorithm = pytest.mark.parametrize("algorithm", sorted(SUPERVISORS))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as a browser of repositories and Sphinx have them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_every_page_is_listed_once() -> None:
    listed = re.findall(
        r"^(?:\.\./)?[\w/-]+$",
        "\n".join(
            re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
        ),
        re.MULTILINE,
    )
    assert len(listed) == len(set(listed))
    for name in {*listed} - MADE - {"results/index"}:
        assert (DOCS / f"{name}.md").is_file(), name
    assert {page.stem for page in PAGES} - {"index"} <= set(listed)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(text))
    includes = re.findall(r"^```\{(?:literal)?include\} (\S+)$", text, re.MULTILINE)
    for link in [*links, *includes]:
        if re.match(r"\w+://", link):
            continue
        place, _, anchor = link.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {link}"
    for name in includes:  # of another folder: Sphinx leads links alone that begin with a point
        for link in re.findall(r"[^!]\[[^\]]*\]\(([^)\s]+)\)", (page.parent / name).read_text()):
            assert re.match(r"\.|\w+://", link), f"{name}: {link} must begin with ./"


@every_algorithm
def test_an_algorithm_has_a_note_and_its_page_all_parts(algorithm: str) -> None:
    page = algorithms.page(algorithm)  # raises where the note or the README's line is missing
    for part in ("The idea", "The equation", "What it needs", "Defaults", "How it fails"):
        assert f"\n## {part}\n" in page, part
    assert "## Differences from the paper" in page and ("arxiv.org" in page or "ICML" in page)
    kind = SUPERVISORS[algorithm]
    assert kind.title in page and kind.__name__ in page
    assert all(f"| `{default.name}` |" in page for default in facts.defaults(algorithm))
    assert "$$" in facts.note(algorithm).equation


def test_equations_can_be_drawn() -> None:
    drawing = pytest.importorskip("docutils.utils.math.latex2mathml", reason="draws equations")
    for note in (DOCS / "notes").glob("*.md"):
        text = re.sub(r"`[^`]+`", "", note.read_text(encoding="utf-8"))
        for equation in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", text, re.DOTALL):
            assert "<math" in drawing.tex2mathml("".join(equation).strip()), note.name


def test_there_is_no_note_of_an_algorithm_that_is_gone() -> None:
    assert {note.stem for note in (DOCS / "notes").glob("*.md")} == set(SUPERVISORS)


def test_sentences_of_health_checks_are_found_through_the_functions_that_make_them() -> None:
    said = facts.sentences(SUPERVISORS["cmc"], "_health")
    assert any(each.startswith("the images hold hardly any colour") for each in said)
    assert any("the memories hardly change: their entries" in each for each in said)
    assert any(each.endswith(SUPERVISORS["cmc"].against_collapse) for each in said)
    (word,) = facts.sentences(SUPERVISORS["denoise"], "_health")
    assert word == (
        "the restored images are worse (error \N{HORIZONTAL ELLIPSIS}) than one grey for all "
        "(\N{HORIZONTAL ELLIPSIS}): raise lr, or train for longer"
    )
    assert facts.sentences(SUPERVISORS["denoise"], "_caution") == []


def test_pages_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "former.md").write_text("of an algorithm that was renamed")
    algorithms.write(tmp_path, {"new": "text"})
    assert [file.name for file in tmp_path.iterdir()] == ["new.md"]
    others.write_examples(tmp_path / "examples")
    assert (
        "```bash\npython examples/quickstart.py"
        in (tmp_path / "examples/quickstart.md").read_text()
    )


def test_the_readme_is_short_and_its_numbers_are_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    rows = re.findall(r"^\| `(\w+)` \| (Fashion-MNIST|CIFAR-10) \| (.+) \|$", readme, re.MULTILINE)
    assert len(rows) >= 5
    for name, images, numbers in rows:
        data = {"Fashion-MNIST": "fashion", "CIFAR-10": "cifar10"}[images]
        columns = ("probe untrained", "probe pretrained", "k-NN untrained", "k-NN pretrained")
        measured = [
            [row[table.header.index(column)] for column in columns]
            for table in facts.measured(name)
            for row in table.rows
            if row[table.header.index("data")] == data
        ]
        assert numbers.split(" | ") in measured, name


def commands() -> list[tuple[str, str]]:
    found = []
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for block in re.findall(
            r"^```bash\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            found.append((page.name, block))
    return found


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to look at its own syntax")
def test_commands_have_no_fault_of_syntax() -> None:
    for page, block in commands():
        told = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert told.returncode == 0, (page, told.stderr)


def test_what_commands_name_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    extras = (ROOT / "setup.py").read_text().partition("extras_require")[2]
    for page, block in commands():
        for target in re.findall(r"^make ([\w-]+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, target)
        for file in re.findall(r"python ((?:examples|benchmarks)/\w+\.py)", block):
            assert (ROOT / file).is_file(), (page, file)
    for text in [*PAGES, ROOT / "README.md"]:
        for names in re.findall(r'"\.\[([\w,]+)\]"|super-selfish\[([\w,]+)\]', text.read_text()):
            for name in "".join(names).split(","):
                assert f'"{name}":' in extras, (text.name, name)
    wanted = set(re.findall(r'^ +"(\w+)": \[', extras, re.MULTILINE))
    assert len(wanted) >= 15
    for page, around in (
        ("README.md", r"Extras are .*?\)\)\."),
        ("docs/first-steps.md", r"^\| .*?\n\n"),
    ):
        told = re.search(around, (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        assert told and wanted <= set(re.findall(r"`(\w+)`", told[0])), page


def test_measured_tables_are_listed_by_their_titles(tmp_path: Path) -> None:
    others.write_results(tmp_path)
    page = (tmp_path / "index.md").read_text()
    assert page.count("| [") == len(list(facts.RESULTS.glob("*.md")))
    assert "| All algorithms under the same conditions |" in page
    assert others.titled("some_table", "| a |\n") == "# Some table\n\n| a |\n"
    assert others.titled("some_table", "\n# A title\n| a |") == "# A title\n| a |"


def as_rst(docstring: str) -> list[str]:
    lines = docstring.splitlines()
    reference.as_rst(None, "class", "a name", None, None, lines)
    return lines


def test_docstrings_become_what_sphinx_reads() -> None:
    assert as_rst("`Sample`s of |w|, `a|b`") == [r"`Sample`\ s of \|w\|, `a|b`"]
    assert as_rst("before\n\n| hook | does |\n|---|---|\n| `a` | this |\n\nafter") == [
        *("before", "", "", ".. list-table::", "   :header-rows: 1", ""),
        *("   * - hook", "     - does", "   * - `a`", "     - this", "", "after"),
    ]


def test_every_public_name_has_one_place_in_the_reference(tmp_path: Path) -> None:
    reference.write_all(tmp_path)
    pages = "\n".join(file.read_text() for file in tmp_path.glob("*.md"))
    documented = re.findall(r"^\.\. (?:auto\w+|py:data):: (\w+)$", pages, re.MULTILINE)
    parts = [importlib.import_module(name) for name in reference.PARTS]
    assert sorted(set(documented)) == sorted({name for part in parts for name in part.__all__})
    # `rotate` is a recipe; whatever else has one name is one thing.
    assert len(documented) == len(set(documented))
