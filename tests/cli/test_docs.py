"""The lines of docs/cli.md do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from super_selfish import evaluation
from super_selfish.cli.algorithms import groups_in
from super_selfish.cli.commands import COMMANDS
from super_selfish.cli.parsing import parsed
from tests.cli.conftest import Types

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
TEXT = DOCS.read_text(encoding="utf-8")


def test_the_lines_run_one_after_the_other(
    photos: Path, run: Path, types: Types, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answered:
        answer = "found"

        def to_markdown(self) -> str:
            return "| |"

    def trains(images: str, out: str, **keywords: Any) -> Answered:
        shutil.copytree(run, out)
        return Answered()

    # What takes long for what it is has a test of its own.
    monkeypatch.setattr("super_selfish.pretraining.pretrain", trains)
    monkeypatch.setattr("super_selfish.pretraining.choose", trains)
    monkeypatch.setattr(evaluation, "compare", lambda *_, **__: Answered())
    monkeypatch.setattr(evaluation, "Comparison", Answered)
    monkeypatch.setattr(evaluation, "write_report", lambda supervisor, name, **_: f"{name}.html")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    shutil.copy("photos/dark/01.png", "photos/dark/copy.png")  # for the sheet of copies
    rows = [f"{file},{file.parent.name}" for file in sorted(Path("photos").rglob("*.png"))]
    Path("images.csv").write_text("\n".join(["path,label", *rows]))

    blocks = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(lines) > 15
    for program, *words in lines:
        assert program == "super-selfish"
        said = types(*words)
        assert said.code == 0, (words, said.err)
    assert Path("check.png").is_file()
    for file in ("check.md", "rated.json", "backbone.safetensors", "features.csv"):
        assert Path(file).is_file() and Path(f"{file}.yaml").is_file(), file
    for name in ("mine", "moco", "warm", "table", "again", "best"):
        assert (Path("runs") / name / "run.yaml").is_file(), name


def test_every_command_is_told() -> None:
    told = re.findall(r"^\| `([a-z]+)", TEXT, flags=re.M)
    assert sorted(told) == sorted(COMMANDS)


def test_lines_on_other_pages_are_commands_that_there_are() -> None:
    found = 0
    for page in [DOCS.parents[1] / "README.md", *DOCS.parent.glob("*.md")]:
        for line in re.findall(r"^super-selfish .*$", page.read_text(encoding="utf-8"), flags=re.M):
            name, *words = shlex.split(line)[1:]
            command = COMMANDS[name]
            flags = [flag._replace(default=None) for flag in command.flags(groups_in(words))]
            parsed([word for word in words if word != "--config" and ".yaml" not in word], flags)
            found += 1
    assert found > 16
