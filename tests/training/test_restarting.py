"""Processes that are killed, and started anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from super_selfish.training.distributed import join_processes
from tests.several import context

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


def joined_once(rank: int, port: int, attempt: int, file: Path) -> None:
    """As torchrun starts a process, at a store that it keeps for those that it will start next."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT=str(attempt))
    join_processes(torch.device("cpu"))
    file.write_text(str(dist.get_world_size()))
    os._exit(0)  # as if it were killed: nothing is taken back


def test_processes_that_are_started_anew_do_not_look_for_those_that_are_gone(
    tmp_path: Path,
) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for attempt in range(2):
        files = [tmp_path / f"{attempt}-{rank}" for rank in range(2)]
        processes = [
            context().Process(target=joined_once, args=(rank, store.port, attempt, file))
            for rank, file in enumerate(files)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            process.kill()
        assert [file.is_file() and file.read_text() for file in files] == ["2", "2"], attempt
