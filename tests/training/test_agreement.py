"""Three processes of one run end at the same step, whatever befalls one of them, and it is stored.

They are started once; each writes how its runs ended, and the tests compare.
"""

from __future__ import annotations

import os
import re
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from super_selfish.data import ImageSource
from super_selfish.models import CombinedNet
from super_selfish.supervisors import Supervisor, meeting
from super_selfish.training import Callback, agreement
from super_selfish.training.agreement import Agreed, Told, agree, reason_of
from super_selfish.training.checkpoint import checkpoint_path, read_run
from super_selfish.training.distributed import gather, gather_one, rank, share
from tests.training.several import started
from tests.training.test_distributed import BrightnessCollator, PlainBackbone, pictures

WORLD = 3
STEP = 5  # of 3 an epoch, after which it happens
NUMBER = 36  # images: three steps of three times four

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


class Befalls(Callback):
    """Does something in one process after a step."""

    def __init__(self, does: Callable[[Any], object], who: int = 1) -> None:
        self.does, self.who = does, who

    def on_step(self, supervisor: Any, step: Any) -> None:
        if step.number == STEP and rank() == self.who:
            self.does(supervisor)


class AfterEpoch(Befalls):
    def on_epoch(self, supervisor: Any, row: Any) -> None:
        if rank() == self.who:
            self.does(supervisor)


class AtStart(Befalls):
    def on_start(self, supervisor: Any) -> None:
        if rank() == self.who:
            self.does(supervisor)


class FailsToBuild:
    def __call__(self, *given: Any, **settings: Any) -> Any:
        raise ValueError("of its own")


class Slow(Callback):
    def on_step(self, supervisor: Any, step: Any) -> None:
        if rank() == 2:
            time.sleep(0.05)


def fail(supervisor: Any) -> None:
    raise ValueError("of its own")


def kill(number: str, supervisor: Any) -> None:
    os.kill(os.getpid(), getattr(signal, number))


def stop(supervisor: Any) -> None:
    supervisor.run.stop("me")


def spoil(supervisor: Any) -> None:
    supervisor.dataset.after = 0


class Spoiled(Supervisor):
    """Its loss is not finite in a step of one process."""

    bad: float | None = None
    who = 1

    def _forward(self, data: Any) -> Any:
        loss = super()._forward(data)
        assert self.run is not None
        is_hit = rank() == self.who and self.run.global_step == STEP - 1
        if self.bad is not None and is_hit:
            assert isinstance(loss, Tensor)
            return loss + self.bad  # whose gradient is that of the loss, and finite
        return loss


class Flaky:
    """Some of its images cannot be read, or one from some time on."""

    def __init__(self, unreadable: set[int], number: int = NUMBER, after: int = 0) -> None:
        self.unreadable, self.number, self.after, self.read = unreadable, number, after, 0

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Tensor:
        self.read += 1
        if index in self.unreadable and self.read > self.after:
            raise OSError("gone")
        return pictures(self.number)[index]


def supervisor_of(
    source: Any = None, bad: float | None = None, who: int = 1, threshold: float = 0.5
) -> Spoiled:
    torch.manual_seed(0)
    network = CombinedNet(PlainBackbone(), nn.Linear(4, 2))
    source = pictures(NUMBER) if source is None else source
    supervisor = Spoiled(network, source, nn.CrossEntropyLoss(), BrightnessCollator(threshold))
    supervisor.bad, supervisor.who = bad, who
    return supervisor


def ended(folder: Path, name: str, supervisor: Spoiled, **settings: Any) -> dict[str, Any]:
    """How a run ends in this process, and what lies on the disk when it has."""
    settings = {"epochs": 4, "batch_size": 4, "checkpoint_every": None, **settings}
    error = ""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="left out: ")
            supervisor.supervise(name=folder / name, lr=0.1, progress=False, **settings)
    except BaseException as caught:  # noqa: BLE001, compared
        error = f"{type(caught).__name__}: {caught}"
    path = checkpoint_path(folder / name)
    stored = read_run(path)["run"] if path.is_file() else None
    assert supervisor.run is not None
    return {
        "error": error,
        "step": supervisor.run.global_step,
        "stored": None if stored is None else 3 * stored["epoch"] + stored["step"],
        "history": supervisor.history,
        "weights": {k: v.clone() for k, v in supervisor.state_dict().items()},
    }


def signalled_while_others_listen(folder: Path, name: str) -> dict[str, Any]:
    """A signal comes when this process has told the others what it wants, amid their sum."""
    supervisor = supervisor_of()

    def agree(*told: Any) -> Any:
        agreed = agreement.agree(*told)
        if rank() == 1 and supervisor.run is not None and supervisor.run.global_step == STEP - 1:
            kill("SIGTERM", supervisor)
        return agreed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meeting, "agree", agree)
        return ended(folder, name, supervisor)


CASES: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    **{
        number: lambda folder, name, number=number: ended(  # type: ignore[misc]
            folder, name, supervisor_of(), callbacks=[Befalls(partial(kill, number))]
        )
        for number in ("SIGINT", "SIGTERM", "SIGUSR1")
    },
    "between telling and leaving": signalled_while_others_listen,
    "amid an update": lambda folder, name: ended(
        folder,
        name,
        supervisor_of(),
        accumulate=3,
        callbacks=[Befalls(partial(kill, "SIGTERM"))],
    ),
    "callback": lambda folder, name: ended(
        folder, name, supervisor_of(), callbacks=[Befalls(fail)]
    ),
    "epoch": lambda folder, name: ended(
        folder, name, supervisor_of(), callbacks=[AfterEpoch(fail)]
    ),
    "last epoch": lambda folder, name: ended(
        folder, name, supervisor_of(), epochs=1, callbacks=[AfterEpoch(fail)]
    ),
    "start": lambda folder, name: ended(folder, name, supervisor_of(), callbacks=[AtStart(fail)]),
    "optimizer": lambda folder, name: ended(
        folder, name, supervisor_of(), optimizer=FailsToBuild() if rank() == 1 else "adam"
    ),
    "stop": lambda folder, name: ended(folder, name, supervisor_of(), callbacks=[Befalls(stop)]),
    "time": lambda folder, name: ended(
        folder, name, supervisor_of(), epochs=1000, time_limit="1s", callbacks=[Slow()]
    ),
    "loss": lambda folder, name: ended(
        folder, name, supervisor_of(bad=float("inf")), checkpoint_every=2
    ),
    "loss left out": lambda folder, name: ended(
        folder, name, supervisor_of(bad=float("nan")), on_nan="skip"
    ),
    "image": lambda folder, name: ended(
        folder,
        name,
        supervisor_of(Flaky({7}, after=10**9)),
        shuffle=False,
        callbacks=[AfterEpoch(spoil)],
    ),
    "images left out": lambda folder, name: ended(
        folder, name, supervisor_of(ImageSource(Flaky({7, 8, 11, 20}), on_error="skip"))
    ),
    "no image": lambda folder, name: ended(
        folder,
        name,
        supervisor_of(ImageSource(Flaky(set(range(NUMBER)), after=1), on_error="skip")),
    ),
    "one image": lambda folder, name: ended(folder, name, supervisor_of(pictures(1))),
    "other images": lambda folder, name: ended(
        folder, name, supervisor_of(pictures(NUMBER + 12 * rank()))
    ),
    "other order": lambda folder, name: ended(
        folder, name, supervisor_of(pictures(NUMBER).flip(0) if rank() else pictures(NUMBER))
    ),
    "other length": lambda folder, name: ended(
        folder, name, supervisor_of(), epochs=4 + (rank() == 2)
    ),
    "undisturbed": lambda folder, name: ended(folder, name, supervisor_of()),
}


def gathered() -> dict[str, Any]:
    """Parts of one, two and three rows, each weighed by its own number."""
    part = torch.arange(rank() + 1.0)[:, None] + 10 * rank()
    part = part.double().requires_grad_()
    found = []
    for images in (None, (1, 2, 3)):  # outside of a step, and within one
        share(images)
        whole = gather(part)
        (gradient,) = torch.autograd.grad((torch.arange(6.0)[:, None] * whole).sum(), part)
        found.append([whole.detach(), gradient])
    try:
        share((2, 2, 3))
        gather(torch.ones(4, 1) if rank() == 2 else torch.ones(1, 1))
        refused = ""
    except ValueError as error:
        refused = str(error)
    share(None)
    one = gather_one(torch.tensor(float(rank())))
    return {"parts": found, "refused": refused, "one": one}


def work(number: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"gathered": gathered()}
    for name, case in CASES.items():
        found[name] = case(folder, name)
        dist.barrier()
    lost = supervisor_of()
    if number == 2:  # the last case: it is gone
        torch.save(found, folder / f"{number}.pt")
        lost_by = partial(kill, "SIGKILL")
        ended(folder, "lost", lost, callbacks=[Befalls(lost_by, who=2)])
    found["lost"] = ended(folder, "lost", lost, callbacks=[Befalls(stop, who=9)])
    torch.save(found, folder / f"{number}.pt")
    os._exit(0)  # no barrier with one that is gone


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return started(work, WORLD, tmp_path_factory.mktemp("agreement"))


def same_weights(found: list[dict[str, Any]]) -> bool:
    first = found[0]["weights"]
    others = [each["weights"] for each in found[1:]]
    return all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.parametrize(
    ("case", "step", "error"),
    [
        ("SIGINT", STEP, "KeyboardInterrupt: "),
        ("SIGTERM", STEP, "SystemExit: 143"),
        ("between telling and leaving", STEP, "SystemExit: 143"),
        ("amid an update", STEP + 1, "SystemExit: 143"),  # which are one update
        ("stop", STEP, ""),
        ("SIGUSR1", 12, ""),
    ],
)
def test_what_one_process_wants_all_do_at_the_same_step(
    case: str, step: int, error: str, processes: list[dict[str, Any]]
) -> None:
    found = [process[case] for process in processes]
    assert [each["error"] for each in found] == [error] * WORLD
    assert [each["step"] for each in found] == [step] * WORLD
    assert [each["stored"] for each in found] == [step] * WORLD  # before any has gone on
    assert same_weights(found)


@pytest.mark.parametrize(
    ("case", "who", "step", "error"),
    [
        ("callback", 1, STEP, "ValueError: of its own"),
        ("epoch", 1, 3, "ValueError: of its own"),
        ("last epoch", 1, 3, "ValueError: of its own"),
        ("image", 1, 3, "OSError: cannot read image item 7: "),
    ],
)
def test_an_error_between_two_steps_of_one_process_ends_all_and_is_told(
    case: str, who: int, step: int, error: str, processes: list[dict[str, Any]]
) -> None:
    found = [process[case] for process in processes]
    assert found[who]["error"].startswith(error)
    told = f"OtherProcessError: process {who} failed, and all have ended: {found[who]['error']}"
    assert [each["error"] for n, each in enumerate(found) if n != who] == [told] * (WORLD - 1)
    assert [each["step"] for each in found] == [step] * WORLD
    assert [each["stored"] for each in found] == [step] * WORLD


def test_time_is_up_for_all_at_the_same_step(processes: list[dict[str, Any]]) -> None:
    found = [process["time"] for process in processes]
    assert [each["error"] for each in found] == [""] * WORLD
    assert len({each["step"] for each in found}) == 1
    assert 1 <= found[0]["step"] < 3000
    assert [each["stored"] for each in found] == [found[0]["step"]] * WORLD


def test_a_loss_that_is_not_finite_in_one_process_ends_all_before_weights_move(
    processes: list[dict[str, Any]],
) -> None:
    found = [process["loss"] for process in processes]
    what = {re.split(r" \(with all |\. [LN]", each["error"])[0] for each in found}
    assert len(what) == 1  # the images of the whole batch among it
    assert what.pop().count(",") == 4 * WORLD - 1
    assert found[0]["error"].startswith("NonFiniteLossError: the loss of process 1")
    assert [each["step"] for each in found] == [STEP - 1] * WORLD
    assert [each["stored"] for each in found] == [4] * WORLD  # of the checkpoint before
    assert same_weights(found)


def test_an_update_that_is_not_finite_in_one_process_is_left_out_of_all(
    processes: list[dict[str, Any]],
) -> None:
    found = [process["loss left out"] for process in processes]
    assert [each["error"] for each in found] == [""] * WORLD
    assert [[row["skipped_updates"] for row in each["history"]] for each in found] == [
        [0, 1, 0, 0]
    ] * WORLD
    assert same_weights(found)


def test_images_that_cannot_be_read_are_counted_over_all_processes(
    processes: list[dict[str, Any]],
) -> None:
    found = [process["images left out"] for process in processes]
    assert [each["error"] for each in found] == [""] * WORLD
    assert [[row["unreadable"] for row in each["history"]] for each in found] == [[4] * 4] * WORLD
    assert same_weights(found)


def test_where_no_image_can_be_read_all_say_so(processes: list[dict[str, Any]]) -> None:
    for process in processes:
        assert "no image of a batch, nor any to take its place" in process["no image"]["error"]


def test_fewer_images_than_processes_are_trained_on(processes: list[dict[str, Any]]) -> None:
    found = [process["one image"] for process in processes]
    assert [each["error"] for each in found] == [""] * WORLD
    assert same_weights(found)


def test_of_what_a_process_that_reads_images_met_others_hear_no_traceback() -> None:
    images = Flaky({0}, after=10**9)
    loader = DataLoader(ImageSource(images), num_workers=1)
    images.after = 0  # a source looks at some of them
    with pytest.raises(OSError, match="Original Traceback") as caught:
        next(iter(loader))
    told = reason_of(caught.value)
    assert told.startswith("OSError: cannot read image item 0: OSError: gone")
    assert told.endswith(" (in a process that reads images for it)")
    assert "\n" not in told
    assert reason_of(ValueError("of its own")) == "ValueError: of its own"


@pytest.mark.parametrize("case", ["start", "optimizer"])
def test_an_error_of_one_process_before_the_first_step_ends_all_with_its_words(
    case: str, processes: list[dict[str, Any]]
) -> None:
    errors = [process[case]["error"] for process in processes]
    assert errors == ["ValueError: of its own"] * WORLD
    assert same_weights([process["undisturbed"] for process in processes])  # the next run


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other images", "images in the dataset=36, process 1 has 48"),
        ("other order", "images (digest of some)="),
        ("other length", "epochs=4, process 2 has 5"),
    ],
)
def test_processes_that_would_not_train_alike_are_refused_before_the_first_step(
    case: str, message: str, processes: list[dict[str, Any]]
) -> None:
    errors = {process[case]["error"] for process in processes}
    assert len(errors) == 1
    assert errors.pop().startswith(
        f"ValueError: the processes of a run must train alike, and process 0 has {message}"
    )
    assert [process[case]["step"] for process in processes] == [0] * WORLD


def test_the_history_is_that_of_the_whole_batch(processes: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    alone = supervisor_of()
    alone.supervise(name=None, lr=0.1, epochs=4, batch_size=4 * WORLD, progress=False)
    for process in processes:
        for row, whole in zip(process["undisturbed"]["history"], alone.history, strict=True):
            assert row["loss"] == pytest.approx(whole["loss"], rel=1e-5)
            assert row["images_per_second"] * row["seconds"] == pytest.approx(NUMBER)
    rows = [process["undisturbed"]["history"] for process in processes]
    assert rows[0] == rows[1] == rows[2]


def test_parts_of_any_length_are_joined(processes: list[dict[str, Any]]) -> None:
    expected = torch.tensor([0.0, 10, 11, 20, 21, 22], dtype=torch.float64)
    for number, process in enumerate(processes):
        first = number * (number + 1) // 2
        for whole, gradient in process["gathered"]["parts"]:
            assert torch.equal(whole[:, 0], expected)
            own = WORLD * torch.arange(first, first + number + 1.0)
            assert torch.equal(gradient[:, 0], own.double())
        assert process["gathered"]["one"].tolist() == [0.0, 1.0, 2.0]
        assert process["gathered"]["refused"].startswith("gather() was given ")


def test_a_process_that_is_gone_ends_the_others_with_what_is_whole_stored(
    processes: list[dict[str, Any]],
) -> None:
    for process in processes[:2]:
        found = process["lost"]
        assert found["error"].startswith("LostProcessError: another process of this run has ended")
        assert found["step"] == STEP
    assert processes[0]["lost"]["stored"] == STEP


def test_each_tells_its_own_images_and_learns_those_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three processes, one after the other: each tells first, and is told the sum thereafter."""
    told: list[list[int]] = []

    def note(numbers: list[int]) -> list[int]:
        told.append(list(numbers))
        return told[-1]

    wants = [(Told(), None, 4), (Told(stops=1), signal.SIGTERM, 0), (Told(is_late=1), None, 7)]
    monkeypatch.setattr(agreement, "world_size", lambda: 3)
    monkeypatch.setattr(agreement, "sums", note)
    for number, (want, asks, images) in enumerate(wants):
        monkeypatch.setattr(agreement, "rank", lambda number=number: number)
        agree(want, asks, images)
    monkeypatch.setattr(
        agreement, "sums", lambda _: [sum(each) for each in zip(*told, strict=True)]
    )
    agreed = agree(Told())
    assert agreed.images == (4, 0, 7) and agreed.signal is signal.SIGTERM
    assert agreed.told == Told(stops=1, is_late=1) and not agreed.fails


@pytest.mark.parametrize(
    ("told", "fails"),
    [
        *((Told(leaves=0), False), (Told(leaves=1), True), (Told(leaves=2), True)),
        *((Told(leaves=3), False), (Told(fails=1), True), (Told(stops=2), False)),
    ],
)
def test_a_run_fails_if_one_does_or_some_have_come_to_their_end_alone(
    told: Told, fails: bool
) -> None:
    assert Agreed(told, None, (4, 4, 4)).fails == fails
