"""Several algorithms that train one backbone.

Each task is a supervisor with images, augmentation, heads and memories of its own; the backbone is
one.

Doersch, Zisserman, 2017, "Multi-task Self-Supervised Visual Learning", arXiv 1708.07860.

Shapes: `T` tasks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from super_selfish.data.collate import Collator
from super_selfish.data.joined import JoinedBatches, JoinedCollator, JoinedSource, Views
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.pictures import Group
from super_selfish.data.sources import ImageSource
from super_selfish.models import CombinedNet, build_backbone, build_normalize
from super_selfish.supervisors.adversarial import AdversarialSupervisor
from super_selfish.supervisors.arguments import NOT_STORED
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import NothingToShow
from super_selfish.supervisors.options import NAMES as OPTIONS
from super_selfish.supervisors.sharing_backbone import (
    Door,
    harmonize_tasks,
    mixture_of,
    shown_shares,
)
from super_selfish.training.distributed import gather_one, world_size
from super_selfish.training.history import Row
from super_selfish.training.plain import is_plain
from super_selfish.training.randomness import derive_seed
from super_selfish.training.spelling import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

TASKS = ("jigsaw", "exemplar")
BLOCKS = "all alike are as many as there are, one alone is 1."
SMALLEST = 0.05  # first loss that is still a measure for later ones
MOST_GROUPS = 2  # of pictures a task
_OF_ALL = frozenset({"backbone", "in_channels", *NOT_STORED})
Task = str | tuple[str, Mapping[str, Any]] | Supervisor


class MultiTaskSupervisor(Supervisor):
    """Trains one backbone by several tasks, in turns or all in each step.

    A task is the name of an algorithm, such a name with arguments of its constructor, or a
    supervisor that was built around the same backbone. Every task sees its own images in its own
    order; what it logs stands behind its name (`"jigsaw.accuracy"`). Its loss is divided by its own
    of the first step, so that none outweighs the others by its unit; one that begins below 0.05, or
    with less than nothing, stays as it is. A momentum encoder follows the backbone in every
    update, whosever turn it is. Gradients, which are of all tasks, are clipped by `clip_norm` of
    `supervise()` alone, and not by that of a task.

    Adversarial tasks are refused: their players move by gradients that stop at each other. To CMC
    and split-brain the backbone is the half that sees lightness, in gray pictures; the other half
    is theirs.

    Differences from the paper: any tasks and any backbone, one optimizer for all of it instead of
    gradients of one task a machine that are gathered (RMSProp); batch norm takes the statistics of
    each task's images by itself and keeps the running ones of all. A lasso is over the blocks of
    any network instead of the 23 alike ones of a ResNet's third stage: other widths go through
    convolutions that the tasks share, and each map is divided by its strength. What `harmonize`
    makes gray is luma instead of L*, which is nearly the same. By default Adam trains at a constant
    rate of 1e-3 in batches of 32.
    """

    title = "Multi-task"
    question = "What do several tasks ask of one network?"

    first_losses: Tensor  # (T,), 0 where there is none yet

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        *,
        tasks: Sequence[Task] = TASKS,
        task_weights: Sequence[float] | None = None,
        steps: Literal["alternating", "summed"] = "alternating",
        normalize_losses: bool = True,
        lasso: float | None = None,
        harmonize: bool = False,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes; or the tasks, as a list of
                supervisors, which have their images.
            backbone: Network, its name, or None for an EfficientNet-B0, or for that of the tasks.
            tasks: At least one: names such as `"rotate"`, pairs such as `("jigsaw", {"grid": 2})`,
                or supervisors around one backbone (`JigsawNetSupervisor(images,
                rotate.get_backbone())`). Default: `("jigsaw", "exemplar")`. An epoch is a pass of
                each of them.
            task_weights: Of each task's loss; default: 1.
            steps: Whether the tasks take turns, a batch each, or every step has a batch of each.
            normalize_losses: Whether a task's loss is divided by what it was in its first step.
            lasso: Weight of the L1 norm of a task's coefficients in its loss, where heads see a
                combination of the outputs of the backbone's blocks (section 3.2 of the paper) in
                place of the last one: the larger, the fewer blocks has a task; 0 only combines.
                None: heads see the last. `block_shares()` tells what has been learned; the backbone
                that is kept is that of all.
            harmonize: Whether every task shows the backbone gray pictures, as those do that split
                lightness from colour (section 3.1: "harmonization"). `preprocess` does it
                afterwards, wherever the backbone is rated or exported.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a task is unknown, adversarial, or has another backbone, there are not
                as many `task_weights` as tasks, `lasso` is negative or finds no blocks, or images
                are not to be harmonized.
            TypeError: If a task is none of these.
        """
        if _are_supervisors(dataset):
            dataset, tasks = None, dataset
            self.arguments["dataset"] = None
        if isinstance(dataset, Supervisor):
            raise TypeError("tasks come in a list: MultiTaskSupervisor([supervisor, another])")
        if isinstance(tasks, str | Supervisor | Mapping) or not tasks:
            raise TypeError(
                f"tasks must be a list of tasks, such as {list(TASKS)} or "
                f'[("jigsaw", {{"grid": 2}})], got {tasks!r}'
            )
        if lasso is not None and not 0 <= lasso < math.inf:
            raise ValueError(f"lasso must be None or a weight >= 0, got {lasso}")
        if steps not in ("alternating", "summed"):
            raise ValueError(f'steps must be "alternating" or "summed", got {steps!r}')
        built = [task for task in tasks if isinstance(task, Supervisor)]
        if built:
            first = built[0]
            dataset = first.source if dataset is None else dataset
            backbone = first._backbone_in_training() if backbone is None else backbone
            image_size = first.image_size if image_size is None else image_size
            in_channels = first.in_channels if in_channels is None else in_channels
        is_theirs = bool(built) and backbone is built[0]._backbone_in_training()
        super().__init__(
            None, dataset, None, image_size=image_size, in_channels=in_channels, **options
        )
        network = self._build(backbone, self.image_size)
        normalize = self._begin(network, normalize)
        self.model = CombinedNet(
            network, nn.Identity(), build_normalize(normalize, self.in_channels)
        )
        self.names: list[str] = []
        self.lasso = lasso
        self._in_turn: set[int] = set()  # tasks since the last update
        self._door = Door(network, lasso is not None, self.in_channels, self.image_size)
        for task in tasks:
            self._add(task, network, normalize)
        if harmonize:
            harmonize_tasks(self)
        if isinstance(task_weights, Mapping | str):
            raise TypeError(
                f"task_weights must be a list, a number for each task, got {task_weights!r}"
            )
        self.task_weights = [1.0] * len(tasks)
        if task_weights is not None:
            self.task_weights = [float(weight) for weight in task_weights]
        if len(self.task_weights) != len(tasks) or not min(self.task_weights) > 0:
            raise ValueError(
                f"task_weights must be a positive number for each of {len(tasks)} tasks, got "
                f"{task_weights}"
            )
        self.steps = steps
        self.takes_turns = steps == "alternating" and len(tasks) > 1
        self.normalize_losses = normalize_losses
        self.register_buffer("first_losses", torch.zeros(len(tasks)))
        self._resolve(tasks=_described(self.tasks) or list(tasks))
        if is_theirs:
            self._resolve(backbone=_plain_backbone(built, network))

    @property
    def meanings(self) -> Mapping[str, str]:  # type: ignore[override]
        """What the tasks' columns mean."""
        found = {f"{name}.loss": f"Loss of {name}." for name in self.names}
        if self.lasso is not None:
            found |= {f"{name}.blocks": f"Blocks that {name} uses; {BLOCKS}" for name in self.names}
        for name, task in zip(self.names, self.tasks, strict=True):
            found |= {f"{name}.{column}": means for column, means in task.meanings.items()}
        return found

    @property
    def tasks(self) -> list[Any]:
        """The supervisors, in their order."""
        return [self._modules[name] for name in self.names]

    @property
    def collate_fn(self) -> Any:
        """Each task's own, for its images."""
        lengths = [0 if t.source is None else t.source.num_images or 0 for t in self.tasks]
        starts = [0, *accumulate(lengths)][:-1]
        return JoinedCollator([task.collate_fn for task in self.tasks], starts)

    @collate_fn.setter
    def collate_fn(self, value: Any) -> None:
        """Nothing: the tasks have theirs."""

    def _add(self, task: Task, network: nn.Module, normalize: Any) -> None:
        """Builds a task, unless it is built, and makes it a part of this supervisor."""
        if not isinstance(task, Supervisor):
            task = self._built(task, network, normalize)
        name = base = _short_names().get(type(task), type(task).__name__)
        number = 1
        while hasattr(self, name):
            number += 1
            name = f"{base}_{number}"
        if any(task is other for other in self.tasks):
            raise ValueError(f"{base} is in the list twice: build another one for a second task")
        if isinstance(task, AdversarialSupervisor | MultiTaskSupervisor):
            raise ValueError(
                f"{base} cannot be one of several tasks: its players have optimizers of their own"
                if isinstance(task, AdversarialSupervisor)
                else "a task cannot be several tasks itself: list them all in tasks="
            )
        if task._backbone_in_training() not in (network, self._door.given):
            raise ValueError(
                f"{base} trains another backbone than the other tasks: build it with "
                "backbone=first_task.get_backbone(), or name it in tasks="
            )
        self._door.put_before(task, base)
        if not isinstance(task.collate_fn, Collator):
            raise ValueError(f"{base} has a plain function as collate_fn: write a Collator")
        self.add_module(name, task)
        self.names.append(name)

    def _built(self, task: Any, network: nn.Module, normalize: Any) -> Supervisor:
        known = {name: kind for kind, name in _short_names().items()}
        name, options = (task, {}) if isinstance(task, str) else _pair(task)
        if name not in known:
            meant = did_you_mean(name, known)
            guess = f': did you mean "{meant}"?' if meant else f"; there are {', '.join(known)}"
            raise ValueError(f"there is no algorithm {name!r}{guess}")
        for option in options:
            if option in _OF_ALL:
                raise ValueError(f"{option} is that of all tasks, so {name} cannot have its own")
        shared = {"image_size": self.image_size, "in_channels": self.in_channels}
        if self.source is not None:
            shared = {}  # those of the images
        given = {"normalize": normalize, **shared, **options}
        built: Supervisor = known[name](self.source, backbone=self._door.next(), **given)
        return built

    def _images_in_order(self, batch_size: int, shuffle: bool) -> tuple[ImageSource, EpochBatches]:
        """The images of all tasks, in their turns."""
        run, _ = self._running()
        if run.compile and self.lasso is not None:
            raise ValueError(
                "compile=True makes one piece of the network whose blocks lasso= looks into: leave "
                "one of them out"
            )
        if self._reading.on_device:
            raise ValueError("dataset_on_device keeps the images of one task; leave it out here")
        sources = [task.source for task in self.tasks]
        for name, source in zip(self.names, sources, strict=True):
            if source is None:
                raise ValueError(f"{name} has no images: give it a dataset")
        # Every task has an order of its own; the first one that of a run by itself.
        seeds = [run.seed if n == 0 else derive_seed(run.seed, n) for n in range(len(sources))]
        orders = [
            task._order_of(source, batch_size, shuffle, seed)
            for task, source, seed in zip(self.tasks, sources, seeds, strict=True)
        ]
        batches = JoinedBatches(orders, together=self.steps == "summed")
        run.num_images = batches.num_images
        return JoinedSource(sources), batches

    def _forward(self, data: Views) -> Tensor:
        losses = []
        for number, views in data.parts:
            name, task = self.names[number], self.tasks[number]
            loss = task._forward(views)
            self._log(**{f"{name}.loss": loss.detach()})
            weighed = self.task_weights[number] * loss / self._measure(number, loss.detach())
            if self.lasso is not None:
                norm = mixture_of(task).penalty()
                self._log(**{f"{name}.blocks": norm.detach() ** 2})
                weighed = weighed + self.lasso * norm
            losses.append(weighed)
        loss = torch.stack(losses).mean()
        turn = {number for number, _ in data.parts}
        self._in_turn |= turn
        if world_size() > 1:
            # Torch averages the gradients of all parameters or none; _before_step takes these away.
            loss = loss + sum(0.0 * own.flatten()[:1].sum() for own in self._only_of_others(turn))
        return loss

    def _only_of_others(self, turn: Collection[int]) -> list[nn.Parameter]:
        """Parameters that train, but are of no task whose turn it is."""
        tasks = self.tasks
        used = {id(own) for number in turn for own in tasks[number].parameters()}
        every = dict.fromkeys(own for task in tasks for own in task.parameters())
        return [own for own in every if own.requires_grad and id(own) not in used]

    def _before_step(self) -> None:
        for own in self._only_of_others(self._in_turn):
            own.grad = None  # its task had no turn: it stays, whatever momentum it has
        self._in_turn.clear()

    def block_shares(self) -> dict[str, dict[str, float]]:
        """How much of what a task's head sees comes from each block of the backbone.

        Returns:
            For each task a number for each block, by its name in `named_modules()`, first block
            first, and last `"map"`, what the backbone itself gives; those of a task add up to 1.

        Raises:
            ValueError: If there is no `lasso=`: every head sees the map alone.
        """
        if self.lasso is None:
            raise ValueError("there are no shares of blocks: give lasso=, such as lasso=0.01")
        pairs = zip(self.names, self.tasks, strict=True)
        return {name: mixture_of(task).shares() for name, task in pairs}

    @torch.no_grad()
    def _measure(self, number: int, loss: Tensor) -> Tensor:
        """What a task's loss is divided by: its first one, of all processes, or 1."""
        first = self.first_losses[number]
        if not self.normalize_losses:
            return torch.ones_like(first)
        now = gather_one(loss).mean().to(first.dtype)
        is_new = (first == 0) & now.isfinite()
        first = torch.where(is_new, torch.where(now >= SMALLEST, now, 1.0), first)
        if self.training:
            self.first_losses[number] = first
        return torch.where(first == 0, 1.0, first)

    def _health(self, row: Row) -> str | None:
        for name, task in zip(self.names, self.tasks, strict=True):
            own = {k.removeprefix(f"{name}."): v for k, v in row.items() if k.startswith(name)}
            verdict = task._health({**row, **own})
            if verdict is not None:
                return f"{name}: {verdict}"
        return None

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """What the tasks show, each of its first images; before that, which blocks they use."""
        groups: list[Group] = []
        if self.lasso is not None:
            groups.append(shown_shares(self.block_shares()))
        for task in self.tasks:
            with _images_of(task, self.source):
                own = [position % task.source.at_hand for position in index]
                groups += task.exhibit(own, seed)[:MOST_GROUPS]
        return groups

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Every tensor once, by the first of its names: what tasks share is not stored for each."""
        state = super().state_dict(*args, **kwargs)
        for name in self._further_names():
            state.pop(kwargs.get("prefix", "") + name, None)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Takes what `state_dict` returned."""
        further = self._further_names()
        whole = dict(state_dict)
        for name, first in further.items():
            if first in whole:
                whole.setdefault(name, whole[first])
        return super().load_state_dict(whole, *args, **kwargs)

    def _further_names(self) -> dict[str, str]:
        """The names of tensors that have another one before, and that one."""
        first: dict[int, str] = {}
        further = {}
        for name, tensor in chain(
            self.named_parameters(remove_duplicate=False),
            self.named_buffers(remove_duplicate=False),
        ):
            known = first.setdefault(id(tensor), name)
            if known != name:
                further[name] = known
        return further


@contextmanager
def _images_of(task: Any, source: ImageSource | None) -> Iterator[None]:
    """While entered, a task without images has those that are shown.

    Raises:
        NothingToShow: If there are none at all.
    """
    own = task.source
    if own is None and source is None:
        raise NothingToShow("views can be shown of a supervisor with a dataset and a Collator")
    task.source = source if own is None else own
    try:
        yield
    finally:
        task.source = own


def _short_names() -> dict[type[Any], str]:
    """What `SUPERVISORS` calls each algorithm."""
    # That table has this one in it, so it is there only once all files are.
    from super_selfish.supervisors import SUPERVISORS

    return {kind: name for name, kind in SUPERVISORS.items()}


def _are_supervisors(given: Any) -> bool:
    return (
        isinstance(given, list | tuple)
        and len(given) > 0
        and all(isinstance(task, Supervisor) for task in given)
    )


def _pair(task: Any) -> tuple[str, dict[str, Any]]:
    is_pair = isinstance(task, tuple | list) and len(task) == 2
    if not (is_pair and isinstance(task[0], str) and isinstance(task[1], Mapping)):
        raise TypeError(
            'a task is a name such as "rotate", a pair such as ("jigsaw", {"grid": 2}), or a '
            f"supervisor, got {task!r}"
        )
    return task[0], dict(task[1])


def _described(tasks: Sequence[Any]) -> tuple[tuple[str, dict[str, Any]], ...] | None:
    """The tasks as names and arguments, for a checkpoint; None if one is the user's own."""
    short = _short_names()
    found = []
    for task in tasks:
        if any(task.arguments[name] is not None for name in task.not_stored):
            return None  # it must be given again
        left_out = _OF_ALL | OPTIONS | task.not_stored
        own = {k: v for k, v in task.arguments.items() if k not in left_out}
        if type(task) not in short or not all(is_plain(value) for value in own.values()):
            return None
        found.append((short[type(task)], own))
    return tuple(found)


def _plain_backbone(tasks: Sequence[Any], network: nn.Module) -> Any:
    """The backbone by its name, if that builds such a network; else the network.

    Some algorithms build other ones by a name: CPC takes layer norm, CMC one for each half.
    """
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    for task in tasks:
        given = task.arguments.get("backbone")
        if isinstance(given, nn.Module):
            continue
        with torch.random.fork_rng(devices=[]):
            built = build_backbone(given, task.in_channels, task.image_size, task.stem)
        if {name: value.shape for name, value in built.state_dict().items()} == wanted:
            return given
    return network
