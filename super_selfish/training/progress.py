"""One bar a run."""

from __future__ import annotations

import time

from colorama import Fore, Style
from tqdm import tqdm

from super_selfish.training.run import Run


class Progress:
    """A bar with epoch, loss, images/s and time left; silent where the output is no terminal.

    It asks for numbers, which makes an accelerator wait, a few times a second only.
    """

    interval = 0.5  # seconds between two readings of the loss

    def __init__(self, label: str, run: Run, *, shown: bool) -> None:
        """Opens the bar.

        Args:
            label: What runs, such as the class of the supervisor.
            run: Its state; a resumed run begins where it stands.
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

    def show(self, run: Run, images: int) -> None:
        """Moves on, and a few times a second writes the state behind the bar.

        Args:
            run: State of the run, after the step.
            images: Images of the step.
        """
        self._bar.update(images)
        if self._bar.disable or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.interval
        loss = run.history.means()["loss"]
        text = f"epoch {run.epoch + 1}/{run.epochs}, loss {Fore.GREEN}{loss:.4f}{Style.RESET_ALL}"
        if run.history.waited_fraction >= 0.05:
            waited = f"{run.history.waited_fraction:.0%} waiting for data"
            text += f", {Fore.YELLOW}{waited}{Style.RESET_ALL}"
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()
