"""Signals that wait for the end of a step, and those that do not."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from super_selfish.training.interrupt import LEAVING, STORING, Interrupt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")

seen: list[int] = []


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Each signal is noted by a handler of the user's own."""
    seen.clear()
    names = [*LEAVING, *STORING]
    formers = {name: signal.getsignal(getattr(signal, name)) for name in names}
    for name in names:
        signal.signal(getattr(signal, name), lambda number, frame: seen.append(number))
    yield
    for name, former in formers.items():
        signal.signal(getattr(signal, name), former)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_a_signal_is_only_noted_until_the_step_ends() -> None:
    with Interrupt(LEAVING, STORING) as interrupt:
        interrupt.raise_if_requested()
        send(signal.SIGINT)
        assert interrupt.requested is signal.SIGINT and not interrupt.wants_store and seen == []
        with pytest.raises(KeyboardInterrupt):
            interrupt.raise_if_requested()
    send(signal.SIGINT)
    assert seen == [signal.SIGINT]  # put back


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_others_end_with_the_status_of_shells_and_tell_who_had_them(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as caught, Interrupt(LEAVING, STORING) as interrupt:
        send(number)
        interrupt.raise_if_requested()
    assert caught.value.code == 128 + number
    assert seen == [number]


def test_whoever_leaves_otherwise_is_told_of_nothing() -> None:
    with pytest.raises(SystemExit), Interrupt(LEAVING):
        raise SystemExit(3)
    with pytest.raises(ValueError, match="else"), Interrupt(LEAVING) as interrupt:
        send(signal.SIGTERM)
        assert interrupt.requested is signal.SIGTERM
        raise ValueError("else")
    assert seen == []


def test_a_second_ctrl_c_is_obeyed_at_once_by_who_had_it() -> None:
    with Interrupt(LEAVING) as interrupt:
        send(signal.SIGTERM, signal.SIGINT)
        assert seen == [] and interrupt.requested is signal.SIGINT  # the first one of its kind
        send(signal.SIGTERM)
        assert seen == [] and interrupt.requested is signal.SIGINT
        send(signal.SIGINT)
        assert seen == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt), Interrupt(LEAVING):
        send(signal.SIGINT, signal.SIGINT)


def test_between_two_steps_nothing_waits() -> None:
    with Interrupt(LEAVING, STORING) as interrupt:
        interrupt.is_whole = True
        send(signal.SIGUSR1)
        assert interrupt.wants_store
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_what_is_shielded_is_not_broken_off() -> None:
    for is_whole, times in ((False, 2), (True, 1)):
        with Interrupt(LEAVING) as interrupt:
            interrupt.is_whole = is_whole
            reached = []
            with pytest.raises(KeyboardInterrupt), interrupt.shielded():
                send(*[signal.SIGINT] * times)
                reached.append(True)
            assert reached == [True] and seen == []
    with Interrupt(LEAVING) as interrupt:
        with interrupt.shielded():
            send(signal.SIGINT)
        assert interrupt.requested is signal.SIGINT and seen == []  # it waits for the step
        with interrupt.shielded():
            pass
        send(signal.SIGINT)
        assert seen == [signal.SIGINT]  # the shield is gone


def test_what_is_stored_is_told_to_who_had_the_signal() -> None:
    with Interrupt(LEAVING, STORING) as interrupt:
        send(signal.SIGUSR1)
        stands = [(interrupt.wants_store, interrupt.requested, list(seen))]
        interrupt.stored()
        stands.append((interrupt.wants_store, interrupt.requested, list(seen)))
    assert stands == [(True, None, []), (False, None, [signal.SIGUSR1])]


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupt(LEAVING) as interrupt:
        send(signal.SIGHUP)
        assert interrupt.requested is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_by_default_ctrl_c_alone_is_taken_and_elsewhere_none() -> None:
    with Interrupt() as interrupt:
        send(signal.SIGTERM)
        assert seen == [signal.SIGTERM] and interrupt.requested is None
    formers: list[Any] = []

    def enter() -> None:
        with Interrupt(LEAVING):
            formers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert formers == [before]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_is_ended_by_sigterm_alone() -> None:
    with Interrupt(LEAVING) as interrupt:
        child = os.fork()
        if child == 0:
            send(signal.SIGINT, signal.SIGHUP, signal.SIGINT)
            is_untouched = interrupt.requested is None and seen == []
            if is_untouched:
                send(signal.SIGTERM)
            os._exit(3)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
