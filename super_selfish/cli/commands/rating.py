"""`super-selfish evaluate`, `health` and `compare`."""

from __future__ import annotations

from typing import Any

from super_selfish.cli.algorithms import ALGORITHMS
from super_selfish.cli.labelled import SEGMENTATION, labelled_parts, masked_parts, seed_of
from super_selfish.cli.names import require_algorithms, require_backbone
from super_selfish.cli.output import give, require_writable
from super_selfish.cli.places import require_images
from super_selfish.cli.runs import find_run, load_run
from super_selfish.cli.times import require_time
from super_selfish.cli.wrong import WrongLineError


def evaluate(
    run: str,
    images: str,
    *,
    test: str | None = None,
    others: dict[str, str] | None = None,
    json: bool = False,
    out: list[str] | None = None,
    **given: Any,
) -> None:
    """Rates a backbone on labelled images, beside an untrained network.

    Args:
        run: A folder that pretrain has written, or a checkpoint such as store/base.pt.
        images: To learn from: a folder (class sub-folders are labels), a pattern, or a .csv of
            paths and labels; for segmentation a folder with images/ and masks/.
        test: Images to test on, given likewise. Default: a fifth of the others; of a run of
            pretrain those that it has kept from training.
        others: Further runs, each a row: --others mine=runs/mine yours=runs/yours.
        json: Writes everything as JSON.
        out: Files besides: .json, or .png for a picture.
        **given: As for `super_selfish.evaluation.evaluate`.
    """
    name = find_run(run)
    further = {key: find_run(place) for key, place in (others or {}).items()}
    require_images(images, test)
    from super_selfish.evaluation import Evaluation
    from super_selfish.evaluation import evaluate as function

    for path in out or []:
        require_writable(path, Evaluation)
    supervisor = load_run(name)
    if any(protocol.startswith(SEGMENTATION) for protocol in given.get("protocols", ())):
        parts = masked_parts(images, test)
    else:
        form = {"image_size": supervisor.image_size, "in_channels": supervisor.in_channels}
        form |= {key: given[key] for key in form.keys() & given.keys()}
        seed = seed_of(name)
        parts = labelled_parts(
            images,
            test,
            form=form | supervisor.reading,
            seed=given.get("seed", 0) if seed is None else seed,
        )
    rivals = {key: load_run(place) for key, place in further.items()}
    give(function(supervisor, *parts, others=rivals, **given), as_json=json, out=out)


def health(
    run: str, images: str, *, json: bool = False, out: list[str] | None = None, **given: Any
) -> None:
    """Says whether the features of a backbone have collapsed; needs no labels.

    Args:
        run: A folder that pretrain has written, or a checkpoint such as store/base.pt.
        images: A folder, a pattern, or a .csv of paths.
        json: Writes everything as JSON.
        out: A file besides: .json.
        **given: As for `super_selfish.evaluation.health`.
    """
    name = find_run(run)
    require_images(images)
    from super_selfish.evaluation import Health
    from super_selfish.evaluation import health as function

    for path in out or []:
        require_writable(path, Health)
    give(function(load_run(name), images, **given), as_json=json, out=out)


def compare(
    images: str,
    *,
    algorithms: list[str],
    test: str | None = None,
    pretrain: str | None = None,
    downstream: dict[str, str] | None = None,
    downstream_test: dict[str, str] | None = None,
    json: bool = False,
    out: list[str] | None = None,
    **given: Any,
) -> None:
    """Pretrains with several algorithms under the same conditions, and rates what each has learned.

    Args:
        images: A folder of class sub-folders, or a .csv of paths and labels; with --downstream
            images without labels will do.
        algorithms: Short names, and "supervised" for pretraining with the labels.
        test: Labelled images to test on, given likewise. Default: a fifth of the others; with
            --downstream none.
        pretrain: Images to pretrain on, if not on the labelled ones.
        downstream: Further labelled images, by names of yours, that every network is rated on too:
            --downstream cars=photos/cars pets=pets.csv.
        downstream_test: Images to test on, by the same names. Default: a fifth of the others.
        json: Writes everything as JSON.
        out: Files besides: .json, .csv, .md, or .png for a picture.
        **given: As for `super_selfish.evaluation.compare`; keywords of algorithms under their
            names.
    """
    own = {name: value for name, value in given.items() if name not in ALGORITHMS}
    options = {name: value for name, value in given.items() if name in ALGORITHMS}
    require_algorithms([*algorithms, *options], further=("supervised",))
    require_time("--budget", own.get("budget"))
    require_backbone(own.get("backbone"))
    sets, tests = downstream or {}, downstream_test or {}
    for name in tests.keys() - sets.keys():
        raise WrongLineError(f"--downstream-test {name}=... has no --downstream {name}=...")
    require_images(images, test, pretrain, *sets.values(), *tests.values())
    from super_selfish.evaluation import Comparison
    from super_selfish.evaluation import compare as function

    for path in out or []:
        require_writable(path, Comparison)
    form = {key: own.get(key) for key in ("image_size", "in_channels")}
    has_masks = any(each.startswith(SEGMENTATION) for each in own.get("protocols", ()))

    def parts_of(place: str, other: str | None, flag: str = "--test") -> tuple[Any, Any]:
        if has_masks:
            return masked_parts(place, other)
        return labelled_parts(place, other, form=form, flag=flag)

    if sets:
        from super_selfish.data.opening import as_source

        source = as_source(images, **form)  # images of all sets are brought to the form of these
        form = {"image_size": source.image_size, "in_channels": source.in_channels}
        own["downstream"] = {
            name: parts_of(place, tests.get(name), f"--downstream-test {name}=...")
            for name, place in sets.items()
        }
    if pretrain is not None:
        own["pretrain"] = pretrain
    parts = (images, None) if sets and test is None else parts_of(images, test)
    give(function(algorithms, *parts, options=options, **own), as_json=json, out=out)
