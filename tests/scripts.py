"""The benchmarks, which are no package: each is imported from its folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"


@contextmanager
def benchmark(name: str) -> Iterator[ModuleType]:
    """A module of the folder; others of the same names, its own included, are back afterwards.

    Args:
        name: Of the file, without its ending.
    """
    own = {path.stem for path in BENCHMARKS.glob("*.py")}
    aside = {name: sys.modules.pop(name) for name in own & set(sys.modules)}
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))
        for module in own & set(sys.modules):
            del sys.modules[module]
        sys.modules.update(aside)
