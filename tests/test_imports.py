"""No file needs one that needs it. (Above, a supervisor and what helps it know each other.)"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import super_selfish

PACKAGE = Path(super_selfish.__file__).parent


def imports_of(root: Path) -> dict[str, set[str]]:
    """Which files of a package each of them imports, be it in a function or for types alone."""
    names = {name_of(path, root): path for path in root.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names} & names.keys()
                imported |= submodules or {node.module}
        found[name] = imported & names.keys() - {name}
    return found


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """Files of which each imports the next, and the last one the first; none if there is none."""
    done: set[str] = set()

    def search(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(imports[name]):
            found = search(other, [*way, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(imports) if (found := search(name, []))), [])


def test_below_the_supervisors_no_imports_run_in_a_circle() -> None:
    everything = imports_of(PACKAGE)
    upper = tuple(f"super_selfish.{folder}" for folder in ("supervisors", "evaluation", "export"))
    within = {name for name in everything if name != "super_selfish"}
    within -= {name for name in everything if name.startswith(upper)}
    assert len(within) > 100
    assert circle_in({name: everything[name] & within for name in within}) == []


def test_a_circle_is_found_however_it_is_imported(tmp_path: Path) -> None:
    root = tmp_path / "some"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("from some import b\n")
    (root / "b.py").write_text("def later():\n    import some.c\n")
    (root / "c.py").write_text("if TYPE_CHECKING:\n    from some.a import A\n")
    assert circle_in(imports_of(root)) == ["some.a", "some.b", "some.c"]
    (root / "c.py").write_text("import os\n")
    assert circle_in(imports_of(root)) == []


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_scripts_import_what_is_there(folder: str) -> None:
    scripts = sorted((Path(__file__).parents[1] / folder).glob("*.py"))
    assert scripts
    missing = []
    for path in scripts:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module.partition(".")[0] != PACKAGE.name:
                continue
            module = importlib.import_module(node.module)
            for alias in node.names:
                submodule = PACKAGE.parent.joinpath(*node.module.split("."), f"{alias.name}.py")
                if not hasattr(module, alias.name) and not submodule.is_file():
                    missing.append(f"{path.name}: {node.module} has no {alias.name}")
    assert not missing
