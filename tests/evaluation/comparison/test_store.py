from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from super_selfish.evaluation.comparison.store import RunStore


def test_records_come_back_by_their_keys(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "folder" / "runs")
    store.append({"key": "a", "value": 1})
    store.append({"key": "b", "value": "ü"})
    store.append({"key": "a", "value": 2})
    assert RunStore(tmp_path / "folder" / "runs").read() == {
        "a": {"key": "a", "value": 2},
        "b": {"key": "b", "value": "ü"},
    }


def test_a_half_written_line_is_passed_over_and_spoils_none_after_it(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    store.append({"key": "a"})
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"key": "b", "val')
    assert list(store.read()) == ["a"]
    store.append({"key": "c"})
    assert list(store.read()) == ["a", "c"]


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    store = RunStore(None)
    with store.claim("a") as is_ours:
        assert is_ours
    store.append({"key": "a"})
    assert store.read() == {"a": {"key": "a"}}
    assert store.checkpoint("a") is None


def test_only_one_claims_a_run_at_a_time(tmp_path: Path) -> None:
    first, second = RunStore(tmp_path / "runs"), RunStore(tmp_path / "runs")
    with first.claim("a") as is_first:
        with second.claim("a") as is_second, second.claim("b") as is_other:
            assert (is_first, is_second, is_other) == (True, False, True)
    with second.claim("a") as is_second:
        assert is_second


def test_a_claim_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from super_selfish.evaluation.comparison.store import RunStore\n"
        "with RunStore(sys.argv[1]).claim('a') as is_ours:\n"
        "    print(is_ours, flush=True)\n"
        "    time.sleep(60)\n"
    )
    path = str(tmp_path / "runs")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "True"
        with RunStore(path).claim("a") as is_ours:
            assert not is_ours
        other.kill()
    with RunStore(path).claim("a") as is_ours:
        assert is_ours
    assert list((tmp_path / "runs").iterdir()) == []


def test_clear_removes_lock_and_checkpoint_of_that_run_alone(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    with store.claim("a") as _:
        for name in ("a.pt", "a.csv", "a-previous.pt", "a-previous-2.pt", "b.pt", "a2.pt"):
            (tmp_path / "runs" / name).write_text("")
        store.clear("a")
    assert {file.name for file in (tmp_path / "runs").iterdir()} == {"b.pt", "a2.pt"}


def test_lines_are_json(tmp_path: Path) -> None:
    RunStore(tmp_path / "runs").append({"key": "a", "value": [1, None]})
    assert json.loads((tmp_path / "runs.jsonl").read_text()) == {"key": "a", "value": [1, None]}


@pytest.mark.parametrize("parts", [1, 2])
def test_a_line_that_was_written_in_part_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    store = RunStore(tmp_path / "runs")
    store.append({"key": "a"})
    write, calls = os.write, []

    def short(handle: int, line: bytes) -> int:
        calls.append(line)
        return write(handle, line[:7] if len(calls) <= parts else line)

    monkeypatch.setattr(os, "write", short)
    store.append({"key": "b", "value": 1})
    assert store.read() == {"a": {"key": "a"}, "b": {"key": "b", "value": 1}}


def test_a_full_disk_is_told_and_no_record_counts_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path / "runs")
    store.append({"key": "a"})
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: write(handle, line[:5]))
    with pytest.raises(
        OSError, match=r"result of run b cannot be written to .*runs.jsonl: .*b\.pt"
    ):
        store.append({"key": "b"})
    monkeypatch.undo()
    assert list(store.read()) == ["a"]
    store.append({"key": "b"})
    assert list(store.read()) == ["a", "b"]
