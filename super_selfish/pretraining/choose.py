"""Which algorithm for these images? A short fair comparison; the winner has the rest of a time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from super_selfish.data.file_reader import Loader
from super_selfish.data.frames import Pages
from super_selfish.data.value_range import Range
from super_selfish.evaluation.comparison.entries import seconds_of
from super_selfish.pretraining import rules
from super_selfish.pretraining.asking import algorithm_of, checked_options
from super_selfish.pretraining.choices import Choices, Record
from super_selfish.pretraining.finishing import finish
from super_selfish.pretraining.halving import (
    Standing,
    compete,
    how_sure,
    wishes_for,
)
from super_selfish.pretraining.judging import ByLabels, ByViews, Judge
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.planning import told_anew
from super_selfish.pretraining.running import (
    Task,
    open_task,
    plain_value,
    planned,
    taken_up,
    trained,
)
from super_selfish.pretraining.subjects import Rated
from super_selfish.supervisors.image_options import ImageOptions
from super_selfish.training.atomic import write_atomically
from super_selfish.training.checkpoint import checkpoint_path, has_checkpoint
from super_selfish.training.display import duration, tell
from super_selfish.training.schedules import wants_length
from super_selfish.training.weight_decay import wants_end

TOO_FEW = (
    "The images are too few to keep some of them to compare by, so none was compared, and all of "
    "the time went to the algorithm that the rules name."
)
SHOWN = 32  # images that are asked whether they have colours


@dataclass(frozen=True, eq=False)
class Choice(Outcome):
    """As `Outcome`, with the comparison that came before.

    Attributes:
        standings: Where each candidate stands, the winner first; empty of too few images.
        trust: How far to trust that the winner is the best, in a sentence.
    """

    standings: tuple[Standing, ...] = ()
    trust: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Everything but the networks as plain values."""
        standings = [each._asdict() for each in self.standings]
        return super().as_dict() | {"standings": standings, "trust": self.trust}

    def __str__(self) -> str:
        """The comparison, what was chosen, and what came of the winner."""
        return f"{self._comparison}\n\n{self.choices}\n\n{super().answer}"

    @property
    def answer(self) -> str:
        """The comparison, and what came of the winner."""
        return f"{self._comparison}\n\n{super().answer}"

    @property
    def _comparison(self) -> str:
        return "\n".join([*(_line(standing) for standing in self.standings), self.trust])


def choose(
    images: Any,
    labels: Any = None,
    time: str = "20min",
    out: str | os.PathLike[str] = "store/chosen",
    *,
    test: Any = None,
    algorithms: Sequence[str] | None = None,
    backbone: nn.Module | str | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    on_error: Literal["raise", "skip"] | None = None,
    value_range: Range = None,
    pages: Pages = None,
    loader: Loader | None = None,
    batch_size: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    supervise: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Choice:
    """Compares algorithms on these images, and pretrains with the best for the rest of the time.

    Half of the time for training goes to the comparison, by successive halving: all candidates
    train for a little, the better half for as long again, and so on until one is left. They begin
    with the same weights, are rated on images that they have not seen, and go on with their own run
    from round to round, at a constant rate. So does the winner for the rest, with a rate that falls
    along a cosine. Where there are labels, it is then rated on images that neither training nor
    choice have seen.

    With labels they are rated by k-NN and linear probe, on images that are none of the test.
    Without any, by how often an image is the nearest to a view of itself (`Health.retrieval`), of a
    fifth of the images, 2,000 at most, that are kept from training; `trust` says how well that
    agrees with accuracy (docs/choosing.md).

    Everything lies in `out`, as for `pretrain`; results of the comparison are in
    `candidates.jsonl`. After Ctrl-C the same call goes on.

    Args:
        images: As for `pretrain`, but no stream.
        labels: As for `pretrain`; some hundred do, and tell more than none.
        time: Of everything.
        out: As for `pretrain`.
        test: As for `pretrain`.
        algorithms: Short names, at least two. Default: one of each family, that these images fit.
        backbone: As for `pretrain`; all begin with its weights.
        image_size: As for `pretrain`.
        in_channels: As for `pretrain`.
        on_error: As for `pretrain`.
        value_range: As for `pretrain`.
        pages: As for `pretrain`.
        loader: As for `pretrain`.
        batch_size: As for `pretrain`.
        options: Keywords of constructors by algorithm, such as `{"simclr": {"temperature": 0.1}}`.
        supervise: As for `pretrain`, the same for all.
        seed: As for `pretrain`.
        device: As for `pretrain`.
        overwrite: As for `pretrain`.
        progress: As for `pretrain`.

    Returns:
        As `pretrain`, and where each candidate stands.

    Raises:
        ValueError: As for `pretrain`, or if the time is too short to compare two.
        TypeError: As for `pretrain`.
        RuntimeError: If all candidates fail.
    """
    names = None if algorithms is None else _names(algorithms)
    task = open_task(
        "choose",
        images,
        out,
        time,
        labels=labels,
        test=test,
        algorithm=None,
        backbone=backbone,
        image_size=image_size,
        in_channels=in_channels,
        batch_size=batch_size,
        options=None,
        supervise=supervise,
        seed=seed,
        device=device,
        progress=progress,
        reading=ImageOptions(on_error, value_range, pages, loader),
    )
    if not task.subject.source.has_random_access:
        raise ValueError(
            "choose() rates candidates by labelled images, and a stream gives each only once: "
            "pretrain() takes it"
        )
    schedule = task.wishes.settings.get("lr_scheduler")
    if schedule is not None and wants_length(schedule):
        raise ValueError(
            f"supervise: lr_scheduler={schedule!r} needs to know how long a run is, and that of a "
            "candidate is not known: leave it out; the winner's rate falls along a cosine"
        )
    decay = task.wishes.settings.get("weight_decay")
    if wants_end(decay):
        raise ValueError(
            f"supervise: weight_decay={decay!r} needs to know how long a run is, and that of a "
            "candidate is not known: give one number"
        )
    if names is None:
        names = rules.candidates(is_coloured=_is_coloured(task))
    task.options_of = _options(options, names)
    given = {name: plain_value(keywords) for name, keywords in task.options_of.items()}
    task.asked |= {"candidates": list(names), "options": given}
    record = taken_up(task, overwrite)
    if record is None:
        record = _planned(task, names)
        task.paths.clear()
        record.write()
    tell(str(record.choices), shown=progress)
    rated = task.rated(record.choices.image_size, record.choices.rated)
    judge, kept = _judge(task, record, rated)
    training = task.training(record, kept)
    standings: list[Standing] = []
    trust = TOO_FEW
    if judge is not None:
        standings = compete(task, record, training, judge)
        if standings[0].accuracy is None:
            raise RuntimeError(f"all candidates failed; {_line(standings[0])}")
        trust = how_sure(standings, judge)
        task.wishes = wishes_for(task, standings[0].algorithm)
        _go_on_with(task, record, standings[0], len(training))
        left = max(0.0, task.clock.left - record.choices.reserved)
        tell(f"{trust} It trains on for {duration(left)}.", shown=progress)
    supervisor = trained(task, record, training)
    found = finish(task, record, supervisor, rated)
    return Choice(**vars(found), standings=tuple(standings), trust=trust)


def _judge(task: Task, record: Record, rated: Rated | None) -> tuple[Judge | None, Tensor | None]:
    """By what candidates are ranked, if they can be, and the positions kept from training."""
    if rated is not None:
        return ByLabels.of(rated), rated.kept
    kept = task.subject.drawn(record.choices.tested, task.wishes.seed)
    if len(kept) == 0:
        return None, None
    images = task.subject.at(record.choices.image_size)
    return ByViews(images.subset(kept.tolist())), kept


def _names(algorithms: Sequence[str]) -> tuple[str, ...]:
    """The candidates, each once; refuses unknown ones, and fewer than two."""
    if isinstance(algorithms, str) or not isinstance(algorithms, Sequence):
        raise TypeError(f"algorithms must be a sequence of names, got {algorithms!r}")
    names = tuple(dict.fromkeys(algorithm_of(name)[1] for name in algorithms))
    if len(names) < 2 or not all(isinstance(name, str) for name in algorithms):
        raise ValueError(
            f"algorithms must be at least two short names, got {list(algorithms)!r}: "
            "pretrain(algorithm=...) trains one"
        )
    return names


def _options(
    options: Mapping[str, Mapping[str, Any]] | None, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    given = dict(options or {})
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"options are for {unknown}, which is none of {list(names)}")
    return {name: checked_options(algorithm_of(name)[0], given[name]) for name in given}


def _is_coloured(task: Task) -> bool:
    """Whether images are RGB, and some of them not grey in it."""
    source = task.subject.source
    if source.in_channels != 3:
        return False
    shown: Tensor = task.subject.sampled(source.image_size, task.wishes.seed).images[:SHOWN]
    spread = shown.double().amax(dim=1) - shown.double().amin(dim=1)  # [n, H, W]
    return bool(spread.mean() > 0.01 * shown.double().amax().clamp(min=1e-9))


def _planned(task: Task, names: Sequence[str]) -> Record:
    """The record of a new call; of so many candidates as there is time for."""
    record = planned(task, share=1.0 - rules.COMPARED)
    choices = record.choices
    if not choices.rated and not choices.tested:
        return record
    seconds = rules.COMPARED * (task.clock.left - choices.reserved)
    read = task.subject.sampled(choices.image_size, task.wishes.seed).seconds_an_image
    images, looks = (choices.rated, 1) if choices.rated else (choices.tested, OF_VIEWS)
    rating = images * (read + looks * choices.seconds_a_look) + RATING * choices.load
    for number in range(len(names), 1, -1):
        budget = rules.first_budget(seconds, number, rating)
        if budget >= rules.LEAST_COMPARED_UPDATES * choices.seconds_a_step:
            break
    else:
        needed = 4 * rules.LEAST_COMPARED_UPDATES * choices.seconds_a_step + 4 * rating
        raise ValueError(
            f"time= is too short to compare two algorithms: give some "
            f"{duration(needed / rules.COMPARED + choices.reserved)}, or pretrain() with one"
        )
    record.choices = _with_candidates(choices, tuple(names[:number]), budget, names)
    return record


RATING = 3.0  # seconds of a core for k-NN, probe and what is around them, besides features
OF_VIEWS = 4  # looks at an image: itself, two views, perhaps by an untrained network


def _with_candidates(
    choices: Choices, candidates: tuple[str, ...], budget: float, names: Sequence[str]
) -> Choices:
    left_out = [name for name in names if name not in candidates]
    said = f"Task: the best of {', '.join(candidates)}, each for {duration(budget)} at first"
    if left_out:
        said += f"; there is no time for {', '.join(left_out)}"
    why = (*choices.why[:2], said, *choices.why[3:])
    return replace(choices, candidates=candidates, budget=budget, why=why)


def _go_on_with(task: Task, record: Record, winner: Standing, num_images: int) -> None:
    """Makes the winner's run that of the call, and decides how many epochs it will have."""
    store = task.paths.candidates
    if not has_checkpoint(task.paths.run):
        content = checkpoint_path(store / winner.algorithm).read_bytes()
        choices = record.choices
        seconds = max(1.0, task.clock.left - choices.reserved)
        trained_for = max(1e-9, seconds_of(store / winner.algorithm))
        step = trained_for / max(1, winner.steps)
        steps = winner.steps + rules.SLACK * seconds / step
        a_pass = math.ceil(num_images / choices.batch_size)
        epochs = max(1, math.ceil(winner.steps / a_pass), math.floor(steps / a_pass))
        task_line = f"Task: {winner.algorithm}, {choices.why[2].removeprefix('Task: ')}"
        chosen = replace(
            choices,
            algorithm=winner.algorithm,
            epochs=epochs,
            train_seconds=trained_for + seconds,
            seconds_a_step=step,
            why=(*choices.why[:2], task_line, *choices.why[3:]),
        )
        record.choices = told_anew(chosen, task.wishes)
        record.write()
        write_atomically(task.paths.checkpoint, lambda file: file.write(content))
    for file in [checkpoint_path(store / name) for name in record.choices.candidates]:
        file.unlink(missing_ok=True)


def _line(standing: Standing) -> str:
    name = f"{standing.algorithm:<20}"
    if standing.accuracy is None:
        return f"{name} failed: {standing.error}"
    figures = ", ".join(f"{key} {100 * value:.1f}" for key, value in standing.accuracy.items())
    return f"{name} {figures} after {standing.steps:,} steps in {duration(standing.seconds)}"
