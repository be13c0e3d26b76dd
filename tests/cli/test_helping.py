"""Pages of help, and lists of names."""

from __future__ import annotations

import pytest

from super_selfish.cli.algorithms import ALGORITHMS
from super_selfish.cli.commands import COMMANDS
from super_selfish.cli.names import recipe_idea, recipes
from super_selfish.wrapping import broken
from tests.cli.conftest import Types


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_names_every_flag_and_fits_into_a_terminal(
    name: str, types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = types(name, "--help")
    assert said.code == 0 and said.err == ""
    assert max(map(len, said.out.splitlines())) <= 80
    assert said.out.startswith(f"Usage: super-selfish {name} ")
    words = said.out.replace("[no-]", "").split()
    own = [flag for flag in COMMANDS[name].flags() if not flag.name.startswith("supervise.")]
    assert own or name == "list"
    assert {flag.typed for flag in own if not flag.is_placed} <= set(words)


def test_a_page_tells_of_the_algorithm_that_is_named(types: Types) -> None:
    assert "--moco.temperature X" not in types("pretrain", "--help").out
    told = types("pretrain", "--algorithm", "moco", "--help").out
    assert "Of moco" in told and "0.2: MoCo v2, section 3. (0.2)" in told
    assert "--byol.momentum" in types("choose", "--algorithms", "byol", "rotate", "--help").out


def test_everything_that_there_is_to_choose_from_is_listed(types: Types) -> None:
    told = types("list")
    assert told.code == 0
    assert {*ALGORITHMS, "resnet18,", "narrow-resnet,", "simclr-small,"} <= set(told.out.split())


def test_one_algorithm_is_told_with_paper_and_flags(types: Types) -> None:
    told = types("list", "barlow_twins").out
    assert "arXiv 2103.03230" in " ".join(told.split())
    assert "--barlow-twins.off-diagonal-weight X" in told
    assert "--barlow-twins.stem TEXT" in told and "--barlow-twins.weights TEXT" in told
    for name in ("image-size", "value-range", "device"):  # are said to the command
        assert f"--barlow-twins.{name}" not in told


def test_kinds_and_patterns_are_listed_alone(types: Types) -> None:
    assert types("list", "resnet1*").out.split()[2:] == ["resnet101,", "resnet152,", "resnet18"]
    shown = types("list", "recipes").out
    assert all(f"  {name} " in shown and recipe_idea(name) for name in recipes())
    assert "--supervise.lr X" in types("list", "training").out
    assert "--supervise.epochs" not in types("list", "training").out
    assert types("list", "timm/resnet18*").out.startswith("Backbones")


def test_lines_are_broken_but_for_rows_of_tables() -> None:
    row = "knn   " + "1.0  " * 10
    assert broken(f"{row}\n  - one two three four", 15) == (f"{row}\n  - one two\n    three four")
