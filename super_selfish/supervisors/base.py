"""The recipe of every algorithm, stated once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from super_selfish.data.collate import Collator
from super_selfish.data.growing import GrowingBatches, Growth
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.reading import open_loader
from super_selfish.data.sources import ImageSource
from super_selfish.data.stream_order import order_of
from super_selfish.data.workers import DEFAULT_TIMEOUT
from super_selfish.losses.counted import counted
from super_selfish.models.freezing import release
from super_selfish.supervisors.arguments import (
    check_keywords,
    constructor_keywords,
    record_arguments,
)
from super_selfish.supervisors.defaults import RATE
from super_selfish.supervisors.following import updates_before
from super_selfish.supervisors.loop import Loop
from super_selfish.supervisors.noting import Noting
from super_selfish.supervisors.persistence import take_weights
from super_selfish.supervisors.preparing import prepared
from super_selfish.supervisors.pretrained import Size as Size
from super_selfish.supervisors.refusals import (
    warn_of_frozen,
)
from super_selfish.supervisors.traffic import Gathered
from super_selfish.training import distributed
from super_selfish.training.averaging import EMA, Polyak
from super_selfish.training.farewell import takes_leave
from super_selfish.training.given import check_setting, check_together
from super_selfish.training.history import Row
from super_selfish.training.monitoring import EpochMonitor
from super_selfish.training.optimizers import build_optimizer
from super_selfish.training.run import Losses, Run
from super_selfish.training.schedules import (
    build_schedule,
    constant,
    hold_constant,
    step_schedule,
    steps_every_update,
)
from super_selfish.training.spelling import spelling_checked
from super_selfish.training.typed import arguments_checked
from super_selfish.training.weight_decay import set_decay


def _constructor(supervisor: object) -> dict[str, Iterable[str]]:
    """Where a keyword that `supervise()` does not take may belong."""
    return {f"{type(supervisor).__name__}()": constructor_keywords(type(supervisor))}


class Supervisor(Noting):
    """Trains a network by a pretext task.

    As it stands it trains any network on what a collator makes of a dataset. An algorithm overrides
    hooks, each of which keeps its signature:

    | hook | does | a subclass |
    |---|---|---|
    | `_load_pretrained` | restores the weights | leaves it alone |
    | `_init_data_optimizer` | builds loader, optimizer, schedule | extends it, with `super()` |
    | `_epochs` | loops, moves the batch to the device, logs, stores | leaves it alone |
    | `_forward(data)` | a batch in, a scalar loss out | writes it: this is the algorithm |
    | `_update(loss, optimizer, lr_scheduler)` | backward, step, schedule | leaves it alone |

    and, smaller ones that do nothing unless a subclass writes them,

    | hook | is asked |
    |---|---|
    | `_parameter_groups(named, lr)` | for the groups that the optimizer gets |
    | `_before_step()` | when the gradients of an update are there |
    | `_after_step(run)` | when the weights have moved, such as by momentum encoders |
    | `_fit_to_run(run)` | before anything of a new run is built, for what its length decides |
    | `_caution(run)` | before the first step, whether a setting does harm |
    | `_health(row)` | after every epoch, whether training fails |
    | `_gathers(images)` | what several processes send besides gradients |

    Supervisors within a supervisor (as attributes of it) are asked the middle three alike, whoever
    trains them; groups and health are for the one that trains to say.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Supervisor:
        """Keeps the arguments of the constructor, of every subclass, for the checkpoint."""
        check_keywords(cls, kwargs, {"supervise()": inspect.signature(cls.supervise).parameters})
        self = super().__new__(cls)
        object.__setattr__(self, "arguments", record_arguments(cls, args, kwargs))
        return self

    default_lr: ClassVar[float] = RATE  # where supervise() is given none
    growth: Growth | None = None  # where images join one by one
    clip_norm: float | None = None  # an algorithm's own, where supervise() is given none
    against_sync_batch_norm: str | None = None  # why an algorithm must not have it, in words

    def forward(self, data: Any) -> Losses:
        """The loss of a batch, as `_forward` gives it."""
        return self._forward(data)

    @takes_leave
    @spelling_checked(_constructor)
    @arguments_checked(check_setting, check_together)
    def supervise(
        self,
        lr: float | None = None,
        optimizer: Callable[..., Optimizer] | str = torch.optim.Adam,
        epochs: int = 10,
        batch_size: int | str = 32,
        shuffle: bool = True,
        num_workers: int = 0,
        name: str | os.PathLike[str] | None = "store/base",
        pretrained: bool = False,
        lr_scheduler: Callable[..., LRScheduler] | str = constant,
        *,
        seed: int = 0,
        resume: bool = False,
        precision: str = "fp32",
        checkpoint_every: int | str | None = "10min",
        accumulate: int = 1,
        clip_norm: float | None = None,
        time_limit: str | None = None,
        progress: bool = True,
        monitor: EpochMonitor | None = None,
        callbacks: Sequence[Any] | Any = (),
        cache: str | os.PathLike[str] | None = None,
        dataset_on_device: bool = False,
        worker_timeout: float | str | None = DEFAULT_TIMEOUT,
        devices: int | Sequence[Any] | None = None,
        channels_last: bool | None = None,
        compile: bool = False,
        compile_augmentation: bool = False,
        sync_batch_norm: bool = False,
        on_nan: str = "raise",
        averaging: str | EMA | Polyak | None = None,
        lr_scaling: str | None = None,
        keep_last: int = 2,
        overwrite: bool = False,
        steps_per_epoch: int | None = None,
        weight_decay: float | tuple[float, float] | None = None,
    ) -> Supervisor:
        """Trains.

        Training on draws on: a second run of this object, or of what it loaded, has the order and
        the augmentation of the epochs that come after those it has seen, and replays none.

        Args:
            lr: Learning rate; see `lr_scaling`. Default: 1e-3, Adam's own; 2e-4 for visual counting
                and 3e-4 for BiGAN. A line at the start says it.
            optimizer: Called with the parameters and `lr` (and `named_parameters`, a dict, if it
                takes that); those of torch with `fused=True` too, where they and the device know
                it. Or a name: `"adam"` and `"adamw"` as torch has them, `"sgd"` with momentum 0.9
                and weight decay 1e-4, `"lars"` (BYOL's), `"lamb"` (timm's, an extra).
            epochs: Passes over the dataset, in total where a run is resumed.
            batch_size: Images a step (and a process). `"auto"`: the power of two that takes at most
                70 % of the memory that is free, 256 at most; a resumed run keeps what it had.
            shuffle: Whether every epoch has an order of its own.
            num_workers: Processes that read images; 0 reads in this one.
            name: Path of the checkpoint, without its ending; None stores nothing. Files of a former
                run at this name get its date as a further name (`store/base-2026-11-28-101200.pt`)
                when this one stores for the first time, and one line says so.
            pretrained: Loads the weights from `name` and starts anew with them; settings are those
                of this object and this call.
            lr_scheduler: Called with the optimizer, and by name with those of `total_steps` (all
                updates), `steps_per_epoch` (updates) and `epochs` that it takes; stepped once an
                epoch, or once an update if it has `interval = "step"` or took a number of updates.
                `"cosine"`: warm-up for 10 epochs, a tenth of the run at most, then a cosine to 0;
                `training.schedules.Cosine(warmup_epochs=5, end_lr=1e-6)` sets the two.
            seed: Decides the order of the images, all augmentation, and dropout; not the first
                weights, which the constructor draws from torch's global stream: equal runs begin
                with `torch.manual_seed` before the constructor, and end with equal seeds here.
            resume: Goes on from the checkpoint at `name`, or starts anew where there is none, and
                says so.
                `lr`, `epochs` and `lr_scheduler` may differ from those of the stored run, whose
                rest is then as if it had had them from the start; all else that decides what a
                step computes must be the same, the arguments of the constructor among it. Another
                number of processes goes on with the images of the epoch that none has seen, also
                with another `batch_size` and `accumulate`; a line says what is another one by that.
            precision: `"fp32"`, `"bf16"` or `"fp16"`, in which the networks run. Most accelerators
                gain by `"bf16"`; on a CPU a ResNet does (1.8 times) and EfficientNet loses.
                `"auto"`: fp32, or bf16 where a few steps of this network on this device are at
                least 1.1 times as fast in it, measured before the first step; a line says both
                times, and a resumed run keeps what it had.
            checkpoint_every: Steps, or a time such as `"10min"`, between two checkpoints. One is
                stored anyway at the end, on Ctrl-C, SIGTERM and SIGHUP (which leave after the
                step), on SIGUSR1 (which goes on), and on an error between two steps. An error
                within a step stores nothing: the step is not whole.
            accumulate: Batches that make one update, as one large batch would: each weighs by its
                images, or by what else its loss averages over (ContextNet over the pixels of holes,
                torch's cross-entropy over labels that are not ignored, by class weights); queues,
                memories and momentum encoders move once an update. It is not that one batch for
                three: batch norm, whose statistics are those of `batch_size` images and whose
                running ones move once a batch; losses that compare the images of a batch (CPC,
                SimCLR, NNCLR, SwAV, Barlow Twins, VICReg, LeJEPA), which see those of `batch_size`;
                and losses of your own that average over something else than images and do not say
                so (`_counts`).
            clip_norm: Largest norm of the gradients of an update; None leaves it to the algorithm:
                3.0 for DINO and 0.01 for CPC unless their constructors are told otherwise, others
                do not clip.
            time_limit: A time such as `"10min"` after which the run is stored and ends, though it
                may be amid an epoch; `resume` goes on.
            progress: Whether to show how far training is: a bar in terminals and notebooks, in logs
                a line at the start, an epoch (at most one a minute), and at the end.
            monitor: Looks at the backbone after epochs, such as an `evaluation.Monitor()`; it is
                the first of the callbacks.
            callbacks: Told of the start, steps, epochs, checkpoints and the end: `EarlyStopping`,
                `Checkpoints`, `TensorBoard` and others of `super_selfish.training`, or a `Callback`
                of your own. One that raises ends the run, which is stored.
            cache: Path of a file that keeps the images of a folder decoded and resized: built once,
                checked against the files, shared by all runs; see `ImageSource.cached`.
            dataset_on_device: Keeps the whole dataset where the networks are, as one tensor.
            worker_timeout: Seconds, or a time such as `"5min"`, after which the run ends if the
                processes that read images (`num_workers`) give no batch; None waits for ever.
            devices: How many accelerators of this machine share each batch (4), or which
                (`[0, 1]`). None: all that are visible, where the networks are on one and nobody
                gave its number, as `device=1` does; `compile=True` takes one. Checkpoints are
                those of one device; a resumed run takes as many as it had. Batch norm's statistics
                are those of a device's share. `torchrun` is faster than this.
            channels_last: Whether convolutions compute with channels next to each other, which does
                not change results. None: yes, except on Apple's processors, and in a network with
                classes of your own, whose `view` of a map may want another layout.
            compile: Whether `torch.compile` runs the networks while they train: minutes the first
                time, then faster steps. The modules and their checkpoints stay what they are.
            compile_augmentation: Whether `torch.compile` runs colours and blur of the augmentation:
                half a minute the first time, then the same views sooner.
            sync_batch_norm: Whether batch norm takes its statistics over the batches of all
                processes (torch's `SyncBatchNorm`, on GPUs), as the authors of BYOL, SimCLR, SwAV,
                SimSiam and Barlow Twins do; MoCo v2 must not. Networks and checkpoints stay what
                they are; with one process nothing changes.
            on_nan: `"raise"` ends the run at a loss or gradient that is not finite, with the step
                and the images of its batch in the message and in `name + "-nan.pt"`. `"skip"`
                leaves such an update out, and counts it in the history; it keeps a copy of buffers.
            averaging: `"ema"` or `"polyak"` keeps a second set of the backbone's weights, their
                average over updates, which training never sees: `get_backbone(averaged=True)` has
                it, `evaluate` rates it, checkpoints hold it. `"ema"`: exponential, of decay 0.999,
                or 0.9999 by `training.EMA(0.9999)`, which papers call Polyak's too. `"polyak"`: the
                uniform mean over the last quarter of the run, or another part by
                `training.Polyak(last=0.5)`; batch norm gets its statistics at the end, by one more
                pass over the images.
            lr_scaling: `"linear"` or `"sqrt"`: `lr` is that for 256 images an update, and grows
                with the images `G` of one (`batch_size * accumulate`, times the processes) to
                `lr * G / 256`, or `lr * sqrt(G / 256)`, which for `lr=1.2` is SimCLR's
                `0.075 * sqrt(G)`. A line says the rate. None: `lr` is the rate.
            keep_last: Checkpoints that are kept: the newest, and as `name + "-previous.pt"` the one
                before, which is taken with a warning where the newest is damaged.
            overwrite: Replaces a former run at `name`, and keeps none of its files.
            steps_per_epoch: How long an epoch is, of a stream of which nobody knows how many images
                it has. Then an epoch goes on where the last one ended; see `data.StreamSource`.
            weight_decay: Of weights; norms and biases, the tensors of one dimension, then have
                none. Two numbers, such as `(0.04, 0.4)` (DINO's), are that of the first and of the
                last update, between which it goes along half a cosine; it is made for `"adamw"`,
                where Adam and SGD add it to the gradients. It takes the place of a default of the
                optimizer; beside one that a `partial` gives it is refused. None: that of the
                optimizer, for all that trains unless the algorithm says otherwise.

        Returns:
            This supervisor.

        Raises:
            NameInUseError: If another run, of any process, is writing at `name`.
            ValueError: If there is no dataset, a setting makes no sense, or a run shall be resumed
                that was another one; the message names both values.
            FileNotFoundError: If `pretrained` and there is no checkpoint.
            OutOfMemoryError: If there is not enough memory; the message says which batch to try.
            NonFiniteLossError: If a loss or gradient is not finite.
            OSError: If nothing can be stored at `name`; before the first step, or at the end.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        with prepared(self, given) as (run, loader):
            self._epochs(run.epochs, loader, run.optimizer, run.lr_scheduler)
        return self

    def _ready_backbone(self) -> None:
        """Before training, lets go what a `LabelSupervisor` has frozen in the same networks."""
        release(self)
        warn_of_frozen(self)

    def _load_pretrained(self, name: str | os.PathLike[str], pretrained: bool) -> None:
        """Loads the weights at `name` if `pretrained`."""
        if pretrained:
            take_weights(self, name)

    def _init_data_optimizer(
        self,
        optimizer: Callable[..., Optimizer],
        batch_size: int,
        shuffle: bool,
        num_workers: int,
        collate_fn: Collator | Callable[[list[Any]], Any],
        lr: float,
        lr_scheduler: Callable[..., LRScheduler] | str,
    ) -> tuple[DataLoader[Any], Any, Any]:
        """Builds the loader, the optimizer of everything that trains, and the schedule."""
        run, _ = self._running()
        source, batches = self._images_in_order(batch_size, shuffle)
        batches.start_at(run.epochs_before)
        loader = open_loader(
            source, batches, collate_fn, run.device, num_workers=num_workers, reading=self._reading
        )
        run.steps_per_epoch = len(batches)
        run.stream = getattr(loader, "position", None)
        run.remarks += getattr(loader, "remarks", [])
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        groups = self._parameter_groups(named, lr)
        built = build_optimizer(optimizer, groups, named, lr, run.weight_decay)
        return loader, built, build_schedule(lr_scheduler, built, run.total_updates, run.epochs)

    def _images_in_order(self, batch_size: int, shuffle: bool) -> tuple[ImageSource, EpochBatches]:
        """The images of a run, and the order in which this process sees them."""
        run, source = self._running()
        return source, self._order_of(source, batch_size, shuffle, run.seed)

    def _order_of(
        self, source: ImageSource, batch_size: int, shuffle: bool, seed: int
    ) -> EpochBatches:
        run, _ = self._running()
        place: dict[str, Any] = {
            "shuffle": shuffle,
            "seed": seed,
            "rank": distributed.rank(),
            "world_size": distributed.world_size(),
        }
        if self.growth is not None:
            return GrowingBatches(self.growth, len(source), batch_size, **place)
        return order_of(source, batch_size, steps=run.steps_per_epoch or None, **place)

    def _parameter_groups(self, named: dict[str, nn.Parameter], lr: float) -> list[dict[str, Any]]:
        """Groups of parameters with settings of their own, as an optimizer of torch takes them.

        Args:
            named: What trains, by name, so that `training.without_decay` or yours can choose.
            lr: Learning rate of `supervise()`.

        Returns:
            Dicts with `"params"`, and what of the group is not as for all, such as `"lr"` or
            `"weight_decay"`; `"constant_lr": True` keeps its rate where the schedule moves others.
        """
        return [{"params": list(named.values())}]

    def _epochs(
        self, epochs: int, train_loader: DataLoader[Any], optimizer: Any, lr_scheduler: Any
    ) -> None:
        """Loops over epochs and steps, and stores the run however it ends."""
        run, _ = self._running()
        with Loop(self, train_loader) as loop:
            while not run.is_over():
                for data in loop.batches():
                    with loop.step():
                        loss = loop.loss(data)
                        self._update(loss, optimizer, lr_scheduler)
                        loop.note(loss)
                    loop.after_step()
                    if run.is_over():
                        break
                if run.step == run.steps_per_epoch:
                    loop.end_epoch()
            loop.end()

    def _forward(self, data: Any) -> Losses:
        """The loss of a batch: here that of the model's outputs against the targets.

        Args:
            data: What the collator made, on the device of the networks.

        Returns:
            A scalar, or for adversarial players a scalar for each by name.
        """
        inputs, targets = data
        if self.loss is None:
            raise ValueError("give loss= to the constructor, or override _forward(data)")
        outputs = self.model(inputs)
        self._counts(counted(self.loss, outputs, targets))
        return self.loss(outputs, targets)

    def _update(self, loss: Any, optimizer: Any, lr_scheduler: Any) -> bool:
        """Backward, and where no more batches are accumulated step and schedule.

        Returns:
            Whether the weights moved.
        """
        run, _ = self._running()
        self._backward(loss, optimizer)
        if not run.updates_now:
            return False
        run.accumulation.end_update(self.parameters())
        run.unscale(optimizer)
        for part in run.parts.values():
            part._before_step()
        if run.clip_norm is not None:
            self._clip(optimizer, run.clip_norm)
        if run.weight_decay is not None:
            set_decay(optimizer, run.weight_decay, updates_before(run), run.total_updates)
        moved = run.move(optimizer, self.named_parameters())
        optimizer.zero_grad(set_to_none=True)
        if moved:
            for part in run.parts.values():
                part._after_step(run)
            run.follow()
        if run.is_last_of_epoch or steps_every_update(lr_scheduler):
            step_schedule(lr_scheduler, moved)
            hold_constant(optimizer)
        return moved

    def _backward(self, loss: Any, optimizer: Any) -> None:
        run, _ = self._running()
        run.scaler.scale(run.accumulation.weigh(loss)).backward()

    def _clip(self, optimizer: Any, norm: float) -> None:
        nn.utils.clip_grad_norm_(self.parameters(), norm)

    def _before_step(self) -> None:
        """What is done to the gradients of an update, before they are clipped and weights move."""

    def _after_step(self, run: Run) -> None:
        """What follows weights that have moved: averages of them, prototypes.

        Args:
            run: Of this supervisor, or of the one that it is a part of.
        """

    def _fit_to_run(self, run: Run) -> dict[str, Any]:
        """Decides what arguments that were left at None are in a run that is about to begin.

        Args:
            run: With its settings; its loader and optimizer are not there yet.

        Returns:
            What was decided, by argument, to be told.
        """
        return {}

    def _caution(self, run: Run) -> str | None:
        """Judges the settings of a run that is about to begin.

        Args:
            run: With its settings, and its length.

        Returns:
            None, or one sentence that says which setting does harm, and what would help.
        """
        return None

    def _gathers(self, images: int) -> list[Gathered]:
        """What of a step all of several processes get, besides averaged gradients.

        Args:
            images: Of a process.
        """
        return []

    def _health(self, row: Row) -> str | None:
        """Judges an epoch.

        Args:
            row: Its row of the history.

        Returns:
            None, or one sentence that says how training fails and what would help.
        """
        return None

    def _running(self) -> tuple[Run, ImageSource]:
        """The run and its images, inside `supervise()`."""
        if self.run is None or self.source is None:
            raise RuntimeError("this hook works inside supervise() only")
        return self.run, self.source
