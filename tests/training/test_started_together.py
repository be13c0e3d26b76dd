"""The unchanged two lines, started by `torchrun`, and as `srun` starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from super_selfish.training.checkpoint import read_run

REPOSITORY = Path(__file__).parents[2]
SECONDS = 900  # on a machine that does much else
SCRIPT = """
import torch
from super_selfish.supervisors import RotateNetSupervisor
from tests.conftest import TinyBackbone

torch.set_num_threads(1)
images = torch.arange(24 * 3 * 32 * 32).view(24, 3, 32, 32).remainder(251).to(torch.uint8)
supervisor = RotateNetSupervisor(images, TinyBackbone())
supervisor.supervise(epochs=2, batch_size=4, name="run")
"""

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def by_torchrun(script: Path) -> list[tuple[list[str], dict[str, str]]]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    return [([*launcher, f"--master-port={free_port()}", str(script)], {})]


def by_srun(script: Path) -> list[tuple[list[str], dict[str, str]]]:
    of_step = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "here",
        "MASTER_PORT": free_port(),
    }
    of_tasks = [of_step | {"SLURM_PROCID": n, "SLURM_LOCALID": n} for n in ("0", "1")]
    return [([sys.executable, str(script)], of_task) for of_task in of_tasks]


@pytest.mark.parametrize("starter", [by_torchrun, by_srun])
def test_two_lines_are_one_run_of_all_processes(starter: object, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    assert callable(starter)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    plain |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            env=plain | more,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, more in starter(script)
    ]
    try:
        said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), said
    assert said[0].count("2 processes, 2 x 4 = 8 images a step; lr=0.001 is taken as given") == 1
    assert said[0].count("24 images, 2 epochs of 3 steps") == 1
    assert said[0].count("stored at") == 2  # before the first step, and at the end
    assert not any(said[1:])  # of other tasks
    stored = read_run(tmp_path / "run.pt")["run"]
    assert stored["settings"]["processes"] == 2
    assert [row["epoch"] for row in stored["history"]["rows"]] == [1, 2]
    assert not (tmp_path / "run.lock").exists()
