"""A bar for work that is done on all images before the first step."""

from __future__ import annotations

from typing import Any

from colorama import Fore, Style
from tqdm import tqdm


def images_bar(label: str, total: int, *, shown: bool) -> tqdm[Any]:
    """Opens a bar; silent where the output is no terminal.

    Args:
        label: What is done.
        total: Number of images.
        shown: Whether to show it, if there is a terminal.
    """
    return tqdm(
        total=total,
        desc=f"{Fore.CYAN}{label}{Style.RESET_ALL}",
        unit="img",
        unit_scale=True,
        dynamic_ncols=True,
        disable=None if shown else True,
    )
