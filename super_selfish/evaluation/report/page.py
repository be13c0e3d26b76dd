"""The page: what is known of a run, section by section; `templates/page.html` lays it out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.checking.check import Check
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.features import open_images
from super_selfish.evaluation.plots import PROJECTIONS
from super_selfish.evaluation.report import answers, course, neighbourhood, results
from super_selfish.evaluation.report.descriptions import describe_algorithm, moment
from super_selfish.evaluation.report.html import render
from super_selfish.evaluation.report.next_steps import next_steps
from super_selfish.evaluation.report.place import place_of
from super_selfish.evaluation.report.record import find_record
from super_selfish.evaluation.report.run_settings import settings, trained_on
from super_selfish.evaluation.report.sample_images import look_at, showing
from super_selfish.evaluation.sheets import require_matplotlib
from super_selfish.supervisors import Supervisor
from super_selfish.training.aside import set_file_aside
from super_selfish.training.checkpoint import beside, write_atomically
from super_selfish.training.telling import warn

SIGNATURE = "Written by Super Selfish"  # by which our own pages are known


class Section(NamedTuple):
    """A part of the page."""

    anchor: str  # and name of its template
    title: str
    told: Any  # what the template asks for, or as a sentence why there is nothing to tell


def write_report(
    supervisor: Supervisor,
    name: str | os.PathLike[str] = "store/base",
    *,
    images: Any = None,
    evaluation: Evaluation | None = None,
    comparison: Comparison | None = None,
    check: Check | None = None,
    title: str | None = None,
    most_images: int = 1000,
    map_method: str | None = None,
    seed: int = 0,
    remarks: Sequence[str] = (),
) -> Path:
    """Writes a page about a supervisor: one HTML file that needs nothing beside it.

    Args:
        supervisor: One that was trained, or that has loaded the checkpoint `name`.
        name: Path of the page, without its ending; that of the checkpoint, so that a supervisor
            that was loaded is told with the history of its run.
        images: What to look at: whatever `as_source` takes. Default: the supervisor's dataset;
            without either, sections that need images say so.
        evaluation: What `evaluate` returned: whether it helped and, with few-label protocols, how
            many labels it saved.
        comparison: What `compare` returned.
        check: What `check` found in the images: what should be mended is said again.
        title: Heading of the page; default: the name of the algorithm.
        most_images: Images, spread over the dataset, of which features are computed.
        map_method: How the map of the features is made: `"pca"`, `"tsne"` or `"umap"`, as for
            `project_features`. Default: t-SNE where scikit-learn is installed, else PCA.
        seed: Of the augmentation and of the map of the features.
        remarks: Sentences that the page is to say of whether it helped, such as those of an
            `Outcome`.

    Returns:
        Path of the page, `name + ".html"`.

    Raises:
        TypeError: If `evaluation`, `comparison` or `check` is something else.
        ValueError: If `most_images` is not positive, there is no such map, or the checkpoint is
            broken.
        ImportError: If matplotlib is missing, or what the map needs.
    """
    if most_images < 1:
        raise ValueError(f"most_images must be at least 1, got {most_images}")
    if map_method is not None and map_method not in PROJECTIONS:
        raise ValueError(f"map_method must be one of {sorted(PROJECTIONS)}, got {map_method!r}")
    _require("evaluation", evaluation, Evaluation)
    _require("comparison", comparison, Comparison)
    _require("check", check, Check)
    require_matplotlib()  # before the features are computed
    record = find_record(supervisor, name)
    algorithm = describe_algorithm(type(supervisor))
    source = _images_to_look_at(supervisor, images)
    written = moment(datetime.now(timezone.utc))
    is_lent = supervisor.source is None
    with showing(supervisor, source):
        look = None if source is None else look_at(supervisor, source, most_images)
        health = None if look is None else look.health
        said = answers.exhibit(supervisor, record, is_lent, seed)
        happened = course.summary(record, health, trained_on(supervisor, record, source))
        helped = results.helped(evaluation, happened.health, remarks)
        steps = next_steps(record, health, evaluation, comparison, check, place_of(name))
        parts = [
            Section("summary", "What it was trained on", happened),
            Section("evaluation", "Did it help?", helped),
            Section("labels", "Labels saved", results.labels(evaluation)),
            Section("views", "What the network sees", answers.views(supervisor, seed)),
            Section("answers", "What it makes of that", said),
            Section("neighbours", "Nearest neighbours", neighbourhood.neighbours(look)),
            Section(
                "map", "Map of the features", neighbourhood.feature_map(look, seed, map_method)
            ),
            Section("next", "What to do next", steps),
            Section("course", "The course of training", course.curves(record, supervisor)),
        ]
    if comparison is not None:
        found = results.comparison(comparison)
        parts.append(Section("comparison", "Beside other algorithms", found))
    told = settings(supervisor, record, algorithm, source, written)
    parts.append(Section("settings", "Settings", told))
    page = render(
        "page.html",
        title=title or algorithm.title,
        name=os.fspath(name),
        algorithm=algorithm,
        sections=parts,
        signature=SIGNATURE,
        written=written,
    )
    path = beside(name, ".html")
    if path.is_file() and source is None and answers.SHEET.encode() in path.read_bytes():
        warn(
            f"{path} showed images, which the new page cannot, as nobody gives it any: the former "
            f"one is kept as {set_file_aside(path)}; images= shows them again"
        )
    elif path.is_file() and f"{SIGNATURE}, ".encode() not in path.read_bytes():
        set_file_aside(path)  # somebody else's page
    write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))
    return path


def _require(word: str, given: object, kind: type) -> None:
    """Refuses what the function of that name did not return."""
    if given is not None and not isinstance(given, kind):
        raise TypeError(f"{word} must be the {kind.__name__} of a call, got {type(given).__name__}")


def _images_to_look_at(supervisor: Supervisor, images: Any) -> ImageSource | None:
    """The images that were given, as the networks take them, or those of the dataset."""
    if images is None:
        return supervisor.source
    if isinstance(images, ImageSource):
        return images
    return open_images(images, supervisor.image_size, supervisor.in_channels, supervisor.reading)
