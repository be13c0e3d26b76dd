"""What a run shows of itself."""

from __future__ import annotations

import time

from colorama import Fore, Style

from super_selfish.training.advice import SHARE, Advice
from super_selfish.training.counting import plural
from super_selfish.training.display import duration, is_notebook, is_terminal, open_bar
from super_selfish.training.distributed import images_of_all
from super_selfish.training.run import Measured, Run
from super_selfish.training.standing import place_of, stopped


class Progress:
    """Epoch, loss, images/s, share of the time that the networks wait, time left, where stored.

    In a terminal and in a notebook it is a bar. Elsewhere (a log, a pipe) a line comes at the
    start, within half a minute, then at the end of an epoch, though not more than one a minute, and
    at the end; amid a long epoch every ten minutes.

    It asks for numbers, which makes an accelerator wait, a few times a second only.
    """

    def __init__(
        self, label: str, run: Run, advice: Advice, *, shown: bool, skips: bool = False
    ) -> None:
        """Opens the bar.

        Args:
            label: What runs, such as the class of the supervisor.
            run: Its state; a resumed run begins where it stands.
            advice: What to say if the networks wait for data.
            shown: Whether this process shows anything.
            skips: Whether images that cannot be read are left out; how many, no one knows yet.
        """
        shown = shown and run.progress
        self._run = run
        self._label = label
        self._skips = skips
        self._from = f"from epoch {run.epoch + 1} on" if run.epoch or run.step else ""
        self._is_coloured = is_terminal() and not is_notebook()
        self._done = run.epoch * run.num_images + run.seen
        self._bar = open_bar(
            label,
            run.epochs * run.num_images,
            "img",
            shown=shown,
            initial=self._done,
            state=self._state,
        )
        self._advice = advice if shown else None
        if not self._is_coloured and not run.is_over():
            self._bar.say(self._opening())
        for remark in [] if run.is_over() else run.remarks:
            self._bar.say(remark)

    def show(self, run: Run, feed: Measured) -> None:
        """Moves on after a step.

        Args:
            run: State of the run, after the step.
            feed: Knows the images and times of the step.
        """
        # What fills up batches, of several processes or in the place of the unreadable, is no more.
        done = min(self._done + images_of_all(feed.images), (run.epoch + 1) * run.num_images)
        self._bar.update(done - self._done)
        self._done = done
        if self._advice is not None and (text := self._advice.after_step(feed)):
            self._bar.say(self._coloured(text, Fore.YELLOW))
            self._advice = None

    def note(self, text: str | None) -> None:
        """Writes a sentence on the run, if there is one to say."""
        if text is not None:
            self._bar.say(text)

    def after_epoch(self) -> None:
        """Notes that an epoch is over."""
        self._bar.mark()

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()

    def conclude(self, left_out: int = 0) -> None:
        """Says what a run that came to its end has done, and where it lies.

        Args:
            left_out: How many different images could not be read.
        """
        run = self._run
        rows = run.history.rows
        if not run.has_advanced and run.epoch >= run.epochs:
            self._bar.say(f"{self._label}: nothing left to do of {plural(run.epochs, 'epoch')}")
            return
        seconds = duration(time.monotonic() - run.began)
        done = plural(run.epoch, "epoch") + (f" and {plural(run.step, 'step')}" if run.step else "")
        took = f"{done} ({self._from} in {seconds})" if self._from else f"{done} in {seconds}"
        loss = f", loss {rows[-1]['loss']:.4g}" if rows else ""
        missing = ""
        if left_out:
            missing = f"; {plural(left_out, 'unreadable image')} left out"
        if run.epoch < run.epochs:
            end = f". {stopped(run, run.cause_of_end)}"
        else:
            end = f"; {place_of(run)}"
        self._bar.say(f"{self._label}: {took}{loss}{missing}{end}")
        self.note(run.kept)

    def _opening(self) -> str:
        run = self._run
        place = place_of(run) if run.name is None else f"will be {place_of(run)}"
        less = ", less those that cannot be read" if self._skips else ""
        at = f", {self._from}" if self._from else ""
        return (
            f"{self._label}: {plural(run.num_images, 'image')}{less}, "
            f"{plural(run.epochs, 'epoch')} of {plural(run.steps_per_epoch, 'step')} "
            f"on {run.device}{at}; {place}"
        )

    def _state(self) -> str:
        run = self._run
        history = run.history
        if run.step or not history.rows:
            epoch, loss = run.epoch + 1, history.means().get("loss", float("nan"))
            waited = history.waited_fraction
        else:  # an epoch has just ended
            row = history.rows[-1]
            epoch, loss = run.epoch, row["loss"]
            waited = row["waited_for_data"] / row["seconds"] if row["seconds"] else 0.0
        text = f"epoch {epoch}/{run.epochs}, loss {self._coloured(f'{loss:.4g}', Fore.GREEN)}, "
        share = f"{waited:.0%} waiting for data"
        return text + (self._coloured(share, Fore.YELLOW) if waited >= SHARE else share)

    def _coloured(self, text: str, color: str) -> str:
        return f"{color}{text}{Style.RESET_ALL}" if self._is_coloured else text
