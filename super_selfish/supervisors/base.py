"""The recipe of every algorithm, stated once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from super_selfish.data.collate import Collator, LabelCollator
from super_selfish.data.feed import Feed
from super_selfish.data.file_reader import Loader
from super_selfish.data.fitting import parse_size
from super_selfish.data.frames import Pages
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.reading import Reading, open_loader
from super_selfish.data.sources import ImageSource
from super_selfish.data.value_range import Range
from super_selfish.data.workers import DEFAULT_TIMEOUT, parse_timeout, worker_faults_explained
from super_selfish.losses.counted import counted
from super_selfish.models import (
    CombinedNet,
    FeatureShape,
    build_backbone,
    build_normalize,
    feature_shape,
)
from super_selfish.models.freezing import release
from super_selfish.models.number_format import require_float32, require_no_half
from super_selfish.models.stems import check_stem, refuse_stem
from super_selfish.supervisors import footprint
from super_selfish.supervisors.arguments import (
    check_keywords,
    constructor_keywords,
    kind_of,
    record_arguments,
)
from super_selfish.supervisors.deciding import tell_settings
from super_selfish.supervisors.diagnostics import (
    batches_of_one_explained,
    warn_if_exploded,
    warn_if_ill,
)
from super_selfish.supervisors.image_options import ImageOptions
from super_selfish.supervisors.keeping import Keeper
from super_selfish.supervisors.persistence import resume_supervisor, stored_batch_size, take_weights
from super_selfish.supervisors.placement import place_for_training
from super_selfish.supervisors.pretrained import Pretrained, Size
from super_selfish.supervisors.refusals import (
    require_counts,
    require_functions,
    warn_of_classifiers,
    warn_of_frozen,
)
from super_selfish.supervisors.start import Start, note_start
from super_selfish.training import distributed
from super_selfish.training.acceleration import compiled, fused, lay_out, uncompiled
from super_selfish.training.advice import Advice
from super_selfish.training.allocator import kept_memory
from super_selfish.training.checkpoint import has_checkpoint
from super_selfish.training.devices import parse_device
from super_selfish.training.farewell import takes_leave
from super_selfish.training.given import check_setting, check_together
from super_selfish.training.history import Row
from super_selfish.training.locking import lock_of
from super_selfish.training.monitoring import EpochMonitor
from super_selfish.training.naming import fixed_name, require_writable
from super_selfish.training.optimizers import by_name, require_optimizer
from super_selfish.training.plain import plain_setting
from super_selfish.training.precision import autocast, gradient_scaler
from super_selfish.training.progress import Progress
from super_selfish.training.run import Losses, Run
from super_selfish.training.schedules import (
    build_schedule,
    constant,
    step_schedule,
    steps_every_update,
)
from super_selfish.training.settings import announce_beginning
from super_selfish.training.spelling import spelling_checked
from super_selfish.training.typed import arguments_checked

DEFAULT_IMAGE_SIZE = 225


def _constructor(supervisor: object) -> dict[str, Iterable[str]]:
    """Where a keyword that `supervise()` does not take may belong."""
    return {f"{type(supervisor).__name__}()": constructor_keywords(type(supervisor))}


class Supervisor(Pretrained):
    """Trains a network by a pretext task.

    As it stands it trains any network on what a collator makes of a dataset. An algorithm overrides
    hooks, each of which keeps its signature:

    | hook | does | a subclass |
    |---|---|---|
    | `_load_pretrained` | restores the weights | leaves it alone |
    | `_init_data_optimizer` | builds loader, optimizer, schedule | extends it, with `super()` |
    | `_epochs` | loops, moves the batch to the device, logs, stores | leaves it alone |
    | `_forward(data)` | a batch in, a scalar loss out | writes it: this is the algorithm |
    | `_update(loss, optimizer, lr_scheduler)` | backward, step, schedule | extends it |

    A subclass may also write `_health(row)`, which is asked after every epoch.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Supervisor:
        """Keeps the arguments of the constructor, of every subclass, for the checkpoint."""
        check_keywords(cls, kwargs, {"supervise()": inspect.signature(cls.supervise).parameters})
        self = super().__new__(cls)
        object.__setattr__(self, "arguments", record_arguments(cls, args, kwargs))
        return self

    clip_norm: float | None = None  # an algorithm's own, where supervise() is given none

    def __init__(
        self,
        model: nn.Module | None = None,
        dataset: Any = None,
        loss: Callable[..., Tensor] | None = None,
        collate_fn: Collator | Callable[[list[Any]], Any] | None = None,
        *,
        image_size: Size | None = None,
        in_channels: int | None = None,
        stem: str = "auto",
        device: torch.device | str | int | None = None,
        on_error: Literal["raise", "skip"] | None = None,
        value_range: Range = None,
        pages: Pages = None,
        loader: Loader | None = None,
    ) -> None:
        """Builds a supervisor.

        Args:
            model: Network to train, usually a `CombinedNet`. Algorithms build their own afterwards.
            dataset: Images, as anything that `ImageSource` takes; not needed to load.
            loss: Function of outputs and targets, for the `_forward` of this class.
            collate_fn: A `Collator`, or a function from a list of the dataset's items to what
                `_forward` eats. Default: images and the dataset's labels.
            image_size: Side or (height, width) in pixels to which images are resized. Default: that
                of the dataset if it is uniform, else 225.
            in_channels: Channels of the images. Default: those of the dataset, else 3.
            stem: How a backbone begins that is built by name, `"auto"`, `"imagenet"`, `"medium"` or
                `"small"`; see `super_selfish.models.build_backbone`.
            device: Where the networks are, and train. Default: on the CPU until `supervise()`,
                which trains on an accelerator where torch finds one; of several the first, or with
                `torchrun` that of the process. `.to(device)` and `.cpu()` say it as well.
            on_error: `"raise"` (the default) or `"skip"` where an image cannot be read.
            value_range: Which numbers are black and white, where the type of the images does not
                say it: `(low, high)`, `"percentile"` or `"bits"`. Checkpoints keep it.
            pages: What files of several images hold: `"channels"`, `"frames"`, or the number of the
                one to read.
            loader: Reads files instead of this library: from a path to a PIL image, an array or a
                tensor. `ImageSource` says more of these four.

        Raises:
            ValueError: If `image_size` or `in_channels` is no such number, there is no such stem
                or device, or a stem is chosen for a backbone that is built already.
            TypeError: If `loss` cannot be called, or a keyword is none of the constructor's.
        """
        super().__init__()
        self.image_options = ImageOptions(on_error, value_range, pages, loader)
        self.source = self.image_options.open(dataset, image_size, in_channels)
        self.value_range = self.image_options.known_range(self.source)
        if self.source is not None:
            self.image_size, self.in_channels = self.source.image_size, self.source.in_channels
        else:
            self.image_size = parse_size(DEFAULT_IMAGE_SIZE if image_size is None else image_size)
            self.in_channels = 3 if in_channels is None else in_channels
        require_counts(in_channels=self.in_channels)
        require_functions(loss=loss)
        check_stem(stem)
        for name, value in self.arguments.items():
            if isinstance(value, nn.Module):
                require_float32(value, name)
                refuse_stem(stem if name == "backbone" else "auto", f"your {kind_of(value)}")
        self.stem = stem
        if device is not None:
            parse_device(device)  # before networks are built; they go there once all are
        self._resolve(image_size=self.image_size, in_channels=self.in_channels)
        warn_of_classifiers(model, self.arguments.get("backbone"))
        self.model: Any = model
        self.loss: Any = loss
        self.collate_fn = LabelCollator() if collate_fn is None else collate_fn
        self.run: Run | None = None
        self.epochs_seen = 0
        self.start: Start | None = None
        self._parts: dict[str, Tensor] = {}
        self._reading = Reading()

    def forward(self, data: Any) -> Losses:
        """The loss of a batch, as `_forward` gives it."""
        return self._forward(data)

    @takes_leave
    @spelling_checked(_constructor)
    @arguments_checked(check_setting, check_together)
    def supervise(
        self,
        lr: float = 1e-3,
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
        cache: str | os.PathLike[str] | None = None,
        dataset_on_device: bool = False,
        worker_timeout: float | str | None = DEFAULT_TIMEOUT,
        channels_last: bool | None = None,
        compile: bool = False,
        compile_augmentation: bool = False,
        on_nan: str = "raise",
        keep_last: int = 2,
        overwrite: bool = False,
    ) -> Supervisor:
        """Trains.

        Training on draws on: a second run of this object, or of what it loaded, has the order and
        the augmentation of the epochs that come after those it has seen, and replays none.

        Args:
            lr: Learning rate.
            optimizer: Called with the parameters and `lr`; those of torch with `fused=True` too,
                where they and the device know it. Or a name: `"adam"` and `"adamw"` as torch has
                them, `"sgd"` with momentum 0.9 and weight decay 1e-4, `"lars"` (BYOL's).
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
                step computes must be the same, the arguments of the constructor among it.
            precision: `"fp32"`, `"bf16"` or `"fp16"`, in which the networks run. Most accelerators
                gain by `"bf16"`; on a CPU a ResNet does (1.8 times) and EfficientNet loses.
            checkpoint_every: Steps, or a time such as `"10min"`, between two checkpoints. One is
                stored anyway at the end, on Ctrl-C, SIGTERM and SIGHUP (which leave after the
                step), on SIGUSR1 (which goes on), and on an error between two steps. An error
                within a step stores nothing: the step is not whole.
            accumulate: Batches that make one update, as one large batch would: each weighs by its
                images, or by what else its loss averages over (ContextNet over the pixels of holes,
                torch's cross-entropy over labels that are not ignored, by class weights); queues,
                memories and momentum encoders move once an update. It is not that one batch for
                three: batch norm, whose statistics are those of `batch_size` images and whose
                running ones move once a batch; losses that tell images of a batch from one another
                (CPC), which tell those of `batch_size`; and losses of your own that average over
                something else than images and do not say so (`_counts`).
            clip_norm: Largest norm of the gradients of an update; None leaves it to the algorithm,
                most of which do not clip.
            time_limit: A time such as `"10min"` after which the run is stored and ends, though it
                may be amid an epoch; `resume` goes on.
            progress: Whether to show how far training is: a bar in terminals and notebooks, in logs
                a line at the start, an epoch (at most one a minute), and at the end.
            monitor: Looks at the backbone after epochs, such as an `evaluation.Monitor()`.
            cache: Path of a file that keeps the images of a folder decoded and resized: built once,
                checked against the files, shared by all runs; see `ImageSource.cached`.
            dataset_on_device: Keeps the whole dataset where the networks are, as one tensor.
            worker_timeout: Seconds, or a time such as `"5min"`, after which the run ends if the
                processes that read images (`num_workers`) give no batch; None waits for ever.
            channels_last: Whether convolutions compute with channels next to each other, which does
                not change results. None: yes, except on Apple's processors, and in a network with
                classes of your own, whose `view` of a map may want another layout.
            compile: Whether `torch.compile` runs the networks while they train: minutes the first
                time, then faster steps. The modules and their checkpoints stay what they are.
            compile_augmentation: Whether `torch.compile` runs colours and blur of the augmentation:
                half a minute the first time, then the same views sooner.
            on_nan: `"raise"` ends the run at a loss or gradient that is not finite, with the step
                and the images of its batch in the message and in `name + "-nan.pt"`. `"skip"`
                leaves such an update out, and counts it in the history; it keeps a copy of buffers.
            keep_last: Checkpoints that are kept: the newest, and as `name + "-previous.pt"` the one
                before, which is taken with a warning where the newest is damaged.
            overwrite: Replaces a former run at `name`, and keeps none of its files.

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
        if self.source is None:
            raise ValueError(
                f"there is nothing to train on: {type(self).__name__}(dataset) takes the images"
            )
        require_no_half(self)
        self._ready_backbone()
        place_for_training(self)
        device = self.device
        distributed.join_processes(device)
        lr, epochs, batch_size, num_workers = map(
            plain_setting, (lr, epochs, batch_size, num_workers)
        )
        if name is not None:
            name = fixed_name(name)
        is_chosen = isinstance(batch_size, str)
        if isinstance(batch_size, str):
            stored_size = stored_batch_size(name) if resume and name is not None else None
            batch_size = stored_size or footprint.fitting_batch(self, precision)
        self.run = run = Run(
            name=name,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            precision=precision,
            accumulate=accumulate,
            clip_norm=self.clip_norm if clip_norm is None else clip_norm,
            checkpoint_every=checkpoint_every,
            time_limit=time_limit,
            progress=progress,
            device=device,
            scaler=gradient_scaler(precision, device),
            num_images=len(self.source),
            monitor=monitor,
            compile=compile,
            compile_augmentation=compile_augmentation,
            on_nan=on_nan,
            keep_last=keep_last,
            buffers=self.buffers,
        )
        if is_chosen:
            run.chosen = f'batch_size="auto" took {batch_size} images a step'
        if name is not None and distributed.rank() == 0:
            require_writable(name, run.keep_last)
        self._reading = Reading(
            cache,
            dataset_on_device,
            progress and distributed.rank() == 0,
            parse_timeout(worker_timeout),
        )
        with lock_of(name):
            stored = None
            if name is not None:
                if resume and has_checkpoint(name):
                    stored = resume_supervisor(self, name)
                else:
                    self._load_pretrained(name, pretrained)
                    if resume:
                        announce_beginning(name)
                shall_replace = overwrite and has_checkpoint(name)
                self.files.begin_run(name, replaces=shall_replace or stored is not None)
            if stored is None:
                note_start(self, name if pretrained else None)
            run.epochs_before = (
                self.epochs_seen if stored is None else stored.get("epochs_before", 0)
            )
            lay_out(self, channels_last)
            build_optimizer = fused(by_name(optimizer), list(self.parameters()))
            train_loader, run.optimizer, run.lr_scheduler = self._init_data_optimizer(
                build_optimizer, batch_size, shuffle, num_workers, self.collate_fn, lr, lr_scheduler
            )
            tell_settings(self)
            if stored is not None:
                run.load_state_dict(stored)
            if monitor is not None:
                monitor.start(self)
            run.footprint = footprint.tell(self)
            self.loaded = None  # from here on these networks are those of this run
            with (
                kept_memory(device),
                compiled(self, compile),
                footprint.fitting_explained(self),
                batches_of_one_explained(),
                worker_faults_explained(train_loader),
            ):
                self._epochs(epochs, train_loader, run.optimizer, run.lr_scheduler)
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
        run, source = self._running()
        batches = EpochBatches(
            len(source),
            batch_size,
            shuffle=shuffle,
            seed=run.seed,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        batches.start_at(run.epochs_before)
        run.steps_per_epoch = len(batches)
        loader = open_loader(
            source, batches, collate_fn, run.device, num_workers=num_workers, reading=self._reading
        )
        built = optimizer([p for p in self.parameters() if p.requires_grad], lr=lr)
        require_optimizer(built)
        return loader, built, build_schedule(lr_scheduler, built, run.total_updates, run.epochs)

    def _epochs(
        self, epochs: int, train_loader: DataLoader[Any], optimizer: Any, lr_scheduler: Any
    ) -> None:
        """Loops over epochs and steps, and stores the run however it ends."""
        run, source = self._running()
        has_cache = not getattr(train_loader.dataset, "decodes_files", False)
        feed = Feed(train_loader, self.collate_fn, run.device, run.seed, distributed.rank())
        feed.compiles = run.compile_augmentation
        advice = Advice(run.batch_size, train_loader.num_workers, has_cache=has_cache)
        bar = Progress(
            type(self).__name__,
            run,
            advice,
            shown=distributed.rank() == 0,
            skips=source.on_error == "skip",
        )
        bar.note(source.size_remark)
        bar.note(source.remark)
        keeper = Keeper(self, run, feed.indices)
        self.train()
        with (
            closing(bar),
            torch.random.fork_rng(devices=[]),
            keeper,
            run.accumulation,
            distributed.parallel(self) as step,
        ):
            while not run.is_over():
                for data in feed.epoch(run.epochs_before + run.epoch, run.step):
                    with keeper.step():
                        run.accumulation.begin(feed.images, run.batches_in_update)
                        with autocast(run.precision, run.device):
                            loss = step(data)
                        run.check_finite(loss)
                        self._update(loss, optimizer, lr_scheduler)
                        run.end_step(loss, self._parts, feed)
                        self.epochs_seen = run.epochs_before + run.epoch + 1
                    bar.show(run, feed)
                    keeper.after_step()
                    if run.is_over():
                        break
                if run.step == run.steps_per_epoch:
                    with keeper.step():
                        row = run.end_epoch()
                    illness = self._health(row)
                    run.history.keep_plain(row)
                    warn_if_ill(illness, run)
                    warn_if_exploded(row, run)
                    if run.monitor is not None:
                        with uncompiled(run.compile):
                            verdict = run.monitor.after_epoch(self, row)
                        run.history.keep_plain(row)
                        warn_if_ill(verdict, run)
                    bar.after_epoch()
        bar.conclude(len(feed.left_out))

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
        run.scaler.scale(run.accumulation.weigh(loss)).backward()
        if not run.updates_now:
            return False
        run.accumulation.end_update(self.parameters())
        if run.clip_norm is not None:
            run.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters(), run.clip_norm)
        moved = run.move(optimizer, self.named_parameters())
        optimizer.zero_grad(set_to_none=True)
        if run.is_last_of_epoch or steps_every_update(lr_scheduler):
            step_schedule(lr_scheduler, moved)
        return moved

    def _health(self, row: Row) -> str | None:
        """Judges an epoch.

        Args:
            row: Its row of the history.

        Returns:
            None, or one sentence that says how training fails and what would help.
        """
        return None

    def _combine(
        self,
        backbone: nn.Module | str | None,
        predictor: nn.Module | None,
        default: Callable[[FeatureShape], nn.Module],
        normalize: Any = None,
        *,
        of_map: bool = False,
        image_size: tuple[int, int] | None = None,
    ) -> CombinedNet:
        """Backbone and predictor in one network.

        Args:
            backbone: A network, its name, or None for an EfficientNet-B0.
            predictor: A network, or None for the default.
            default: Makes the predictor for the shape that the backbone has at the real image size.
            normalize: None, `"imagenet"`, or `(mean, std)`: done to images before the backbone.
            of_map: Whether the predictor takes the feature map instead of pooled features.
            image_size: Height and width of what the backbone sees, where it sees no whole images.

        Returns:
            The network.
        """
        size = image_size or self.image_size
        backbone = build_backbone(backbone, self.in_channels, size, self._stem_of(backbone))
        if predictor is None:
            predictor = default(feature_shape(backbone, self.in_channels, size, of_map=of_map))
        return CombinedNet(backbone, predictor, build_normalize(normalize, self.in_channels))

    def _stem_of(self, backbone: nn.Module | str | None) -> str:
        """The `stem=` of the constructor, for a network that is not built yet."""
        return "auto" if isinstance(backbone, nn.Module) else self.stem

    def _resolve(self, **values: Any) -> None:
        """Notes what a constructor's argument that was None came to be, for the checkpoint."""
        self.arguments.update((k, v) for k, v in values.items() if k in self.arguments)

    def _log(self, **values: Tensor) -> None:
        """Notes scalars of the present step; the history keeps their mean of the epoch."""
        self._parts.update(values)

    def _write_memory(self, write: Callable[..., object], *values: Tensor) -> None:
        """Writes to what is remembered between updates, once all batches of this one are through.

        Args:
            write: Such as `queue.enqueue`.
            *values: Its arguments.
        """
        if self.run is None:
            write(*values)
        else:
            self.run.accumulation.write(write, *values)

    def _counts(
        self,
        number: Tensor | float | None,
        part: Tensor | None = None,
        player: str | None = None,
    ) -> None:
        """Says in `_forward` what the loss is a mean over, where that is not images.

        Batches of one update (`accumulate`), and those of several processes, weigh by it.

        Args:
            number: How much counts in this batch, a scalar or 0-d tensor; best as a number of
                images (pixels that count / pixels of an image). None: images, as if not called.
            part: The term of the loss that is such a mean, where the rest is one over images.
            player: Of several players, the one to whose loss `part` belongs.
        """
        if self.run is not None and number is not None:
            self.run.accumulation.count(number, part, player)

    def _running(self) -> tuple[Run, ImageSource]:
        """The run and its images, inside `supervise()`."""
        if self.run is None or self.source is None:
            raise RuntimeError("this hook works inside supervise() only")
        return self.run, self.source
