"""What is built holds what the package needs, and is used where nothing else of it lies."""

from __future__ import annotations

import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from super_selfish import __version__

ROOT = Path(__file__).parents[1]
NOT_OURS = ("build", "dist", "store", "demo", "*.egg-info", "__pycache__", ".?*")


class Built(NamedTuple):
    """What `python -m build` makes of a copy of the repository."""

    source: Path
    wheel: Path

    @property
    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as file:
            (name,) = (each for each in file.namelist() if each.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(file.read(name))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both packages; the wheel is built from the other one."""
    pytest.importorskip("build", reason="builds packages")
    copy, folder = tmp_path_factory.mktemp("copy") / "here", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_OURS))
    called("-m", "build", "--no-isolation", "--outdir", str(folder), str(copy), within=folder)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(source, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed alone; what it needs is found where it always is."""
    folder = tmp_path_factory.mktemp("installed")
    line = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index")
    called(*line, "--no-deps", "--no-compile", "--target", str(folder), str(built.wheel))
    return folder


def called(*words: str, within: Path | None = None, path: Path | None = None) -> str:
    """What a Python process says, that ends well."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    line = [sys.executable, *words]
    done = subprocess.run(line, cwd=within, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(package: Path) -> set[str]:
    found = (path for path in package.rglob("*") if path.is_file())
    return {path.relative_to(package).as_posix() for path in found if "pycache" not in str(path)}


def test_the_wheel_is_the_library_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        beside = {name.partition(".dist-info/")[2] for name in set(file.namelist()) - names}
    whole = {f"super_selfish/{name}" for name in files(ROOT / "super_selfish")}
    assert {"super_selfish/evaluation/report/templates/page.html", "super_selfish/py.typed"} < whole
    assert names == whole
    assert {"licenses/LICENSE", "entry_points.txt"} < beside


def test_the_source_package_has_neither_tests_nor_measurements(built: Built) -> None:
    with tarfile.open(built.source) as file:
        names = {member.name.partition("/")[2] for member in file if member.isfile()}
    ours = {f"super_selfish/{name}" for name in files(ROOT / "super_selfish")}
    made = {name for name in names if name.startswith("super_selfish.egg-info/")}
    assert ours < names
    assert names - ours - made - {"PKG-INFO", "setup.cfg"} == {
        *("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md"),
        *("pyproject.toml", "setup.py"),
    }


def test_an_index_would_take_them(built: Built) -> None:
    pytest.importorskip("twine", reason="checks packages")
    said = called("-m", "twine", "--no-color", "check", "--strict", *map(str, built))
    assert said.count("PASSED") == 2


def test_the_page_of_an_index_says_who_and_what(built: Built) -> None:
    told = built.metadata
    assert (told["Name"], told["Version"]) == ("super-selfish", __version__)
    assert told["License-Expression"] == "MIT" or told["License"] == "MIT"
    addresses = dict(line.split(", ") for line in told.get_all("Project-URL") or [])
    assert {"Documentation", "Changelog", "Source", "Issues"} <= set(addresses)
    assert "self-supervised learning" in told["Keywords"]
    kinds = told.get_all("Classifier") or []
    least = Requirement(f"python{told['Requires-Python']}").specifier
    pythons = [kind.rpartition(" :: ")[2] for kind in kinds if re.search(r":: 3\.\d+$", kind)]
    assert pythons[0] == "3.10" and all(least.contains(version) for version in pythons)
    assert "3.9" not in least and "Typing :: Typed" in kinds
    links = re.findall(r"\]\(([^)\s]+)\)", str(told.get_payload()))
    assert len(links) > 50
    assert [link for link in links if not re.match(r"https://|#", link)] == []
    for link in links:  # which were those of a checkout
        place = re.search(r"/(?:blob|raw)/HEAD/([^#]+)", link)
        assert place is None or (ROOT / place[1]).exists(), link


def test_it_is_used_from_another_folder(installed: Path, tmp_path: Path) -> None:
    """The program, the module and the import are those of the wheel."""
    program = installed / "bin" / "super-selfish"
    listed = called(str(program), "list", within=tmp_path, path=installed)
    assert "Algorithms (--algorithm)" in listed and "\n  moco" in listed
    module = ("-m", "super_selfish")
    assert called(*module, "--help", within=tmp_path, path=installed).startswith("Usage: super-")
    code = (
        "import super_selfish as s, importlib.metadata as m\n"
        "from super_selfish import losses\n"  # with torch; that all files are there is asked above
        "print(s.__file__, losses.__file__, m.version('super-selfish'))"
    )
    told = called("-c", code, within=tmp_path, path=installed).split()
    assert told[2] == __version__
    assert all(Path(place).is_relative_to(installed) for place in told[:2])


def test_an_install_pulls_few_packages(built: Built) -> None:
    """26 with this one, without those for CUDA; jsonargparse and PyYAML are the last two."""
    pulled: set[str] = set()
    waiting = [Requirement(line) for line in built.metadata.get_all("Requires-Dist") or []]
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


def test_how_to_cite_it_names_this_version() -> None:
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (told["cff-version"], told["type"]) == ("1.2.0", "software")
    assert (told["title"], str(told["version"])) == ("Super Selfish", __version__)
    assert {"message", "authors", "license"} <= set(told)


def test_the_container_does_what_the_makefile_does() -> None:
    """It is not built here: that needs a daemon."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert steps[0][0] == "FROM" and re.fullmatch(r"python:3\.1[0-3]-slim", steps[0][1])
    wanted = [("COPY", ". ."), ("RUN", "make install"), ("CMD", '["make", "demo"]')]
    assert [(word, rest) for word, rest in steps][-3:] == wanted
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for target in ("install", "demo"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert {".git", ".venv*"} <= set(left_out)
    assert not {"Makefile", "requirements.txt", "setup.py", "README.md"} & set(left_out)
