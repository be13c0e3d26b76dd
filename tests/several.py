"""Several processes of one run, on one CPU: forks of a process that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Imported once, for all tests that start processes: torch alone takes seconds. The process uses no
# thread of torch's, which a fork would lose.
PRELOADED = ["pytest", "tests.conftest", "super_selfish.supervisors", "super_selfish.evaluation"]
LONGEST = 300  # seconds until processes count as hanging


def context() -> Any:
    """Of `multiprocessing`: its processes are forks of one that has imported everything."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


def run_several(
    number: int, work: Callable[..., Any], folder: Path, *args: Any, may_die: bool = False
) -> list[Any]:
    """Does some work in several processes, which have joined; one is a group of its own.

    Args:
        number: Of processes.
        work: Called with `folder` and `args`; a function of a module, which returns what
            `torch.save` takes.
        folder: Where they meet, and leave what they found.
        args: As it needs them.
        may_die: Whether a process may end without a result, which then is None.

    Returns:
        What it gives in each process.
    """
    meeting = folder / f"meeting-{len(list(folder.glob('meeting-*')))}"
    meeting.mkdir()
    processes: list[Any] = [
        context().Process(target=_joined, args=(rank, number, meeting, work, folder, *args))
        for rank in range(number)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONGEST)
    hanging = [rank for rank, process in enumerate(processes) if process.exitcode is None]
    for rank in hanging:
        processes[rank].kill()
    said = "\n".join(file.read_text() for file in sorted(meeting.glob("*.txt")))
    assert not hanging, f"processes {hanging} hang; the others said: {said}"
    found = []
    for rank in range(number):
        file = meeting / f"{rank}.pt"
        assert file.is_file() or may_die, said
        found.append(torch.load(file, weights_only=False) if file.is_file() else None)
    return found


def _joined(rank: int, number: int, meeting: Path, work: Callable[..., Any], *args: Any) -> None:
    torch.set_num_threads(1)
    sys.stderr = open(meeting / f"{rank}.err", "w")  # closed with the process
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(number), LOCAL_RANK=str(rank))
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}/store",
        rank=rank,
        world_size=number,
        timeout=timedelta(seconds=LONGEST / 2),
    )
    try:
        torch.save(work(*args), meeting / f"{rank}.pt")
        dist.barrier()
    except BaseException:
        (meeting / f"{rank}.txt").write_text(f"process {rank}: {traceback.format_exc()}")
        raise
    finally:
        dist.destroy_process_group()
