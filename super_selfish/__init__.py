"""Self-supervised learning on images: two lines pretrain a backbone.

Names are fetched when they are asked for, so that the command line can answer without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from super_selfish.data import Collator as Collator
    from super_selfish.data import ImageSource as ImageSource
    from super_selfish.evaluation.checking import check as check
    from super_selfish.models import CombinedNet as CombinedNet
    from super_selfish.models import EfficientFeatures as EfficientFeatures
    from super_selfish.pretraining.choose import choose as choose
    from super_selfish.pretraining.pretrain import pretrain as pretrain
    from super_selfish.supervisors import *  # noqa: F403

__version__ = "0.1.0"

_HOMES = {
    "Collator": "data",
    "CombinedNet": "models",
    "EfficientFeatures": "models",
    "ImageSource": "data",
    "check": "evaluation.checking",
    "choose": "pretraining",
    "pretrain": "pretraining",
}
_FOLDERS = frozenset(
    ("augmentations", "cli", "data", "evaluation", "export", "losses", "memory", "models")
) | {"pretraining", "supervisors", "training"}


def __getattr__(name: str) -> Any:
    """A public name of one of the folders, a folder, or the list of all names."""
    if name in _FOLDERS:
        return importlib.import_module(f"{__name__}.{name}")
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'supervisors')}")
    if name == "__all__":
        return [*_HOMES, *home.__all__]
    if name not in _HOMES and name not in home.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(home, name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FOLDERS, *__getattr__("__all__")})
