"""`super-selfish pretrain` and `super-selfish choose`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from super_selfish.cli.algorithms import ALGORITHMS
from super_selfish.cli.names import require_algorithms, require_backbone
from super_selfish.cli.output import say
from super_selfish.cli.places import require_images
from super_selfish.cli.times import least_time, require_time
from super_selfish.cli.wrong import WrongLineError


def pretrain(images: str, *, test: str | None = None, **given: Any) -> None:
    """Pretrains a backbone in a given time, and says whether it helped.

    Args:
        images: A folder (class sub-folders are labels), a pattern, or a .csv of paths and labels.
        test: Labelled images to test on, given likewise. Default: a fifth of the images, which are
            kept from training.
        **given: As for `super_selfish.pretrain`; keywords of algorithms under their names.
    """
    own, options = _parted(given)
    require_time("--time", own.get("time"), least_time())
    require_backbone(own.get("backbone"))
    named = own.get("algorithm")
    require_algorithms([] if named is None else [named])
    for other in options:
        if other != named:
            raise WrongLineError(f"--{other}.... is for --algorithm {other}, which is not said")
    require_images(images, test)
    from super_selfish.pretraining import pretrain as function

    outcome = function(images, test=test, options=options.get(str(named)), **own)
    say(outcome.answer)


def choose(images: str, *, test: str | None = None, **given: Any) -> None:
    """Compares algorithms on images, with labels or without, and pretrains with the best of them.

    Args:
        images: As for `pretrain`.
        test: As for `pretrain`.
        **given: As for `super_selfish.choose`; keywords of algorithms under their names.
    """
    own, options = _parted(given)
    require_time("--time", own.get("time"), least_time())
    require_backbone(own.get("backbone"))
    require_algorithms([*own.get("algorithms", []), *options])
    require_images(images, test)
    from super_selfish.pretraining import choose as function

    choice = function(images, test=test, options=options, **own)
    say(choice.answer)


def _parted(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Keywords of the call, and those of algorithms by their names."""
    own = {name: value for name, value in given.items() if name not in ALGORITHMS}
    options = {name: value for name, value in given.items() if name in ALGORITHMS}
    return own, options
