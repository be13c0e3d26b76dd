"""What is installed is all that the package needs."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def files(package: Path) -> set[str]:
    found = (path for path in package.rglob("*") if path.is_file())
    return {str(path.relative_to(package)) for path in found if "__pycache__" not in path.parts}


def test_what_is_built_holds_every_file_of_the_package(tmp_path: Path) -> None:
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    whole = files(ROOT / "super_selfish")
    assert "evaluation/report/templates/page.html" in whole and "py.typed" in whole
    assert files(tmp_path / "super_selfish") == whole


def named_in_setup() -> list[str]:
    """What setup.py wants installed."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no install_requires")


def test_an_install_pulls_few_packages() -> None:
    """26 with this one, without those for CUDA; jsonargparse and PyYAML are the last two."""
    pulled: set[str] = set()
    waiting = [Requirement(line) for line in named_in_setup()]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in pulled or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        if name.startswith(("nvidia-", "cuda-", "triton", "pytorch-triton")):
            continue
        pulled.add(name)
        waiting += [Requirement(line) for line in importlib.metadata.requires(name) or []]
    assert {"jsonargparse", "pyyaml"} < pulled
    assert len(pulled) + 1 <= 26, sorted(pulled)
