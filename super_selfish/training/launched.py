"""Which of several processes this one is, as whoever started them says: `torchrun`, or `srun`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import NamedTuple

_FIRST_PORT, _PORTS = 10_000, 20_000  # below those that systems hand out by themselves
_PRIME = 7_919  # keeps the ports of a job's steps apart from those of the next jobs


class Launch(NamedTuple):
    """A process among those that were started together."""

    rank: int  # of all, from 0
    world: int  # how many there are
    local_rank: int  # on this machine
    local_world: int  # on this machine
    address: str | None = None  # where they meet; None: torch reads it from the environment

    @property
    def method(self) -> str:
        """How they meet, as `init_process_group` takes it."""
        return "env://" if self.address is None else f"tcp://{self.address}"


def launch() -> Launch | None:
    """What the environment says of this process.

    `torchrun` goes before SLURM, which may have started it. Of SLURM the variables of a step count,
    not those of a job: a script that a batch file or a shell of an allocation runs by itself is
    alone there, and waits for nobody.

    Returns:
        Its place; None where it was started alone.

    Raises:
        ValueError: If the variables of SLURM do not say where the processes meet.
    """
    given = os.environ
    if "RANK" in given and "WORLD_SIZE" in given:
        rank, world = int(given["RANK"]), int(given["WORLD_SIZE"])
        local = int(given.get("LOCAL_RANK", rank))
        return Launch(rank, world, local, int(given.get("LOCAL_WORLD_SIZE", world)))
    return _of_slurm(given)


def _of_slurm(given: Mapping[str, str]) -> Launch | None:
    if "SLURM_PROCID" not in given or "SLURM_STEP_ID" not in given or _is_shell():
        return None
    world = int(given.get("SLURM_STEP_NUM_TASKS", given.get("SLURM_NTASKS", "1")))
    if world < 2:
        return None
    local = int(given.get("SLURM_LOCALID", "0"))
    return Launch(int(given["SLURM_PROCID"]), world, local, _tasks_here(given, world), _at(given))


def _is_shell() -> bool:
    """Whether somebody types here (`srun --pty`): such a shell may stand in a step of many."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _tasks_here(given: Mapping[str, str], world: int) -> int:
    """Tasks on this machine, from such as "4(x2),3": those of every node in their order."""
    told = given.get("SLURM_STEP_TASKS_PER_NODE", given.get("SLURM_TASKS_PER_NODE", str(world)))
    numbers: list[int] = []
    for number, _, repeated in re.findall(r"(\d+)(\(x(\d+)\))?", told):
        numbers += [int(number)] * int(repeated or 1)
    node = int(given.get("SLURM_NODEID", "0"))
    return numbers[node] if node < len(numbers) else world


def _at(given: Mapping[str, str]) -> str:
    """Host and port of the first process, the same for all processes of a step."""
    job, step = (int(given.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    port = given.get("MASTER_PORT", str(_FIRST_PORT + (job + _PRIME * step) % _PORTS))
    if "MASTER_ADDR" in given:
        return f"{given['MASTER_ADDR']}:{port}"
    names = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    nodes = next((given[name] for name in names if name in given), "")
    if given.get("SLURM_STEP_NUM_NODES", given.get("SLURM_NNODES")) == "1":
        return f"127.0.0.1:{port}"
    if not nodes:
        raise ValueError(
            "SLURM started several processes and does not say on which nodes (SLURM_NODELIST): set "
            "MASTER_ADDR to the host of the first one, in the batch file before srun"
        )
    return f"{first_node(nodes)}:{port}"


def first_node(nodes: str) -> str:
    """The first host of a list as SLURM writes it.

    Args:
        nodes: Such as `"gpu[03-05,09],login1"`, whose first one is gpu03.
    """
    found = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    first = nodes if found is None else found[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)
