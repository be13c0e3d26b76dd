"""One run of a comparison: a network is pretrained, and rated beside what it was before."""

from __future__ import annotations

import datetime
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.comparison.answers import answers_of
from super_selfish.evaluation.comparison.resources import PeakMemory, machine
from super_selfish.evaluation.comparison.sets import Parts, column_of
from super_selfish.evaluation.comparison.standings import UNTRAINED
from super_selfish.evaluation.comparison.store import Record
from super_selfish.evaluation.evaluate import evaluate
from super_selfish.evaluation.features import LabelledSource, labelled_only
from super_selfish.evaluation.health.health import health
from super_selfish.evaluation.norm_statistics import adapted
from super_selfish.models import build_backbone, untrained_twin
from super_selfish.models.beginnings import looks_trained
from super_selfish.models.copying import copy_module
from super_selfish.supervisors.base import Supervisor
from super_selfish.supervisors.diagnostics import HealthWarning
from super_selfish.supervisors.label import LabelSupervisor
from super_selfish.times import parse_time
from super_selfish.training.checkpoint import checkpoint_path, read_run
from super_selfish.training.display import quiet
from super_selfish.training.history import History
from super_selfish.training.run import UNLIMITED

_PROBED = 2048  # test images on which features are judged without labels

Backbone = nn.Module | str | Callable[[int], nn.Module] | None
Options = Mapping[str, Any] | Callable[[int], Mapping[str, Any]]

# Pretraining with the labels of the images, as far as it goes by the rules of all the others.
SUPERVISED = "supervised"
supervised = partial(LabelSupervisor, finetune=True, backbone_lr_factor=1.0)

# What an algorithm may say of itself or of these images; anything else ends the comparison.
FAILURES = (ValueError, TypeError, RuntimeError, ImportError, LookupError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class Conditions:
    """What all runs of a comparison share.

    Attributes:
        train: Labelled images that protocols learn from.
        test: Labelled images that accuracies are of; `None` where only downstream sets count.
        pretrain: Images for pretraining; their labels, if any, are looked at by "supervised" alone.
        backbone: A name, a function of the number of channels, or a network.
        protocols: Names from `PROTOCOLS`.
        budget: Time of pretraining, such as `"10min"`, or `None`.
        epochs: Epochs of pretraining, or `None`.
        device: Where networks run.
        draw_anew: Whether a network that is given is drawn anew, seed by seed.
        downstream: Further labelled sets by name, training and test part.
        pretrain_labels: Those of the images for pretraining, if they came apart from them.
    """

    train: LabelledSource
    test: LabelledSource | None
    pretrain: ImageSource
    backbone: Backbone
    protocols: tuple[str, ...]
    budget: str | None
    epochs: int | None
    device: torch.device
    draw_anew: bool = False
    downstream: Mapping[str, Parts] = field(default_factory=dict)
    pretrain_labels: Tensor | None = None

    @property
    def sets(self) -> dict[str, Parts]:
        """All labelled sets that networks are rated on, the own one by the name `""`."""
        own = {} if self.test is None else {"": (self.train, self.test)}
        return {**own, **self.downstream}


@dataclass(frozen=True, eq=False)
class Entry:
    """A run to do.

    Attributes:
        key: Tells it from all others, by everything that decides it.
        algorithm: The name under which it is listed, `"untrained"` for a twin, `"start"` for the
            weights that all begin with, if these were trained before.
        seed: Of the weights, the choice and order of images, and all that is drawn.
        base_size: Pretraining images that the study of sensitivity asks for.
        images: Pretraining images that the algorithm gets.
        kind: Class of the supervisor; `None` for a twin.
        options: Keywords of its constructor, or a function from the number of channels to them.
        settings: Keywords of `supervise()`.
        twin: Key of the untrained network: with the same first weights, or where these were trained
            before a new one of its kind.
        start: Key of the network with the same first weights, if these were trained before.
        wants_gain: Whether what it gained is asked for: a run that sees images in a way of its own
            has its own twin rated too, which takes as long as rating the run.
    """

    key: str
    algorithm: str
    seed: int
    base_size: int | None = None
    images: int = 0
    kind: Callable[..., Supervisor] | None = None
    options: Options | None = None
    settings: Mapping[str, Any] | None = None
    twin: str | None = None
    start: str | None = None
    wants_gain: bool = True


def draw_backbone(conditions: Conditions, seed: int) -> nn.Module:
    """The backbone with its first weights, the same for every algorithm.

    Args:
        conditions: Give backbone, channels and size.
        seed: Torch's global stream is set to it, and goes on from there.

    Returns:
        A new module on the CPU, ready to train.
    """
    torch.default_generator.manual_seed(seed)  # manual_seed would seed accelerators as well
    backbone, source = conditions.backbone, conditions.pretrain
    if isinstance(backbone, nn.Module):
        drawn = untrained_twin(backbone, seed) if conditions.draw_anew else copy_module(backbone)
        return drawn.cpu().requires_grad_(True)
    if backbone is None or isinstance(backbone, str):
        return build_backbone(backbone, source.in_channels, source.image_size)
    made = backbone(source.in_channels)
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"backbone(in_channels) must return a network, an nn.Module, got {type(made).__name__}"
        )
    return made


def has_start(conditions: Conditions, network: nn.Module) -> bool:
    """Whether the weights that all algorithms begin with were trained before.

    Args:
        conditions: Say where the backbone comes from: what is built by name is new.
        network: From `draw_backbone`.
    """
    backbone = conditions.backbone
    is_new = backbone is None or isinstance(backbone, str)
    if isinstance(backbone, nn.Module):
        is_new = conditions.draw_anew
    return not is_new and looks_trained(network)


def build_options(options: Options | None, in_channels: int) -> dict[str, Any]:
    """Keywords of a constructor, with networks that no other run has.

    Args:
        options: The keywords, of which a copy is made, or a function that makes them.
        in_channels: Channels of the images.

    Returns:
        New keywords.
    """
    if options is None:
        return {}
    return dict(options(in_channels) if callable(options) else copy_module(options))


def some_images(source: ImageSource, number: int, seed: int) -> ImageSource:
    """As many images of a source, drawn without regard to their order there (or to their class).

    Those of a smaller number are among those of a larger one.

    Args:
        source: Where from.
        number: How many.
        seed: Of the draw.

    Returns:
        The source itself, if that is all of them.
    """
    if number == len(source):
        return source
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return source.subset(order[:number].sort().values.tolist())


def warm_up(device: torch.device) -> None:
    """Has torch load what it loads at the first step, so that no run's time and memory pay for it.

    Args:
        device: Where networks run.
    """
    weight = torch.zeros(1, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()


def do_run(entry: Entry, conditions: Conditions, checkpoint: Path | None) -> Record:
    """Does a run, or goes on with it.

    Args:
        entry: What to do.
        conditions: What it shares with the others.
        checkpoint: Where an unfinished run is kept, without the ending.

    Returns:
        Its record. A run that failed has the reason under `"error"`.
    """
    record: Record = {
        "key": entry.key,
        "algorithm": entry.algorithm,
        "seed": entry.seed,
        "base_size": entry.base_size,
        "images": entry.images,
        "twin": entry.twin,
        "start": entry.start,
        "accuracy": None,
        "answers": None,
        "untrained": None,
        "start_accuracy": None,
        "health": None,
        "warnings": [],
        "error": None,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(conditions.device),
    }
    with quiet():  # the comparison shows itself
        return record | _done(entry, conditions, checkpoint)


def _done(entry: Entry, conditions: Conditions, checkpoint: Path | None) -> dict[str, Any]:
    """What a run has found, or why it failed."""
    if entry.kind is None:  # whatever goes wrong here goes wrong for all
        with torch.random.fork_rng(devices=[]):
            network = draw_backbone(conditions, entry.seed)
        if entry.algorithm == UNTRAINED and entry.start is not None:
            network = untrained_twin(network, entry.seed)
        network = network.to(conditions.device)
        # Training moves the norms' statistics of every network that this one is compared with.
        settled = adapted(network, None, conditions.train.images, None, seed=entry.seed)
        return _rate(network if settled is None else settled, None, conditions, entry.seed)
    try:
        return _pretrain_and_rate(entry, conditions, checkpoint)
    except FAILURES as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _pretrain_and_rate(
    entry: Entry, conditions: Conditions, checkpoint: Path | None
) -> dict[str, Any]:
    with PeakMemory(conditions.device) as memory:
        source = conditions.pretrain
        if entry.kind is supervised and conditions.pretrain_labels is not None:
            source = source.with_labels(conditions.pretrain_labels)
        images = some_images(source, entry.images, entry.seed)
        if entry.kind is supervised:  # as many images as the others see, less those without a label
            labelled = LabelledSource(images, images.given_labels)
            images = labelled_only(labelled, "pretraining").images
        with torch.random.fork_rng(devices=[]):
            network = draw_backbone(conditions, entry.seed)
            supervisor = _build(entry, images, network).to(conditions.device)
        kept = supervisor.get_backbone()
        # Where images reach the network as they are, its twin is that of all the others.
        shares_twin = kept is network and isinstance(supervisor.preprocess, nn.Identity)
        has_own = not shares_twin and entry.wants_gain
        before = copy_module((kept, supervisor.preprocess)) if has_own else None
        pretraining = _pretrain(supervisor, entry, conditions, checkpoint)
    result = {
        **pretraining,
        "peak_memory": memory.added,
        **_rate(supervisor.get_backbone(), supervisor.preprocess, conditions, entry.seed),
    }
    if not shares_twin and not entry.wants_gain:  # that of the others is none for this one
        result["twin"] = result["start"] = None
    if before is not None:
        first, preprocess = before
        trained, shown = supervisor.get_backbone(), conditions.train.images
        twin = None if entry.start is None else untrained_twin(first, entry.seed)
        settled = adapted(first, trained, shown, preprocess, seed=entry.seed)
        first = first if settled is None else settled
        rated = _rate(first, preprocess, conditions, entry.seed)
        if twin is not None:
            result |= {"start_accuracy": rated["accuracy"], "start_answers": rated["answers"]}
            result["start"] = None
            settled = adapted(twin, trained, shown, preprocess, seed=entry.seed)
            twin = twin if settled is None else settled
            rated = _rate(twin, preprocess, conditions, entry.seed)
        result |= {"untrained": rated["accuracy"], "untrained_answers": rated["answers"]}
        result["twin"] = None
    return result


def _build(entry: Entry, images: ImageSource, network: nn.Module) -> Supervisor:
    """The supervisor; a backbone among its own options stands above the shared one."""
    if entry.kind is None:
        raise ValueError("an untrained network has no supervisor")
    options = build_options(entry.options, images.in_channels)
    return entry.kind(images, **{"backbone": network, **options})


def _pretrain(
    supervisor: Supervisor, entry: Entry, conditions: Conditions, checkpoint: Path | None
) -> dict[str, Any]:
    """Pretrains, from the checkpoint of an unfinished run if there is one, and says how it went."""
    used = 0.0 if checkpoint is None else seconds_of(checkpoint)
    budget = parse_time(conditions.budget, "budget")
    limit = None if budget is None else f"{max(0.0, budget - used):.3f}s"
    start = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HealthWarning)
        supervisor.supervise(
            **{"keep_last": 1, **dict(entry.settings or {})},  # a store of many runs
            epochs=UNLIMITED if conditions.epochs is None else conditions.epochs,
            time_limit=limit,
            name=checkpoint,
            resume=checkpoint is not None and checkpoint_path(checkpoint).is_file(),
            overwrite=True,
            seed=entry.seed,
            progress=False,
        )
    seconds = used + time.monotonic() - start
    for warning in caught:
        if not issubclass(warning.category, HealthWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    run = supervisor.run
    if run is None or run.global_step == 0:
        raise RuntimeError("not one step was done: give a larger budget, or more epochs")
    seen = run.epoch * run.num_images + run.seen
    latest = run.history.means() if run.step else run.history.rows[-1]
    return {
        "minutes": seconds / 60,
        "images_per_second": seen / seconds,
        "steps": run.global_step,
        "epochs": run.epoch + run.step / run.steps_per_epoch,
        "loss": latest["loss"],
        "warnings": _sentences(caught),
    }


def seconds_of(checkpoint: Path) -> float:
    """Time that an unfinished run has trained for; 0 if there is none.

    Args:
        checkpoint: Its path, without the ending.
    """
    path = checkpoint_path(checkpoint)
    if not path.is_file():
        return 0.0
    run = read_run(path)["run"]
    if run is None:
        return 0.0
    history = History()
    history.load_state_dict(run["history"], torch.device("cpu"))
    history.end_epoch(0, 0.0)  # closes the one that was under way
    return sum(row["seconds"] for row in history.rows)


def _rate(
    network: nn.Module, preprocess: nn.Module | None, conditions: Conditions, seed: int
) -> dict[str, Any]:
    """Accuracies of a backbone by set and protocol, image by image, and its health."""
    accuracy: dict[str, float] = {}
    answers: dict[str, dict[str, Any]] = {}
    for name, (train, test) in conditions.sets.items():
        rated = evaluate(
            network,
            train,
            test,
            protocols=conditions.protocols,
            untrained=None,
            preprocess=preprocess,
            seed=seed,
        )
        accuracy |= {column_of(name, p): value for p, value in rated.pretrained.items()}
        answers |= answers_of(rated, name)
    unseen = conditions.train if conditions.test is None else conditions.test
    judged = health(network, unseen.images, num_images=_PROBED, preprocess=preprocess, seed=0)
    return {"accuracy": accuracy, "answers": answers, "health": judged.as_dict()}


def _sentences(caught: list[warnings.WarningMessage]) -> list[str]:
    """What health checks said, each sentence once, without the number of the epoch."""
    texts = [str(w.message) for w in caught if issubclass(w.category, HealthWarning)]
    return list(dict.fromkeys(text.partition(": ")[2] or text for text in texts))
