"""Faults are put where they are meant, and nowhere else."""

from __future__ import annotations

import ast
import gc
import os
import re
import select
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.accepted import Fault, read_accepted
from tests.mutants.changes import KINDS, changed, changes
from tests.mutants.run import (
    HELD_BY,
    OF_ALGORITHMS,
    OF_OTHERS,
    ROOT,
    Bench,
    Reached,
    Trial,
    again,
    in_child,
    named_elsewhere,
    names_at,
    own_tests,
    tell,
    told_in,
)

SOURCE = '''"""Doc 1."""

LIMIT = 0.5  # 2 lines


def judge(value: float, most: int = 8, *, name: str = "a") -> str | None:
    """Says 3."""
    total = value * most + 1
    total += 2
    if total >= LIMIT and not name:
        raise ValueError(f"{value:.3f} is {value + 7} " + "high")
    print(total, stacklevel=3)
    return None if value is None else name
'''


def faults(kind: str) -> set[tuple[str, str]]:
    found = [change for change in changes(SOURCE) if change.kind == kind]
    return {Fault.of("x.py", SOURCE, change)[1:] for change in found}


def test_every_change_leaves_a_source_that_can_be_read() -> None:
    found = changes(SOURCE)
    assert {change.kind for change in found} == set(KINDS)
    for change in found:
        text = changed(SOURCE, change)
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(SOURCE))
        assert len(set(text.splitlines()) - set(SOURCE.splitlines())) == 1


def test_numbers_are_changed_in_code_and_defaults_and_not_in_words() -> None:
    before = {fault[0] for fault in faults("number")}
    assert before == {
        "LIMIT = 0.5  # 2 lines",
        'def judge(value: float, most: int = 8, *, name: str = "a") -> str | None:',
        "total = value * most + 1",
        "total += 2",
    }


def test_numbers_become_clearly_others() -> None:
    for text, others in {"0.5": "0.4 0.625", "8": "7 9", "0": "1", "4096": "3277 5120"}.items():
        source = f"number = {text}\n"
        (change,) = changes(source)
        assert changed(source, change).split()[-1] in others.split()


def test_operators_comparisons_conditions_and_statements_are_changed() -> None:
    assert faults("comparison") == {
        ("if total >= LIMIT and not name:", "if total > LIMIT and not name:"),
        ("return None if value is None else name", "return None if value is not None else name"),
    }
    assert faults("arithmetic") == {
        ("total = value * most + 1", "total = value * most - 1"),
        ("total = value * most + 1", "total = value / most + 1"),
    }
    assert faults("condition") == {
        ("if total >= LIMIT and not name:", "if total >= LIMIT or not name:"),
        ("if total >= LIMIT and not name:", "if (not (total >= LIMIT and not name)):"),
        (
            "return None if value is None else name",
            "return None if (not (value is None)) else name",
        ),
    }
    assert {after for _, after in faults("statement")} == {"pass"}
    assert len(faults("statement")) == 3


def test_what_acts_at_import_is_known() -> None:
    at_import = {change.line for change in changes(SOURCE) if change.at_import}
    assert at_import == {3, 6}  # the constant and the default


def test_a_file_has_the_tests_of_its_place_or_those_that_import_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "part"
    folder.mkdir(parents=True)
    (folder / "test_a.py").write_text("from super_selfish.part.a import x")
    (folder / "test_b.py").write_text(
        "from super_selfish.part.a import x\nimport super_selfish.part.c"
    )
    elsewhere = tmp_path / "tests" / "whole"
    elsewhere.mkdir()
    (elsewhere / "test_e.py").write_text(
        "from super_selfish.part.c import x\nfrom super_selfish.part.e import x"
    )
    (elsewhere / "test_f.py").write_text("")
    files = {
        "a": ["tests/part/test_a.py"],
        "c": ["tests/part/test_b.py"],
        "d": ["tests/part/test_a.py", "tests/part/test_b.py"],
        "e": ["tests/whole/test_e.py"],
        "f": ["tests/whole/test_f.py"],
        "deep/d": ["tests/part/test_a.py", "tests/part/test_b.py"],
    }
    for name, expected in files.items():
        assert own_tests(tmp_path, Path("super_selfish/part", f"{name}.py")) == expected


def test_what_is_named_is_there() -> None:
    for file, tests in HELD_BY.items():
        assert (ROOT / "super_selfish" / f"{file}.py").is_file()
        found = own_tests(ROOT, Path("super_selfish", f"{file}.py"))
        assert {f"tests/{test}.py" for test in tests} <= set(found)
        assert all((ROOT / test).is_file() for test in found)


def test_a_method_that_every_algorithm_has_is_asked_where_all_are_tested() -> None:
    found = own_tests(ROOT, Path("super_selfish", "supervisors", "simclr.py"))
    assert found == sorted(
        f"tests/{test}.py" for test in (*OF_ALGORITHMS.values(), "supervisors/test_simclr")
    )
    assert all((ROOT / test).is_file() for test in found)


def test_the_list_of_what_cannot_matter_is_read(tmp_path: Path) -> None:
    path = tmp_path / "accepted.txt"
    path.write_text("# A heading.\n\n# Why.\nsuper_selfish/x.py\n- a < b\n+ a <= b\n- c\n+ pass\n")
    first = Fault("super_selfish/x.py", "a < b", "a <= b")
    accepted = read_accepted(path)
    assert accepted.faults == {first, Fault("super_selfish/x.py", "c", "pass")}
    assert accepted.has(first, "comparison")
    assert not accepted.has(first._replace(after="a > b"), "comparison")
    path.write_text("# Why.\nsuper_selfish/x.py\n- a < b\n- c\n+ pass\n")
    accepted = read_accepted(path)
    assert accepted.has(first._replace(after="anything"), "number")
    assert not accepted.has(Fault("super_selfish/x.py", "c", "anything"), "number")
    path.write_text("# Why.\nsuper_selfish/plots/*.py: number, arithmetic\n")
    drawn = Fault("super_selfish/plots/y.py", "1", "2")
    assert read_accepted(path).has(drawn, "number")
    assert not read_accepted(path).has(drawn, "condition")
    assert not read_accepted(path).has(first, "number")
    path.write_text("super_selfish/x.py\n- a\n+ b\n")
    with pytest.raises(ValueError, match="a reason"):
        read_accepted(path)


def test_who_uses_a_function_is_named_with_it() -> None:
    source = """
LIMIT = 1

def first():
    return _second() + 1

def _second():
    return 2

class Kind:
    def shown(self):
        return self._made()

    def _made(self):
        return 3

    def __len__(self):
        return 4
"""
    lines = {line[-1:]: n for n, line in enumerate(source.splitlines(), 1)}
    assert [names_at(source, lines[n]) for n in "234"] == [{"first"}, {"shown"}, {"Kind"}]
    assert names_at(source, 2) == set()


def test_named_elsewhere_are_those_that_name_it_most(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    for name, text in {"a": "use x", "b": "x x xs", "c": "xs", "d": "x x x", "e": "x x"}.items():
        (folder / f"test_{name}.py").write_text(text)
    found = named_elsewhere(tmp_path, {"x", "y"}, ["tests/test_d.py"])
    assert found == ["tests/test_b.py", "tests/test_e.py", "tests/test_a.py"]
    assert named_elsewhere(tmp_path, set(), []) == []


def test_a_condition_is_reached_where_its_test_is() -> None:
    found = {change.text: change for change in changes(SOURCE) if change.kind == "condition"}
    assert found["(not (total >= LIMIT and not name))"].lines == (10, 10)


def test_what_is_for_type_checkers_alone_is_left_as_it_is() -> None:
    assert changes("if TYPE_CHECKING:\n    from a import b\n    LIMIT = 3\n") == []
    assert changes("if CHECKING:\n    LIMIT = 3\n") != []


def test_what_was_told_is_found_again_where_it_is_there_still(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "super_selfish/x.py"
    (tmp_path / "super_selfish").mkdir()
    (tmp_path / name).write_text(SOURCE)
    told = [change for change in changes(SOURCE) if change.line == 9]
    for change in told:
        tell(Trial(name, change, False), tmp_path)
    tell(Trial(name, changes(SOURCE)[0], True, has_ended=False), tmp_path)
    (tmp_path / "told.txt").write_text("9 faults\n" + capsys.readouterr().out + "9 tried\n")
    (tmp_path / name).write_text(SOURCE.replace("LIMIT = 0.5", "LIMIT = 0.7"))
    ((_, found),) = again(tmp_path, told_in(tmp_path / "told.txt"))
    assert [change.text for change in found] == [change.text for change in told] != []


def test_a_child_ends_by_itself_or_by_the_time_of_a_processor_and_not_by_that_of_others() -> None:
    def busy() -> int:
        while True:
            pass

    def waiting() -> int:
        time.sleep(1.5)
        return 3

    assert in_child(busy, 0.5) is None
    assert in_child(waiting, 0.5) == 3


def test_what_a_child_leaves_behind_ends_with_it() -> None:
    reading, writing = os.pipe()

    def leaving() -> int:
        if os.fork() == 0:
            time.sleep(60)
        return 0

    assert in_child(leaving, 5.0) == 0
    os.close(writing)
    assert select.select([reading], [], [], 10.0)[0]  # nobody holds the other end any more
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_what_is_imported_before_any_fork_is_of_others_and_most_of_what_the_package_needs() -> None:
    ours = {*sys.stdlib_module_names, "super_selfish", "tests"}
    prepared = {name.partition(".")[0] for name in OF_OTHERS}
    assert not prepared & ours
    head = re.compile(r"^(?:from (\w+)[\w.]* import|import (\w+))", re.M)
    needed: Counter[str] = Counter()
    for file in (ROOT / "super_selfish").rglob("*.py"):
        needed.update(a or b for a, b in head.findall(file.read_text(encoding="utf-8")))
    often = {name for name, count in needed.items() if count > 3 and name not in ours}
    assert {"torch", "numpy"} <= often <= prepared


def test_the_papers_are_asked_after_the_file_s_own_tests_and_others_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("super_selfish", "tests", "tests/papers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "super_selfish/x.py").write_text(SOURCE)
    (tmp_path / "tests/test_x.py").write_text("from super_selfish.x import judge")
    (tmp_path / "tests/test_other.py").write_text("judge()")
    (tmp_path / "tests/papers/test_defaults.py").write_text("")
    (tmp_path / "tests/papers/test_recipes.py").write_text("")
    bench = Bench.__new__(Bench)
    bench.root = tmp_path
    inside = next(each for each in changes(SOURCE) if each.line == 8)
    default = next(each for each in changes(SOURCE) if each.line == 6)
    reaching = {
        "tests/test_x.py": {8},
        "tests/test_other.py": {8, 9},
        "tests/papers/test_recipes.py": {9},
    }
    asked: list[list[str]] = []
    noticed_by = ""

    def reached(file: Path, tests: list[str]) -> list[Reached]:
        return [Reached(test, 1.0, frozenset(reaching.get(test, ()))) for test in tests]

    def result(file: Path, change: object, concerned: list[Reached]) -> int:
        asked.append([each.test.removeprefix("tests/") for each in concerned])
        return int(noticed_by in asked[-1])

    monkeypatch.setattr(bench, "reached", reached)
    monkeypatch.setattr(bench, "_result", result)
    file = Path("super_selfish/x.py")
    assert not bench.tried(file, inside).is_noticed
    assert asked == [["test_x.py"], [], ["test_other.py"]]
    asked.clear()
    noticed_by = "papers/test_defaults.py"
    assert bench.tried(file, default).is_noticed
    assert asked == [["test_x.py"], ["papers/test_defaults.py", "papers/test_recipes.py"]]
    asked.clear()
    reaching["tests/test_x.py"] = set()  # it may be in another process
    noticed_by = "test_x.py"
    assert bench.tried(file, inside).is_noticed
    assert asked == [["test_x.py"]]


class Left:
    """Garbage that may be finalized only where it was made, such as torch's process groups."""

    def __init__(self) -> None:
        self.itself, self.made_in = self, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.made_in:
            os._exit(9)


def test_a_child_does_not_finalize_what_its_parent_has_left() -> None:
    def collects() -> int:
        gc.collect()
        return 3

    gc.disable()  # so that the parent does not do it before
    try:
        Left()
        assert in_child(collects, 5.0) == 3
    finally:
        gc.enable()


def test_tests_that_cannot_be_read_are_told_and_not_taken_for_such_that_notice_nothing(
    tmp_path: Path,
) -> None:
    bench = Bench.__new__(Bench)
    bench.root, bench.watched = tmp_path, tmp_path / "watched.json"
    (tmp_path / "test_good.py").write_text("def test_good() -> None:\n    pass\n")
    (tmp_path / "test_bad.py").write_text("def test_bad() -> None:\n    assert False\n")
    assert [test for test, _, _ in bench._watched(["test_good.py", "test_bad.py"])] == [
        "test_good.py::test_good"
    ]
    (tmp_path / "test_broken.py").write_text("open('not there')\n")
    with pytest.raises(RuntimeError, match=r"cannot be read: test_broken.py: (.|\n)*'not there'"):
        bench._watched(["test_good.py", "test_broken.py"])


def test_what_takes_too_long_to_be_watched_may_reach_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "WATCHED", 0.2)
    (tmp_path / "super_selfish").mkdir()
    (tmp_path / "super_selfish/__init__.py").write_text("def quick():\n    return 1\n")
    (tmp_path / "test_x.py").write_text(
        "import time\n\nfrom super_selfish import quick\n\n\n"
        "def test_quick():\n    quick()\n\n\n"
        "def test_long():\n"
        "    end = time.process_time() + 0.4\n"
        "    while time.process_time() < end:\n        quick()\n"
    )
    bench = Bench.__new__(Bench)
    bench.root, bench.watched = tmp_path, tmp_path / "watched.json"
    bench.keep, bench.notes = tmp_path, {}
    quick, long = bench.reached(Path("super_selfish/__init__.py"), ["test_x.py"])
    assert [quick.is_everywhere, long.is_everywhere] == [False, True]
    assert quick.lines == {1, 2}
    elsewhere = next(each for each in changes("a = 1\n\n\n\n\n\n\nb = 2\n") if each.line == 8)
    assert run._at(elsewhere, [quick, long]) == [long]


def test_what_tests_reach_is_kept_until_they_or_the_file_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("super_selfish", "tests", "kept"):
        (tmp_path / folder).mkdir()
    file, test = Path("super_selfish/x.py"), "tests/test_x.py"
    (tmp_path / file).write_text("LIMIT = 3\n")
    (tmp_path / test).write_text("first\n")
    watched: list[list[str]] = []

    def watching(tests: list[str]) -> list[tuple[str, float, dict[str, list[int]]]]:
        watched.append(tests)
        return [(f"{each}::test_a", 0.5, {str(file): [len(watched)]}) for each in tests]

    def lines() -> list[int]:
        bench = Bench.__new__(Bench)  # as another run has it
        bench.root, bench.keep, bench.notes = tmp_path, tmp_path / "kept", {}
        monkeypatch.setattr(bench, "_watched", watching)
        for _ in range(2):
            (reached,) = bench.reached(file, [test])
        assert reached[:2] == (f"{test}::test_a", 0.5)
        return list(reached.lines)

    assert [lines(), lines()] == [[1], [1]]
    (tmp_path / file).write_text("LIMIT = 4\n")
    assert [lines(), lines()] == [[2], [2]]
    (tmp_path / test).write_text("second\n")
    assert [lines(), lines()] == [[3], [3]]
    (tmp_path / "tests/references.py").write_text("LIMIT = 5")  # used by the test
    assert [lines(), lines()] == [[4], [4]]
