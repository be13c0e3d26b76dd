"""Puts small faults into the package and counts those that its tests notice.

Every fault is tried in a copy of the repository, one at a time, against the tests of the file that
holds it: those in its place under `tests/` (or, where there is no such file, those in its folder
that import from it, or else those elsewhere that do or have its name) and those that `HELD_BY` and
`OF_ALGORITHMS` name (or, where there are none at all, all of its folder). Of these only the ones
run that reach the line, the quickest first; where none of them fails, then those that hold the
papers' numbers, and then those of other files of tests that name the function in which the fault
is. Faults in `accepted.txt` are left out: it says of each why it cannot matter.

What others wrote (`OF_OTHERS`) is imported once; each fault has a process forked from there, which
imports the package with the fault in it.

    python -m tests.mutants.run --minutes 8 --number 200 super_selfish/losses | tee told.txt
    python -m tests.mutants.run --again told.txt

The second line tries those again that were told, which may be noticed by now. With `--keep FOLDER`
what tests reach is kept for further runs, for as long as neither they nor the file change.
Two seconds of a processor a fault and as much for each file of tests. Exits with 1 where fewer than
nine in ten are noticed. A fault with which the tests do not end counts as noticed, and is told.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import gc
import importlib
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from tests.mutants.accepted import Fault, read_accepted
from tests.mutants.changes import KINDS, Change, changed, changes

ROOT = Path(__file__).parents[2]
PAPERS = Path("tests/papers")
FOLDERS = [
    f"super_selfish/{name}"
    for name in ("losses", "memory", "models", "augmentations", "data", "supervisors", "training")
] + ["super_selfish/evaluation"]
GOAL = 0.9
# What the package and its tests import of others, at once or where they need it.
OF_OTHERS = (
    *("torch.distributed", "torch.optim.lr_scheduler", "torch.utils.data", "torch._dynamo"),
    *("torchvision.datasets", "torchvision.models", "torchvision.transforms.v2.functional"),
    *("efficientnet_pytorch", "timm", "elasticdeform", "skimage.color", "scipy.fft"),
    *("scipy.optimize", "scipy.ndimage", "scipy.sparse.csgraph", "sklearn.linear_model"),
    *("sklearn.metrics", "sklearn.neighbors", "sklearn.multiclass", "matplotlib.figure"),
    *("matplotlib.legend", "matplotlib.backends.backend_agg", "PIL.Image", "PIL.ImageDraw"),
    *("numpy", "numpy.typing"),
    *("tifffile", "imagecodecs", "simplejpeg", "safetensors.torch", "jinja2", "filelock"),
    *("tqdm.auto", "colorama", "jsonargparse", "typing_extensions"),
)
# Tests that hold more than the file of their name.
HELD_BY = {
    "augmentations/draws": (
        *("augmentations/test_color", "augmentations/test_tone", "augmentations/test_filters"),
    ),
    "augmentations/interpolation": (
        *("augmentations/test_resampling", "augmentations/test_warping"),
    ),
    "data/conversion": ("data/test_axes", "data/test_transparent_colour", "data/test_value_range"),
    "data/channels": ("data/test_sources",),
    "data/decoding": ("data/test_jpeg", "data/test_deep", "data/test_arrays", "data/test_fuzz"),
    "data/frames": ("data/test_tiff", "data/test_deep"),
    "data/opening": ("data/test_sources", "data/test_value_range"),
    "data/feed": ("data/test_loaders", "data/test_workers", "training/test_progress"),
    "data/file_reader": ("data/test_user_loaders", "data/test_files"),
    "data/item_reader": ("data/test_sources", "data/test_files", "data/test_samples"),
    "data/items": ("data/test_sources", "data/test_arrays"),
    "data/joined": ("supervisors/test_multi_task", "data/test_known_labels"),
    "data/labels": ("data/test_known_labels", "data/test_unneeded_labels", "data/test_sources"),
    "data/left_out": ("data/test_filling", "training/test_progress"),
    "data/likeness": ("supervisors/test_exhibited", "supervisors/test_resuming"),
    "data/mistaken": ("data/test_sources", "supervisors/test_given"),
    "data/orientation": ("data/test_sources", "data/test_jpeg", "data/test_tiff"),
    "data/probed_numbers": ("data/test_value_range",),
    "data/probing": ("data/test_sources", "data/test_value_range", "training/test_progress"),
    "data/raster": ("data/test_deep", "data/test_jpeg", "data/test_transparent_colour"),
    "data/regular": ("data/test_files", "test_security"),
    "data/sources": ("data/test_subset", "data/test_known_labels", "data/test_value_range"),
    **{
        f"data/{name}": (
            "data/test_streams",
            "data/test_stream_kinds",
            "data/test_stream_libraries",
        )
        for name in ("streams", "stream_order", "stream_position", "stream_reader", "stream_source")
    },
    "data/stream_joined": ("supervisors/test_multi_task", "data/test_streams"),
    "data/stream_loader": ("data/test_streams", "data/test_stream_libraries"),
    "data/tiff": ("data/test_tiff_pages",),
    "data/stored": ("data/test_cache", "data/test_on_device"),
    "supervisors/base": ("supervisors/test_after_a_probe",),
    "supervisors/arguments": ("supervisors/test_base", "supervisors/test_loadable"),
    "supervisors/composing": ("supervisors/test_hooks",),
    "supervisors/construction": (
        *("supervisors/test_base", "supervisors/test_placement", "supervisors/test_given_weights"),
    ),
    "supervisors/deciding": ("supervisors/test_resuming",),
    "supervisors/gate": ("supervisors/test_keeping",),
    "supervisors/keeping": ("supervisors/test_keeping_later", "training/test_agreement"),
    "supervisors/refusals": ("supervisors/test_after_a_probe",),
    "supervisors/likenesses": ("supervisors/test_exhibited",),
    "supervisors/loop": ("supervisors/test_base", "training/test_callbacks"),
    "supervisors/noting": ("supervisors/test_base", "supervisors/test_accumulating"),
    "supervisors/meeting": ("training/test_agreement",),
    "supervisors/options": ("supervisors/test_base",),
    "supervisors/persistence": (
        *("supervisors/test_base", "supervisors/test_loadable", "supervisors/test_resuming"),
    ),
    "supervisors/preparing": (
        "supervisors/test_base",
        "supervisors/test_resuming",
        "supervisors/test_footprint",
    ),
    "supervisors/pretrained": ("supervisors/test_base", "supervisors/test_summary"),
    "supervisors/rebuilding": ("supervisors/test_loadable", "supervisors/test_strangers"),
    "supervisors/siamese": ("supervisors/test_aet", "supervisors/test_context_prediction"),
    "supervisors/under_way": ("training/test_callbacks", "supervisors/test_loadable"),
    "supervisors/start": ("supervisors/test_training_on",),
    "supervisors/teachers": ("supervisors/test_distillation",),
    "training/early_stopping": ("training/test_stopping_and_keeping",),
    "training/given": ("supervisors/test_given", "supervisors/test_numbers_of_all_kinds"),
    "training/further_checkpoints": ("training/test_stopping_and_keeping",),
    "training/monitoring": ("training/test_run",),
    "training/run": ("training/test_sharing",),
    "training/precision": ("training/test_run",),
    "models/fresh": ("models/test_untrained",),
    "models/beginnings": ("evaluation/test_baselines",),
    "models/replicas": ("supervisors/test_spreading",),
    "models/number_format": ("models/test_backbones",),
    "models/torchvision_features": (
        *("models/test_backbones", "models/test_stems", "models/test_untrained"),
    ),
    "evaluation/rated_network": ("evaluation/test_embed", "evaluation/test_features"),
    "evaluation/checking/gathering": ("evaluation/checking/test_check",),
    "evaluation/checking/looking_over": (
        *("evaluation/checking/test_check", "evaluation/checking/test_quick"),
    ),
    "evaluation/comparison/figure": ("evaluation/comparison/test_comparison",),
    "evaluation/comparison/leaderboard_table": (
        *("evaluation/comparison/test_comparison", "evaluation/comparison/test_significance"),
    ),
    "evaluation/comparison/entries": ("evaluation/comparison/test_compare",),
}
# Tests of what every algorithm has, by the method that it writes for that.
OF_ALGORITHMS = {
    "chance_loss": "supervisors/test_chance",
    "_gathers": "supervisors/test_traffic",
    "exhibit": "supervisors/test_exhibited",
}
ELSEWHERE = 3  # files of tests that are asked besides, where a file's own notice nothing
# Seconds of a processor for which a test is watched, and what it counts as that takes longer: such
# as a compiler's, whose every step would be looked at.
WATCHED = 4.0
EVERYWHERE = "everywhere"
# What a test may take that a fault keeps from ending: so many times its own time, and seconds, of a
# processor: a machine that does other things besides notices nothing. Who waits for ever uses none,
# and may wait so many times as long.
PATIENCE, SLACK, WAITING = 5.0, 10.0, 10.0


class Reached(NamedTuple):
    """What a test does where nothing is wrong."""

    test: str
    seconds: float
    lines: frozenset[int]  # of the file that is watched
    is_everywhere: bool = False  # or may be: it took too long to be watched


Seen = tuple[str, float, dict[str, list[int]]]  # a test, its seconds, and lines by file


class Notes(NamedTuple):
    """What the tests of one file have done."""

    digests: dict[str, int]  # of the package's files at that time
    seen: list[Seen]


class Trial(NamedTuple):
    """One fault and whether a test failed."""

    file: str
    change: Change
    is_noticed: bool
    has_ended: bool = True  # whether the tests have, be it by failing


def own_tests(root: Path, file: Path) -> list[str]:
    """The test files of a file of the package, relative to the root.

    Args:
        root: Of the repository.
        file: Relative to the root.
    """
    inside = file.relative_to("super_selfish")
    mirror = Path("tests", inside.parent, f"test_{inside.stem}.py")
    named = HELD_BY.get(inside.with_suffix("").as_posix(), ())
    if inside.parts[0] == "supervisors":
        source = (root / file).read_text(encoding="utf-8")
        named += tuple(test for name, test in OF_ALGORITHMS.items() if f"def {name}(" in source)
    if (root / mirror).exists():
        own = {mirror}
    else:
        module = ".".join(file.with_suffix("").parts)
        pattern = re.compile(rf"(from|import) {re.escape(module)}\b")
        importing = {
            test.relative_to(root)
            for test in (root / "tests").rglob("test_*.py")
            if pattern.search(test.read_text(encoding="utf-8"))
        }
        own = {test for test in importing if test.parts[1] == inside.parts[0]}
        if not own:
            held = (root / "tests").rglob(f"test_{inside.stem}.py")
            own = importing | {test.relative_to(root) for test in held}
    own |= {Path("tests", f"{name}.py") for name in named}
    if not own:  # used by its neighbours alone: their tests are its own
        folder = next(each for each in (root / mirror).parents if any(each.glob("test_*.py")))
        own = {test.relative_to(root) for test in folder.glob("test_*.py")}
    return [str(test) for test in sorted(own)]


def names_at(source: str, line: int) -> set[str]:
    """Names of the function at a line of a source, and of those in it that use this one.

    Of a class these are methods; where only it itself is left, its own name.
    """
    body = ast.parse(source).body
    parts: dict[str, ast.FunctionDef] = {}
    inside: dict[str, str] = {}  # the class of a method
    for node in body:
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
            parts |= {each.name: each for each in methods}
            inside |= {each.name: node.name for each in methods}
        elif isinstance(node, ast.FunctionDef):
            parts[node.name] = node
    found = {
        name for name, part in parts.items() if part.lineno <= line <= (part.end_lineno or line)
    }
    uses = {
        name: {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
        | {each.attr for each in ast.walk(part) if isinstance(each, ast.Attribute)}
        for name, part in parts.items()
    }
    while more := {name for name, used in uses.items() if used & found} - found:
        found |= more
    public = {name for name in found if not name.startswith("_")}
    return public or {inside[name] for name in found if name in inside}


def named_elsewhere(root: Path, names: set[str], own: Sequence[str]) -> list[str]:
    """The test files beside those of a file that use some names most often, relative to the root.

    Args:
        root: Of the repository.
        names: Of functions or classes.
        own: Test files that are left out.
    """
    if not names:
        return []
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})\b")
    counts: Counter[str] = Counter()
    for test in sorted((root / "tests").rglob("test_*.py")):
        name = str(test.relative_to(root))
        if name not in own and not name.startswith("tests/mutants"):
            counts[name] = len(pattern.findall(test.read_text(encoding="utf-8")))
    return [name for name, count in counts.most_common(ELSEWHERE) if count]


def paper_tests(root: Path) -> list[str]:
    """The test files that hold the papers' numbers, relative to the root."""
    return sorted(str(test.relative_to(root)) for test in (root / PAPERS).glob("test_*.py"))


class Watch:
    """Notes which lines of some files each test reaches, and how long it takes."""

    def __init__(self, files: set[str]) -> None:
        self.files = files
        self.seen: list[tuple[str, float, dict[str, list[int]]]] = []
        self.failed: list[str] = []
        self.unreadable: list[str] = []
        self._lines: dict[str, set[int]] = {}
        signal.signal(signal.SIGPROF, self._leave)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._lines = {}
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, WATCHED)
        sys.settrace(self._enter)
        yield
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds = time.process_time() - started
        lines = {file: sorted(found) for file, found in self._lines.items()}
        self.seen.append((item.nodeid, seconds, lines))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.unreadable.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        sys.settrace(None)
        self._lines[EVERYWHERE] = set()

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        note = self._lines.setdefault(frame.f_code.co_filename, set()).add

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            note(frame.f_lineno)
            return step

        return step(frame, event, argument)


def prepare() -> None:
    """Imports what others wrote, so that no process that is forked from this one has to."""
    for name in OF_OTHERS:
        with suppress(ImportError):  # tests do without it, too
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # it stays: children neither look through it nor copy it


def in_child(work: Callable[[], int], seconds: float) -> int | None:
    """The result of a function in a process of its own; None where it took too long.

    Forked, so that what `prepare` has imported need not be imported for every fault. Where it takes
    too long, all that it has started is ended with it.

    Args:
        work: Returns what the process exits with.
        seconds: Of a processor. By the clock it may take ten times as many.
    """
    child = os.fork()
    if child == 0:
        gc.freeze()  # what the parent has left may wait in its finalizer for threads it alone has
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and by nohup
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), resource.RLIM_INFINITY))
        try:
            os._exit(work())
        finally:
            os._exit(70)
    deadline = time.monotonic() + WAITING * seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            _end_group(child)
            return None if code == -signal.SIGXCPU else code
        if time.monotonic() > deadline:
            _end_group(child)
            os.waitpid(child, 0)
            return None
        time.sleep(0.02)


def _end_group(leader: int) -> None:
    with suppress(ProcessLookupError):  # nothing is left of it
        os.killpg(leader, signal.SIGKILL)


def pytest_in(root: Path, tests: list[str], *plugins: Any) -> int:
    """Runs tests of a copy of the repository until one fails."""
    os.chdir(root)
    os.environ |= {"PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # This very package is imported from the copy, in which faults are.
    sys.path[0:0] = [str(root)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "super_selfish")]:
        if not name.startswith("tests.mutants"):
            del sys.modules[name]
    quiet = ["-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", "--rootdir", str(root)]
    return int(pytest.main([*quiet, *([] if plugins else ["-x"]), *tests], plugins=list(plugins)))


class Bench:
    """A copy of the repository in which faults are tried."""

    def __init__(self, folder: Path, keep: Path | None = None) -> None:
        self.root = folder / "repository"
        self.root.mkdir()
        for name in ("super_selfish", "tests", "examples", "docs", "benchmarks"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, self.root / path.name)
        for above in (ROOT.parent, ROOT.parent.parent):
            if (above / "shared").is_dir():
                (folder / "shared").symlink_to(above / "shared")
                break
        compileall.compile_dir(self.root / "super_selfish", quiet=2)
        self.watched = folder / "watched.json"
        self.keep = keep or folder / "notes"
        self.keep.mkdir(parents=True, exist_ok=True)
        self.notes: dict[str, Notes] = {}  # by the file of the tests

    def reached(self, file: Path, tests: list[str]) -> list[Reached]:
        """What tests reach in a file.

        One that fails where nothing is wrong, such as a test of time on a busy machine, is left
        out.
        """
        name = str(file)
        new = [test for test in tests if not self._is_known(test, name)]
        if new:
            self._note(new)
        return [
            Reached(test, took, frozenset(lines.get(name, ())), EVERYWHERE in lines)
            for each in tests
            for test, took, lines in self.notes[each].seen
        ]

    def _is_known(self, test: str, file: str) -> bool:
        """Whether it is noted what the tests of a file reach in another one, as both are."""
        kept = self._note_of(test)
        if test not in self.notes and kept.exists():
            self.notes[test] = Notes(*json.loads(kept.read_text()))
        return test in self.notes and self.notes[test].digests.get(file) == _digest(
            self.root / file
        )

    def _note_of(self, test: str) -> Path:
        """Where it is noted: by the tests, and by what their folder has for them besides."""
        path = self.root / test
        helpers = [each for each in path.parent.glob("*.py") if not each.match("test_*")]
        return self.keep / f"{path.stem}-{_digest(path, *sorted(helpers)):08x}.json"

    def _note(self, tests: list[str]) -> None:
        """Watches tests, once for all files of the package."""
        files = sorted((self.root / "super_selfish").rglob("*.py"))
        digests = {str(file.relative_to(self.root)): _digest(file) for file in files}
        self.notes.update({test: Notes(digests, []) for test in tests})
        for each in self._watched(tests):
            self.notes[each[0].partition("::")[0]].seen.append(each)
        for test in tests:
            self._note_of(test).write_text(json.dumps(self.notes[test]))

    def _watched(self, tests: list[str]) -> list[Seen]:
        files = {str(each) for each in (self.root / "super_selfish").rglob("*.py")}

        def watch() -> int:
            watching = Watch(files)
            pytest_in(self.root, tests, watching)
            noted = [watching.seen, watching.failed, watching.unreadable]
            self.watched.write_text(json.dumps(noted))
            return 0

        self.watched.unlink(missing_ok=True)
        if in_child(watch, 1200.0) != 0:
            raise RuntimeError(f"these tests do not end: {tests}")
        seen, failed, unreadable = json.loads(self.watched.read_text())
        if unreadable:  # and nothing was run
            raise RuntimeError("these tests cannot be read: " + "\n".join(unreadable))
        for test in failed:
            print(f"fails without any fault, and so says nothing: {test}", flush=True)
        root = f"{self.root}{os.sep}"
        return [
            (test, took, {file.removeprefix(root): at for file, at in lines.items()})
            for test, took, lines in seen
            if test not in failed
        ]

    def tried(self, file: Path, change: Change) -> Trial:
        """Whether a test fails with a fault, of the file's own or else of others that hold it."""
        own, papers = own_tests(self.root, file), paper_tests(self.root)
        source = (self.root / file).read_text(encoding="utf-8")
        result = self._result(file, change, self._own(change, self.reached(file, own)))
        if result == 0:
            result = self._result(file, change, self._papers(change, self.reached(file, papers)))
        if result == 0:
            names = names_at(source, change.line)
            others = named_elsewhere(self.root, names, [*own, *papers])
            result = self._result(file, change, _at(change, self.reached(file, others)))
        return Trial(str(file), change, result != 0, result is not None)

    def _own(self, change: Change, reached: list[Reached]) -> list[Reached]:
        # What no test seems to reach may be reached in a process that one of them starts.
        return reached if change.at_import else _at(change, reached) or reached

    def _papers(self, change: Change, reached: list[Reached]) -> list[Reached]:
        if not change.at_import:
            return _at(change, reached)
        return [
            r
            for r in reached
            if r.lines or r.is_everywhere or "defaults.py" in r.test  # these hold signatures
        ]

    def _result(self, file: Path, change: Change, concerned: list[Reached]) -> int | None:
        """What pytest says of some tests with a fault: 0 where all pass, None without end."""
        if not concerned:
            return 0
        concerned = sorted(concerned, key=lambda r: r.seconds)
        path = self.root / file
        whole = path.read_text(encoding="utf-8")
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            cached.unlink()

        def try_it() -> int:
            sys.dont_write_bytecode = True
            return pytest_in(self.root, [r.test for r in concerned])

        path.write_text(changed(whole, change), encoding="utf-8")
        try:
            patience = PATIENCE * sum(r.seconds for r in concerned) + SLACK
            return in_child(try_it, patience)
        finally:
            path.write_text(whole, encoding="utf-8")


def _digest(*paths: Path) -> int:
    return zlib.crc32(b"".join(path.read_bytes() for path in paths))


def _at(change: Change, reached: list[Reached]) -> list[Reached]:
    """Those that reach a fault."""
    first, last = change.lines
    return [r for r in reached if r.is_everywhere or any(first <= line <= last for line in r.lines)]


def told_in(path: Path) -> set[Fault]:
    """The faults that an earlier run has told."""
    text = path.read_text(encoding="utf-8")
    return {Fault(*each) for each in re.findall(r"^(super_\S+\.py)\n- (.*)\n\+ (.*)$", text, re.M)}


def again(root: Path, faults: set[Fault]) -> list[tuple[Path, list[Change]]]:
    """Changes by file that put faults into it; those whose lines are there no more are left out."""
    found = []
    for name in sorted({fault.file for fault in faults}):
        source = (root / name).read_text(encoding="utf-8")
        here = [each for each in changes(source) if Fault.of(name, source, each) in faults]
        found.append((Path(name), here))
    number = sum(len(here) for _, here in found)
    print(f"{number} of {len(faults)} faults are there still", flush=True)
    return found


def chosen(
    root: Path, paths: list[str], number: int, seed: int, kinds: Sequence[str] = KINDS
) -> list[tuple[Path, list[Change]]]:
    """Faults by file, drawn evenly from all that are not accepted, in random order of the files."""
    chance = random.Random(seed)
    accepted = read_accepted()
    every: list[tuple[Path, Change]] = []
    left_out = 0
    for path in paths:
        files = sorted((root / path).rglob("*.py")) if (root / path).is_dir() else [root / path]
        for file in files:
            source = file.read_text(encoding="utf-8")
            name = file.relative_to(root)
            for change in changes(source):
                if change.kind not in kinds:
                    continue
                if accepted.has(Fault.of(str(name), source, change), change.kind):
                    left_out += 1
                else:
                    every.append((name, change))
    print(f"{len(every)} faults to draw from; {left_out} are left out, as they cannot matter")
    drawn = chance.sample(every, min(number, len(every)))
    files = list(dict.fromkeys(file for file, _ in drawn))
    return [(file, [change for of, change in drawn if of == file]) for file in files]


def tell(trial: Trial, root: Path) -> None:
    """Prints a fault, as `accepted.txt` would have it."""
    source = (root / trial.file).read_text(encoding="utf-8")
    what = "The tests do not end" if trial.is_noticed else "Not noticed"
    print(f"# {what}: line {trial.change.line}, {trial.change.kind}.\n{trial.file}")
    print(Fault.of(trial.file, source, trial.change).shown() + "\n", flush=True)


def report(trials: list[Trial], planned: int) -> bool:
    """Prints what was noticed. Returns whether it is enough."""
    missed = [trial for trial in trials if not trial.is_noticed]
    for kind in KINDS:
        of_kind = [trial.is_noticed for trial in trials if trial.change.kind == kind]
        if of_kind:
            print(f"{kind:12} {sum(of_kind):4} of {len(of_kind):4} noticed")
    folders = Counter("/".join(Path(trial.file).parts[:2]) for trial in trials)
    for folder, count in sorted(folders.items()):
        unseen = sum(trial.file.startswith(folder + "/") for trial in missed)
        print(f"{folder:30} {count - unseen:4} of {count:4} noticed")
    share = 1 - len(missed) / max(len(trials), 1)
    print(f"{len(trials)} of {planned} faults tried, {share:.1%} noticed (goal: {GOAL:.0%})")
    return share >= GOAL


def main() -> int:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("paths", nargs="*", default=FOLDERS, help="files or folders")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no fault is begun")
    parser.add_argument("--number", type=int, default=100, help="of faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--again", type=Path, help="what an earlier run wrote: tries those again")
    parser.add_argument("--keep", type=Path, help="a folder: what tests reach, for further runs")
    arguments = parser.parse_args()
    prepare()
    started, trials = time.monotonic(), []
    planned = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        # All is read from the copy, so that the working tree may change meanwhile.
        bench = Bench(Path(folder), arguments.keep)
        if arguments.again is not None:
            files = again(bench.root, told_in(arguments.again))
        else:
            files = chosen(
                bench.root, arguments.paths, arguments.number, arguments.seed, arguments.kinds
            )
        for file, found in files:
            planned += len(found)
            if time.monotonic() - started > 60 * arguments.minutes:
                continue
            for change in found:
                if time.monotonic() - started > 60 * arguments.minutes:
                    break
                trials.append(bench.tried(file, change))
                if not (trials[-1].is_noticed and trials[-1].has_ended):
                    tell(trials[-1], bench.root)
    return 0 if report(trials, planned) else 1


if __name__ == "__main__":
    sys.exit(main())
