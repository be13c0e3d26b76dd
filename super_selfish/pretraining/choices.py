"""What was chosen for a run: kept beside it as JSON, and held against what a later call asks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from super_selfish.pretraining import rules
from super_selfish.training.atomic import write_atomically
from super_selfish.training.checkpoint import CHOICES, RUN, beside

VERSION = 1
RATES = ". What is trained already evaluate() rates by labels, without training it anew"


@dataclass(frozen=True)
class Choices:
    """What a run is; all of it in plain values.

    Attributes:
        algorithm: Short name, or the name of a class of the user's own.
        backbone: Name, or the class of a network of the user's own.
        image_size: `(height, width)` of the images that the network sees, pixels.
        in_channels: Of these images.
        batch_size: Images a step.
        epochs: Passes over the images.
        num_images: That it trains on; fewer than there are where not all fit into the time.
        steps_per_epoch: Of a stream; else None.
        num_workers: Processes that read images.
        cache: Whether decoded images are kept in a file.
        precision: As for `supervise()`.
        seconds_a_step: As it was measured, reading included.
        train_seconds: That training may take.
        reserved: Seconds that are kept for rating and the page.
        load: Times as long as on a free core, where other work runs beside.
        rated: Images with labels that its rating learns from; 0 without labels.
        tested: Images that training does not see: with labels for the test, 0 where that was given;
            without labels those by which candidates are compared.
        why: Four lines that say what was chosen and why.
        candidates: Algorithms that are compared first, of `choose`; until one of them is chosen.
        budget: Seconds of training of each of them in the first round.
    """

    algorithm: str
    backbone: str
    image_size: tuple[int, int]
    in_channels: int
    batch_size: int
    epochs: int
    num_images: int | None
    steps_per_epoch: int | None
    num_workers: int
    cache: bool
    precision: str
    seconds_a_step: float
    train_seconds: float
    reserved: float
    load: float
    rated: int
    tested: int
    why: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    budget: float = 0.0

    def __str__(self) -> str:
        """The four lines."""
        return "\n".join(self.why)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Choices:
        """Choices from plain values, as a file has them.

        Args:
            values: By name, all of them.

        Raises:
            ValueError: If one is missing, unknown or no length of a run.
        """
        known = {each.name for each in fields(cls)}
        if set(values) != known:
            wrong = sorted(set(values) ^ known)
            raise ValueError(f"choices have {sorted(known)}, and {wrong} are missing or unknown")
        for name in ("batch_size", "epochs", "seconds_a_step", "train_seconds"):
            if not isinstance(values[name], int | float) or values[name] <= 0:
                raise ValueError(f"{name} of choices must be above 0, got {values[name]!r}")
        rows = {name: tuple(values[name]) for name in ("image_size", "why", "candidates")}
        return cls(**{**values, **rows})

    @property
    def updates(self) -> int:
        """Of the whole run."""
        a_pass = self.steps_per_epoch or -(-(self.num_images or 0) // self.batch_size)
        return self.epochs * a_pass

    @property
    def seconds_a_look(self) -> float:
        """To compute the features of an image."""
        return self.seconds_a_step / (rules.LOOKS_OF_A_STEP * self.batch_size)

    def stretched(self, train_seconds: float) -> Choices:
        """The same with another time for training, which moves the number of epochs.

        Args:
            train_seconds: In all.
        """
        epochs = max(1, round(self.epochs * train_seconds / self.train_seconds))
        return replace(self, epochs=epochs, train_seconds=train_seconds)


@dataclass
class Record:
    """The file `choices.json`: what was asked for and chosen, and how far it is.

    Attributes:
        path: Of the file.
        asked: What the user said, and what the images are, in plain values by name.
        choices: What was made of it.
        total: Seconds that everything may take.
        seconds: That all calls so far have taken.
        is_done: Whether everything is written.
        remarks: What is to be known of its course, a sentence each.
    """

    path: Path
    asked: dict[str, Any]
    choices: Choices
    total: float
    seconds: float = 0.0
    is_done: bool = False
    remarks: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Writes it in the place of the former one."""
        content = {
            "version": VERSION,
            "asked": self.asked,
            "choices": asdict(self.choices),
            "total": self.total,
            "seconds": round(self.seconds, 1),
            "is_done": self.is_done,
            "remarks": self.remarks,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.path, lambda file: file.write(text.encode()))


def read_record(path: Path) -> Record | None:
    """The record of a former call; None if there is none.

    Args:
        path: Of the file.

    Raises:
        ValueError: If the file is none of ours.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError(f"it is of version {content['version']!r}, not {VERSION}")
        chosen = Choices.of(content["choices"])
        times = float(content["total"]), float(content["seconds"])
        is_done, remarks = bool(content["is_done"]), list(content.get("remarks", ()))
        return Record(path, dict(content["asked"]), chosen, *times, is_done, remarks)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no record of a run of this version ({type(error).__name__}: {error}): give "
            "another out=, or overwrite=True"
        ) from error


def parse_choices(
    given: Choices | Mapping[str, Any] | str | os.PathLike[str] | None,
) -> Choices | None:
    """The choices of another run, however they are given.

    Args:
        given: Themselves, as plain values, or the path of their file.

    Raises:
        ValueError: If they are none, or the file is missing.
    """
    if given is None or isinstance(given, Choices):
        return given
    if isinstance(given, Mapping):
        return Choices.of(given)
    record = read_record(Path(given).expanduser())
    if record is None:
        raise ValueError(f"choices= names {os.fspath(given)}, which is missing")
    return record.choices


def refuse_others(record: Record, asked: Mapping[str, Any]) -> None:
    """Refuses to go on with a run that was asked for otherwise.

    Args:
        record: Of the former call.
        asked: By this one, in plain values.

    Raises:
        ValueError: It names what differs, with both values.
    """
    now = json.loads(json.dumps(dict(asked)))
    names = [*dict.fromkeys([*record.asked, *now])]
    differing = [name for name in names if record.asked.get(name) != now.get(name)]
    if differing:
        found = "; ".join(
            f"{name}={record.asked.get(name)!r}, this call has {now.get(name)!r}"
            for name in differing
        )
        raise ValueError(
            f"{record.path.parent} holds a run with {found}. Give the same to go on with it, "
            "another out=, or overwrite=True to begin anew"
            + (RATES if "labels" in differing else "")
        )


class Clock:
    """Counts the time of all calls together.

    Attributes:
        total: Seconds that everything may take.
    """

    def __init__(
        self, total: float, used: float = 0.0, now: Callable[[], float] | None = None
    ) -> None:
        """Starts.

        Args:
            total: Seconds that everything may take.
            used: By calls before this one.
            now: Tells seconds; default: `time.monotonic`.
        """
        self.total = total
        self._now = time.monotonic if now is None else now
        self._began = self._now() - used

    @property
    def used(self) -> float:
        """Seconds so far."""
        return self._now() - self._began

    @property
    def left(self) -> float:
        """Seconds until the time is up; 0 where it is."""
        return max(0.0, self.total - self.used)


class Paths:
    """Where a run's files lie: all in one folder."""

    def __init__(self, out: Path) -> None:
        """Takes the folder; nothing is written."""
        self.out = out
        self.run = out / RUN  # name of the checkpoint, without its ending

    @property
    def checkpoint(self) -> Path:
        """Everything that is needed to go on, or to `load`."""
        return beside(self.run, ".pt")

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return beside(self.run, ".csv")

    @property
    def report(self) -> Path:
        """The page."""
        return beside(self.run, ".html")

    @property
    def candidates(self) -> Path:
        """Runs that are compared: a folder, and beside it `candidates.jsonl`."""
        return self.out / "candidates"

    @property
    def choices(self) -> Path:
        """What was chosen."""
        return self.out / CHOICES

    @property
    def cache(self) -> Path:
        """Decoded images; may be removed when training is over."""
        return self.out / "images.npy"

    def backbone(self, format: str) -> Path:
        """The weights of the backbone alone."""
        return self.out / ("backbone.safetensors" if format == "safetensors" else "backbone.pt")

    @property
    def _own(self) -> list[Path]:
        """All that a call writes, but for decoded images, which are checked anyway."""
        of_run = [beside(self.run, end) for end in (".pt", "-previous.pt", ".csv", ".html")]
        backbones = [self.backbone(format) for format in ("safetensors", "state_dict")]
        of_backbone = [file.with_name(f"{file.name}.json") for file in backbones]
        return [*of_run, *backbones, *of_backbone, self.choices]

    def refuse_others(self) -> None:
        """Refuses a folder with files of which `choices.json` says nothing.

        Raises:
            ValueError: If there are any.
        """
        others = [file for file in self._own if file.exists()]
        if others:
            raise ValueError(
                f"{others[0]} is there already, and no {self.choices.name} says what of: give "
                "another out=, or overwrite=True"
            )

    def clear(self) -> None:
        """Removes what a former call has left."""
        compared = [self.candidates.with_suffix(".jsonl"), *self.candidates.glob("*.pt")]
        for file in [*self._own, *compared]:
            file.unlink(missing_ok=True)
