"""What can be done with a supervisor's networks besides training them: keep, look at, take away."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from super_selfish.data.pictures import Group
from super_selfish.export import export_backbone
from super_selfish.models.wrappers import unwrapped, without_processes
from super_selfish.supervisors.arguments import Arguments
from super_selfish.supervisors.averaging import averaged_backbone
from super_selfish.supervisors.exhibits import views_and_targets
from super_selfish.supervisors.image_options import ImageOptions
from super_selfish.supervisors.persistence import Loaded, restore_supervisor, save_supervisor
from super_selfish.supervisors.placement import SupervisorType, where_to_train
from super_selfish.supervisors.start import Start
from super_selfish.supervisors.story import Rating, story_of
from super_selfish.supervisors.summary import summary_line, summary_table
from super_selfish.training.aside import OwnFiles
from super_selfish.training.averaging import Average
from super_selfish.training.devices import own_device
from super_selfish.training.distributed import (
    is_distributed,
    is_one_of_several,
    join_processes,
)
from super_selfish.training.history import Row
from super_selfish.training.run import Run
from super_selfish.training.waiting import wait_for_all

Size = int | tuple[int, int]
Self = TypeVar("Self", bound="Pretrained")


class Pretrained(nn.Module, metaclass=SupervisorType):
    """Networks with a backbone, which were trained, will be, or come from a checkpoint.

    Attributes:
        model: The network, usually a `CombinedNet`.
        image_size: (height, width) in pixels of the images that it sees.
        in_channels: Channels of these images.
        source: The images to train on, or None.
        image_options: How images are read.
        value_range: `(low, high)`, the numbers that are black and white to the networks; None where
            the type of the images says it.
        run: The last call of `supervise()`, or None.
        loaded: The run of the checkpoint that was loaded, until these networks train; or None.
        epochs_seen: Epochs of which these networks have seen a step, in all runs and checkpoints.
        start: The weights from which the last run began, or None if it began untrained.
        averaged: The averaged weights of the backbone, of a run with `averaging=`; or None.
        arguments: Of the constructor, by name.
        is_placed: Whether the user has said on which device the networks shall be.
        remark: What it has to say before its first step, a line in every display, or nothing.
        is_pinned: Whether by its number, so that others of its kind are left alone.
        against_collapse: What helps against a collapse of this algorithm's features, in words.
        only_for_training: Arguments of the constructor that do not shape the networks: `load()`
            does without, where they were objects of the user's own.
        not_stored: Arguments of the constructor of which a checkpoint holds nothing, besides those
            of every supervisor.
        former_arguments: What the constructor did without arguments that earlier versions had not;
            their checkpoints are read with it.
        former_names: Names that arguments of the constructor had, and those that they have now.
        meanings: What the columns mean that the algorithm adds to the history, a caption each.
        title: Name of the algorithm; without one it goes by its class.
        question: What the algorithm asks of its network, a plain sentence, or nothing.
        paints: Whether the pictures of its `exhibit` are what its network makes of images.
        takes_turns: Whether some parameters have no gradient in some updates.
        own_backbone: Name of its network where none is given, if an EfficientNet-B0 will not do.
        asks_by_number: Whether its network tells the very images of its training, by their number.
    """

    model: Any
    holds_networks = True  # see models/holders.py; its own `forward` gives a loss
    wants_whole_batch = True
    image_size: tuple[int, int]
    in_channels: int
    source: Any
    image_options: ImageOptions
    value_range: tuple[Any, Any] | None
    run: Run | None
    loaded: Loaded | None = None
    epochs_seen: int
    start: Start | None
    averaged: Average | None = None
    arguments: Arguments
    is_placed = False
    is_pinned = False
    takes_turns = False
    remark: str | None = None
    meanings: ClassVar[Mapping[str, str]] = {}
    against_collapse: ClassVar[str] = "lower lr"
    only_for_training: ClassVar[frozenset[str]] = frozenset({"loss", "augmentation", "collate_fn"})
    not_stored: ClassVar[frozenset[str]] = frozenset()
    former_arguments: ClassVar[Mapping[str, Any]] = {}
    former_names: ClassVar[Mapping[str, str]] = {}
    title: ClassVar[str] = ""
    question: ClassVar[str] = ""
    paints: ClassVar[bool] = False
    own_backbone: ClassVar[str | None] = None
    asks_by_number: ClassVar[bool] = False

    def __repr__(self) -> str:
        """What it is, in a line; `print(supervisor.model)` shows the layers."""
        return summary_line(self)

    def _repr_html_(self) -> str:
        """What it is, as a notebook shows it."""
        return summary_table(self)

    @cached_property
    def files(self) -> OwnFiles:
        """Which checkpoints this object may replace without a word."""
        return OwnFiles()

    @property
    def reading(self) -> dict[str, Any]:
        """How images are read for the networks, as keywords of `as_source`."""
        return self.image_options._replace(value_range=self.value_range)._asdict()

    @property
    def dataset(self) -> Any:
        """The dataset as it was given, or None."""
        return None if self.source is None else self.source.dataset

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        tensor = next(self.parameters(), next(self.buffers(), None))
        return torch.device("cpu") if tensor is None else tensor.device

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Moves or converts the networks, as `nn.Module.to`; where to is heeded by `supervise`.

        Of several processes on a machine, an accelerator without a number is that of this one.
        """
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        own = None if device is None else own_device(device)
        if own != device:
            args, kwargs = (own, dtype, non_blocking), {"memory_format": memory_format}
        moved: Self = super().to(*args, **kwargs)
        if device is not None:
            self.is_placed, self.is_pinned = True, device.index is not None
        return moved

    def cpu(self: Self) -> Self:
        """Moves the networks to the CPU, where `supervise` leaves them."""
        return self.to("cpu")

    @property
    def preprocess(self) -> nn.Module:
        """What is done to images in [0, 1] before the backbone; an identity unless `normalize=`."""
        preprocess = getattr(self._bare_model, "preprocess", None)
        return nn.Identity() if preprocess is None else preprocess

    @property
    def history(self) -> list[Row]:
        """A row for each finished epoch of the last run: loss and its parts, lr, images/s, ..."""
        return [] if self.run is None else self.run.history.rows

    def chance_loss(self, row: Row) -> float | None:
        """The loss of a network that only guesses.

        Args:
            row: Of the history, in which some algorithms measure what guessing costs.

        Returns:
            In the units of `row["loss"]`; None where nobody knows.
        """
        return None

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Shows what the network sees of some images, and what it has to say, for people.

        Asked in evaluation mode and without gradients, by `evaluation.show_algorithm`, reports and
        galleries. Here it shows the views alone; an algorithm that has something to say overrides
        it, with the help of `super_selfish.supervisors.exhibits` and `super_selfish.data.pictures`.

        Args:
            index: Positions of images in `source`; it may show the first of them only.
            seed: Of the augmentation.

        Returns:
            Groups of pictures, such as one for each image.
        """
        supervisor: Any = self
        return views_and_targets(supervisor, index, seed)

    def _unfit(self, state: Mapping[str, Any]) -> str | None:
        """What is wrong with tensors that were stored, where their shapes are right.

        Args:
            state: Of the checkpoint, in the names of `state_dict()`.

        Returns:
            A sentence, without its point; None if nothing is.
        """
        return None

    def _others_than(self, state: Mapping[str, Any], prefix: str = "") -> list[str]:
        """What a run that goes on had besides its arguments, and has not here.

        Args:
            state: Tensors of the checkpoint, in the names of its owner's `state_dict()`.
            prefix: Before those of this one.

        Returns:
            A sentence for each, such as of a network that no checkpoint holds.
        """
        return []

    def _told(self) -> dict[str, str]:
        """What its checkpoint tells of a run to who reads about it, besides settings, by name."""
        return {}

    @property
    def _bare_model(self) -> Any:
        return unwrapped(self.model) if isinstance(self.model, nn.Module) else self.model

    def get_backbone(self, *, averaged: bool = False) -> nn.Module:
        """The network to keep: the very module that was given to the constructor, if one was.

        Args:
            averaged: Gives a copy of it with the averaged weights, of a run with `averaging=`.

        Raises:
            ValueError: If there are no averaged weights.
        """
        if averaged:
            return averaged_backbone(self)
        model: Any = self._bare_model
        given = self.arguments.get("backbone")
        # A network that comes in a wrapper for several processes trains without, since we wrap all.
        if isinstance(given, nn.Module) and without_processes(given) is model.backbone:
            return given
        backbone: nn.Module = model.backbone
        return backbone

    def _backbone_in_training(self) -> nn.Module:
        """The backbone that a run changes, where `get_backbone()` returns another one."""
        return self.get_backbone()

    def get_predictor(self) -> nn.Module:
        """The network after the backbone, which solves the pretext task."""
        predictor: nn.Module = self._bare_model.predictor
        return predictor

    def save(self: Self, name: str | os.PathLike[str] = "store/base") -> Self:
        """Stores networks, and where there is a run its position, at `name + ".pt"`.

        What was loaded and not trained since is stored with the run that it was loaded with.
        """
        save_supervisor(self, name)
        return self

    def load(self: Self, name: str | os.PathLike[str] = "store/base") -> Self:
        """Rebuilds the networks of the checkpoint `name + ".pt"` and loads them; needs no dataset.

        Networks of the user's own must be given to the constructor again; a loss or an augmentation
        need not, unless the run shall go on. Of several processes (`torchrun`) the first one reads
        for all: all of them call this, but for one that has entered `training.alone()`.

        Raises:
            FileNotFoundError: If there is no checkpoint.
            ValueError: If it belongs to another class, or wants a network of the user's own.
        """
        if is_one_of_several() and not is_distributed():
            join_processes(where_to_train(self))
        wait_for_all("load()")
        restore_supervisor(self, name)
        return self

    def report(self, name: str | os.PathLike[str] = "store/base", **options: Any) -> Path:
        """Writes a self-contained page about the run, `name + ".html"`.

        Args:
            name: Path of the page, without its ending; that of the checkpoint.
            **options: `images`, `evaluation`, `comparison`, `title`, `most_images`, `map_method`,
                `seed` and `remarks`, as for `evaluation.write_report`.

        Returns:
            The file.
        """
        # Evaluation lies on the floor above: imported by this call, never by this file.
        from super_selfish.evaluation.report import write_report

        supervisor: Any = self
        return write_report(supervisor, name, **options)

    def export_backbone(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        image_size: Size | None = None,
        averaged: bool = False,
        evaluation: Rating | Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes the backbone alone, for other programs.

        Args:
            path: The file; beside it `<file>.json` says what it holds. Or the folder.
            format: `"safetensors"`, `"state_dict"`, that in the names of `"torchvision"`, `"timm"`
                or `"efficientnet-pytorch"`, with the computation `"torchscript"`, `"torch.export"`
                or `"onnx"`, or `"timm-folder"`, which timm reads as `local-dir:FOLDER`; see
                `super_selfish.export.export_backbone`. Default: what the ending of the path says.
            image_size: Of the images that it shall take. Default: that of this supervisor.
            averaged: Writes the averaged weights of a run with `averaging=`.
            evaluation: What `evaluate` has found, for the page in a folder.

        Returns:
            The file, or the folder.

        Raises:
            ValueError: If there are no averaged weights, among others.
        """
        return export_backbone(
            averaged_backbone(self) if averaged else self.get_backbone(),
            path,
            format,
            image_size=image_size or self.image_size,
            in_channels=self.in_channels,
            preprocess=self.preprocess,
            story=story_of(self, evaluation),
        )
