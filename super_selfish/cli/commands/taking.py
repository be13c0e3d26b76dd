"""`super-selfish report`, `export`, `push` and `embed`: what one takes away from a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from super_selfish.cli.labelled import labelled_parts, seed_of
from super_selfish.cli.output import say
from super_selfish.cli.places import require_images
from super_selfish.cli.runs import find_run, load_run


def report(run: str, images: str | None = None, *, test: str | None = None, **given: Any) -> None:
    """Writes a page about a run, beside its checkpoint; where images have labels, with the rating.

    Args:
        run: A folder that pretrain has written, or a checkpoint such as store/base.pt.
        images: To look at: a folder (class sub-folders are labels), a pattern, or a .csv of paths.
            Without any, sections that need images say so.
        test: Labelled images to test on, given likewise. Default: a fifth of the others; of a run
            of pretrain those that it has kept from training.
        **given: As for `super_selfish.evaluation.write_report`.
    """
    name = find_run(run)
    require_images(images, test)
    from super_selfish.data.opening import as_source
    from super_selfish.evaluation import evaluate, write_report
    from super_selfish.pretraining.subjects import Subject

    supervisor = load_run(name)
    source, evaluation = None, None
    if images is not None:
        form = {"image_size": supervisor.image_size, "in_channels": supervisor.in_channels}
        form |= supervisor.reading
        source = as_source(images, **form)
        if Subject(source).has_labels:
            parts = labelled_parts(images, test, form=form, seed=seed_of(name) or 0)
            evaluation = evaluate(supervisor, *parts)
    say(str(write_report(supervisor, name, images=source, evaluation=evaluation, **given)))


def export(run: str, path: str, *, evaluation: str | None = None, **given: Any) -> None:
    """Writes the backbone of a run for other programs, and a .json that says how to build it.

    Args:
        run: A folder that pretrain has written, or a checkpoint such as store/base.pt.
        path: The file; its ending says the format: .safetensors, .onnx, .pt2 or .pt. Or, with
            --format timm-folder, the folder.
        evaluation: A .json that evaluate --out has written, for the page in a folder.
        **given: As for `Supervisor.export_backbone`.
    """
    name = find_run(run)
    if evaluation is not None:
        given["evaluation"] = _evaluation(evaluation)
    written = load_run(name).export_backbone(path, **given)
    say(f"{written}" if written.is_dir() else f"{written}\n{written}.json")


def push(folder: str, repository: str, **given: Any) -> None:
    """Puts a folder of export --format timm-folder on the Hugging Face hub.

    Args:
        folder: That export has written.
        repository: Where to, OWNER/NAME; is made if it is not there.
        **given: As for `super_selfish.export.push_to_hub`.
    """
    from super_selfish.export import push_to_hub

    say(push_to_hub(folder, repository, **given))


def _evaluation(path: str) -> dict[str, Any]:
    """What `evaluate --out` has written."""
    try:
        found = json.loads(Path(os.path.expanduser(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or "pretrained" not in found:
        raise ValueError(f"{path} is not what evaluate --out writes")
    return found


def embed(run: str, images: str, path: str, **given: Any) -> None:
    """Writes the features of images, with their names and labels, as .csv or .npz.

    Args:
        run: A folder that pretrain has written, or a checkpoint such as store/base.pt.
        images: A folder (class sub-folders are labels), a pattern, or a .csv of paths and labels.
        path: Ends in .csv or .npz; without an ending, both are written.
        **given: As for `super_selfish.evaluation.embed`.
    """
    name = find_run(run)
    require_images(images)
    from super_selfish.evaluation import embed as function

    found = function(load_run(name), images, path, **given)
    number, wide = found.features.shape
    say(f"{path}\n{number:,} images, {wide:,} features each")
