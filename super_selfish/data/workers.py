"""What becomes of processes that read images: they hang, are killed, or fail, and somebody says so.

Torch says it too, but not what to look at.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from super_selfish.times import parse_time
from super_selfish.training.plain import plain_setting

_LOOKS, _SECONDS_BETWEEN = 20, 0.05  # at workers, to see one end
DEFAULT_TIMEOUT = "30min"  # ours: no batch takes as long, and a night is not lost


class WorkerError(RuntimeError):
    """A process that reads images was killed, or gave nothing for too long; `__cause__` is torch's.

    A run is stored as it was after its last whole step.
    """


def batches_of(
    loader: DataLoader[Any], describe: Callable[[int], str] | None = None
) -> Iterator[Any]:
    """The batches of a loader.

    Args:
        loader: With workers or without.
        describe: Says which images are in a batch, by its number among those that are asked for.

    Raises:
        WorkerError: A worker was killed, or gave nothing in time.
    """
    batches = iter(loader)
    number = 0
    while True:
        try:
            with worker_faults_explained(batches):
                batch = next(batches)
        except StopIteration:
            return
        except WorkerError as error:
            if describe is None:
                raise
            raise WorkerError(f"{error} It was to give {describe(number)}.") from error.__cause__
        yield batch
        number += 1


@contextmanager
def worker_faults_explained(reader: Any = None) -> Iterator[None]:
    """While entered, torch's word for a worker that was killed or hangs becomes one for users.

    Torch notices a killed worker by a signal, which may come amid anything.

    Args:
        reader: The loader or its iterator, of which the other workers are ended as well. Else torch
            would complain of the same one again, with the next process that ends.

    Raises:
        WorkerError: A worker was killed, or gave nothing in time.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        iterator = getattr(reader, "_iterator", reader)  # a loader keeps that of persistent workers
        late = re.match(r"DataLoader timed out after ([\d.]+) seconds", str(error))
        is_theirs = late is not None or str(error).startswith("DataLoader worker")
        # What a worker was handing over when it was killed breaks off, before torch knows why.
        is_broken_off = not isinstance(error, RuntimeError) and _code_of_dead(iterator) is not None
        if not is_theirs and not is_broken_off:
            raise
        code = _code_of_dead(iterator)
        _end_workers(iterator)
        said = _late(float(late[1])) if late is not None else _killed(str(error), code)
        raise WorkerError(said) from error


@contextmanager
def workers_ended(loader: Any) -> Iterator[None]:
    """Ends the workers of a loader afterwards, if it has some.

    Torch ends them where the loader is forgotten. If that is in a circle of references, they do not
    hear of it, and the process waits five seconds for each, whenever it collects its garbage.

    Args:
        loader: Whose; any other object has none.
    """
    try:
        yield
    finally:
        _end_workers(getattr(loader, "_iterator", None))
        if hasattr(loader, "_iterator"):
            loader._iterator = None


def _code_of_dead(iterator: Any) -> int | None:
    """How the first worker that is no more ended: minus its signal; `None` if all are alive."""
    workers = getattr(iterator, "_workers", [])
    if not workers:
        return None
    for _ in range(_LOOKS):
        codes = [worker.exitcode for worker in workers if worker.exitcode is not None]
        if codes:
            return min(codes)
        time.sleep(_SECONDS_BETWEEN)
    return None


def _end_workers(iterator: Any) -> None:
    """Ends all workers; torch's handler of the signal may interrupt that, once for each."""
    for _ in range(1 + len(getattr(iterator, "_workers", []))):
        try:
            if hasattr(iterator, "_shutdown_workers"):
                iterator._shutdown_workers()
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise


def _late(seconds: float) -> str:
    return (
        f"no process that reads images gave a batch within {seconds:g} s. Look at what the dataset "
        "waits for: a network disk that does not answer, a lock, a download, or a library that "
        "must not be used after a fork; num_workers=0 shows where it stands (Ctrl-C). If it only "
        "needs more time, worker_timeout= gives it, and None all of it."
    )


def _killed(message: str, code: int | None) -> str:
    """A sentence for a worker that is no more.

    Args:
        message: What torch says.
        code: Its exit code.
    """
    told = re.search(r"killed by signal: ([^.]*)", message)
    name = "" if told is None else told[1].strip()
    if code is not None and code < 0:
        name = signal.strsignal(-code) or str(-code)
    how = f"was killed ({name})" if name else f"ended (exit code {code})"
    if "shared memory" in message or "shm" in message or name == "Bus error":
        cause = (
            "most often since /dev/shm is full, through which batches travel: give a container "
            "more (docker run --shm-size=8g), or use fewer num_workers"
        )
    elif not name:
        cause = "most often by an exit in the dataset or its libraries; num_workers=0 shows more"
    elif not name.startswith("Killed"):
        cause = "most often by a fault in a library of the dataset's; num_workers=0 shows which"
    else:
        cause = (
            "most often by the system, since memory was used up (dmesg tells). Use fewer "
            "num_workers, each of which holds a copy of the dataset's Python objects and several "
            "batches, or a smaller batch_size"
        )
    return f"a process that reads images {how}, {cause}."


def parse_timeout(timeout: float | str | None) -> float:
    """Seconds that workers have for a batch; 0 for all time.

    Args:
        timeout: Seconds, a time such as `"5min"`, or None.

    Raises:
        ValueError: If it is neither.
    """
    timeout = plain_setting(timeout)
    if timeout is None:
        return 0.0
    if isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0:
        return float(timeout)
    expected = ValueError(
        f'worker_timeout is a number of seconds, a time such as "5min", or None, got {timeout!r}'
    )
    if not isinstance(timeout, str):
        raise expected
    try:
        seconds = parse_time(timeout, "worker_timeout")
    except ValueError:
        raise expected from None
    if not seconds:
        raise expected
    return seconds
