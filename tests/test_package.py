"""What is installed is all that the package needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
