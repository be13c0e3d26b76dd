"""One bar a run."""

from __future__ import annotations

import sys
import time

from colorama import Fore, Style
from tqdm import tqdm

from super_selfish.training.advice import SHARE, Advice
from super_selfish.training.run import Measured, Run


class Progress:
    """A bar with epoch, loss, images/s, share of the time that the networks wait, and time left.

    It is silent where the output is no terminal.

    A line of advice on a run that waits for its data is written once, terminal or not.

    It asks for numbers, which makes an accelerator wait, a few times a second only.
    """

    interval = 0.5  # seconds between two readings of the loss

    def __init__(self, label: str, run: Run, advice: Advice, *, shown: bool) -> None:
        """Opens the bar.

        Args:
            label: What runs, such as the class of the supervisor.
            run: Its state; a resumed run begins where it stands.
            advice: What to say if the networks wait for data.
            shown: Whether this process shows a bar, if it has a terminal.
        """
        self._bar = tqdm(
            total=run.epochs * run.num_images,
            initial=run.epoch * run.num_images + run.step * run.batch_size,
            desc=f"{Fore.CYAN}{label}{Style.RESET_ALL}",
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if shown and run.progress else True,
        )
        self._next = 0.0
        self._advice = advice if shown and run.progress else None

    def show(self, run: Run, feed: Measured) -> None:
        """Moves on, and a few times a second writes the state behind the bar.

        Args:
            run: State of the run, after the step.
            feed: Knows the images and times of the step.
        """
        self._bar.update(feed.images)
        if self._advice is not None and (text := self._advice.after_step(feed)):
            tqdm.write(f"{Fore.YELLOW}{text}{Style.RESET_ALL}", file=sys.stderr)
            self._advice = None
        if self._bar.disable or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.interval
        loss = run.history.means()["loss"]
        text = f"epoch {run.epoch + 1}/{run.epochs}, loss {Fore.GREEN}{loss:.4f}{Style.RESET_ALL}"
        waited = f"{run.history.waited_fraction:.0%} waiting for data"
        colour = Fore.YELLOW if run.history.waited_fraction >= SHARE else ""
        text += f", {colour}{waited}{Style.RESET_ALL if colour else ''}"
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
