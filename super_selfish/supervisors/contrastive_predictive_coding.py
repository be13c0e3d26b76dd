"""CPC v2: foretell the patches further down, up, right and left.

An image is cut into overlapping patches, each is changed at random and encoded by itself. A network
that sees the latents of some rows foretells those of rows further on, and must tell the right one
from the latents of all patches of the batch. To do so it has to know what the image shows.

Henaff et al., 2019, "Data-Efficient Image Recognition with Contrastive Predictive Coding",
arXiv 1905.09272; van den Oord, Li, Vinyals, 2018, arXiv 1807.03748.

Shapes: `B` images, `C, H, W` image, `n` patches a side, `p_h, p_w` patch, `D` latents,
`E` embedding, `K` offsets, `N` negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike, cpc_paper
from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.losses.predictive import CandidateInfoNCELoss
from super_selfish.models import EfficientFeatures, build_backbone
from super_selfish.models.context import DIRECTIONS, GridPredictor, turn_grid
from super_selfish.models.efficientnet import EFFICIENTNETS
from super_selfish.models.stems import efficientnet_stride, tell_choice
from super_selfish.supervisors.augmenting import or_default, view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.patch_grid import (
    FEWEST_PATCHES,
    PatchCollator,
    Patches,
    fitting_grid,
    patch_sheet,
    size_to_show,
)
from super_selfish.supervisors.refusals import as_numbers, require_counts
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.training.counting import plural
from super_selfish.training.distributed import first_row, gather
from super_selfish.training.given import clip_norm_of
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class ContrastivePredictiveCodingSupervisor(Supervisor):
    """Predicts the latents of patches from those of patches some rows before (CPC v2).

    The backbone sees patches, one at a time; `get_backbone()` afterwards takes whole images. It
    should have no batch norm, through which patches tell one another what they show: EfficientNets,
    given by name or by default, are built with layer norm. A backbone of your own is taken as it
    is. Patches that it refuses as too small are enlarged to 32 pixels.

    Differences from the paper: 7x7 patches, fewer where patches would have less than 16 pixels
    (paper: 6x6 of 80 pixels); targets lie two and three rows ahead (the pseudo-code: three; one row
    ahead half the pixels are the same); context networks of four causal convolutions instead of
    five residual blocks (`context="residual"` has these), the strong augmentation of release 0.0.6
    (`augmentation="paper"` is the paper's), and averaged weights on request alone: the paper's
    Polyak averaging with a decay of 0.9999 is `supervise(averaging=EMA(0.9999))`, `EMA` being of
    `super_selfish.training`; a run of few thousand updates wants 0.999, `averaging="ema"`.
    The loss is the mean and not the sum over directions and offsets. By default Adam (betas 0.9 and
    0.999) trains at a constant rate of 1e-3 in batches of 32, instead of Adam (betas 0.8 and 0.999)
    at 4e-4 in batches of 512.

    Negatives are patches of the same batch: `supervise(accumulate=...)` averages gradients and adds
    no negatives, as a larger `batch_size` does.
    """

    title = "CPC v2"
    question = "Which of all patches belongs into the frame, below rows that it has seen?"
    against_collapse = "lower lr, or raise batch_size"
    former_arguments: ClassVar[Mapping[str, Any]] = {"context": "plain"}

    meanings: ClassVar[Mapping[str, str]] = {
        "down": "Loss where patches further down are foretold.",
        "up": "Loss where patches further up are foretold.",
        "right": "Loss where patches further right are foretold.",
        "left": "Loss where patches further left are foretold.",
        "information": "What a context tells about a patch, in nats, at least: 0 is chance.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        grid: int | None = None,
        offsets: Sequence[int] | None = None,
        embedding_size: int = 64,
        context_size: int = 128,
        context: Literal["plain", "residual"] = "plain",
        logit_scale: float = 0.1,
        num_negatives: int | None = None,
        clip_norm: float | None = 0.01,
        augmentation: RecipeLike | None = "cpc",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0 with layer norm.
            predictor: From latents `[B, D, n, n]` to `GridPredictions`; default: `GridPredictor`.
            loss: Function of predictions `[P, E]`, candidates `[Q, E]`, the candidate that each
                means `[P]`, and its negatives `[P, N]` or None; default: InfoNCE.
            grid: Patches a side; each overlaps its neighbours by half. Default: 7, fewer (but 3)
                where patches would have less than 16 pixels a side.
            offsets: How many rows ahead the targets lie. Default: 2 and 3, if the grid has them.
            embedding_size: Width of the space in which patches are compared. 64: the pseudo-code.
            context_size: Channels of the context networks. 128: release 0.0.6.
            context: `"plain"` for four causal convolutions, as in release 0.0.6, or `"residual"`
                for the paper's five residual blocks (with `context_size=256`).
            logit_scale: Of the default loss. 0.1: the pseudo-code.
            num_negatives: Negatives of a prediction, drawn from all patches of the batch (of each
                process, where there are several). Default: all, of all processes.
            clip_norm: Largest norm of the gradients, where `supervise()` is given none; None does
                not clip. 0.01: the paper.
            augmentation: Of every patch by itself: `"cpc"` for the recipe of release 0.0.6, or
                `"paper"`, by which two of three colour channels are dropped as well; the name of
                another recipe, an `Augmentation`, or torchvision's transforms, which get patches
                and keep their size. None: `"cpc"`.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, or the backbone cannot take patches.
        """
        require_counts(
            embedding_size=embedding_size, context_size=context_size, num_negatives=num_negatives
        )
        super().__init__(
            None,
            dataset,
            CandidateInfoNCELoss(logit_scale) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        require_counts(grid=grid)
        self.grid = fitting_grid(self.image_size) if grid is None else grid
        if self.grid < FEWEST_PATCHES:
            raise ValueError(f"grid must be at least {FEWEST_PATCHES} patches, got {grid}")
        if min(self.image_size) <= self.grid:
            raise ValueError(
                f"{self.grid}x{self.grid} patches need images of more than {self.grid} pixels a "
                f"side, got {self.image_size}: give a larger image_size or a smaller grid"
            )
        if offsets is None:
            offsets = [offset for offset in (2, 3) if offset < self.grid]
        offsets = as_numbers("offsets", offsets)
        if not offsets or len(set(offsets) & set(range(1, self.grid))) < len(offsets):
            raise ValueError(
                f"offsets are different numbers of rows ahead, from 1 to {self.grid - 1} in a grid "
                f"of {self.grid}, got {offsets}"
            )
        self.offsets = tuple(int(offset) for offset in offsets)
        self.clip_norm = clip_norm_of(clip_norm)
        height, width = (2 * (side // (self.grid + 1)) for side in self.image_size)
        stem = self._stem_of(backbone)
        backbone = patch_encoder(backbone, self.in_channels, (height, width), stem)
        size = size_to_show(backbone, self.in_channels, (height, width))
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: GridPredictor(
                features.dim, embedding_size, len(self.offsets), context_size, context
            ),
            normalize,
            image_size=size,
        )
        augmentation = or_default(self, augmentation, "cpc")
        view = view_of(self, augmentation, size, cpc_paper, what="patches")
        self.collate_fn = PatchCollator(self.grid, view, num_negatives)
        self._candidate = (embedding_size, num_negatives is None)  # width; whether all are gathered

    def _forward(self, data: Patches) -> Tensor:
        predictions, candidates = self._foretell(data.patches)  # (4, B, K, E, n, n), (Q, E)
        own, first = len(candidates), 0
        if data.negatives is None:  # else some of this process, as they were drawn
            first, candidates = first_row(own), gather(candidates)
        number = len(candidates)
        cells = torch.arange(first, first + own, device=candidates.device)
        cells = cells.view(-1, self.grid, self.grid)  # (B, n, n), of this process
        losses = []
        for direction, foretold in zip(DIRECTIONS, predictions.unbind(), strict=True):
            turned = turn_grid(cells, direction)  # (B, n, n)
            for k, offset in enumerate(self.offsets):
                # Row i foretells row i + offset; the last rows have nothing ahead.
                seen = foretold[:, k, :, :-offset].permute(0, 2, 3, 1).flatten(0, 2)  # (P, E)
                positives = turned[:, offset:].flatten()  # (P,)
                negatives = None
                if data.negatives is not None:
                    after = data.negatives.flatten(0, 1)[positives]  # (P, N)
                    negatives = (positives[:, None] + after) % number
                losses.append(self.loss(seen, candidates, positives, negatives))
        by_direction = torch.stack(losses).view(len(DIRECTIONS), -1).mean(dim=1)
        choices = number if data.negatives is None else 1 + data.negatives.shape[-1]
        self._log(
            **dict(zip(DIRECTIONS, by_direction.detach().unbind(), strict=True)),
            # InfoNCE bounds the mutual information from below (van den Oord et al., section 2.3).
            information=math.log(choices) - by_direction.detach().mean(),
        )
        return by_direction.mean()

    def _gathers(self, images: int) -> list[Gathered]:
        width, is_gathered = self._candidate
        patches = images * self.grid**2
        return [rows(self, patches, width, has_gradient=True)] if is_gathered else []

    def _foretell(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """What each patch foretells, `[4, B, K, E, n, n]`, and what there is to choose from.

        The candidates are the embeddings of all patches, `[B * n * n, E]`, image by image.
        """
        latents = self.model.features(patches.flatten(0, 1))  # (B * n * n, D)
        latents = latents.view(-1, self.grid, self.grid, latents.shape[1]).permute(0, 3, 1, 2)
        predictions, targets = self.model.predictor(latents)  # (4, B, K, E, n, n), (B, E, n, n)
        return predictions, targets.permute(0, 2, 3, 1).flatten(0, 2)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """The rows that are seen, the patch that belongs into a frame below, and its choice.

        It chooses among all patches of the images that are given.
        """
        patches, n = seen_batch(self, index, seed).patches, self.grid
        predictions, candidates = self._foretell(patches)
        column, below = n // 2, self.offsets[0]
        row = n - 1 - below  # the last one that has something to foretell
        foretold = predictions[0, :, 0, :, row, column]  # (B, E), downwards
        best = (foretold @ candidates.T).argmax(dim=1).tolist()  # (B,)
        every = patches.flatten(0, 1)  # (B * n * n, C, p_h, p_w)
        groups = []
        for number in range(min(3, len(index))):
            cell = (row + below) * n + column
            wanted = number * n * n + cell
            is_right = best[number] == wanted
            choice = f"its choice\nof {len(every)} {verdict(is_right)}"
            groups.append(
                [
                    picture(patch_sheet(patches[number], row, cell), "pale rows are\nnot seen"),
                    picture(every[wanted], "belongs into\nthe frame"),
                    picture(every[best[number]], choice, is_right),
                ]
            )
        return groups

    def chance_loss(self, row: Row) -> float | None:
        """The logarithm of the number of patches to choose from."""
        return row["loss"] + row["information"]

    def _health(self, row: Row) -> str | None:
        if row["epoch"] <= 5 and row["loss"] < 0.05:
            return (
                f"nearly all patches are foretold after {plural(round(row['epoch']), 'epoch')}: "
                "batch norm in the backbone or a mark in the images may give them away; use a "
                "backbone with layer norm"
            )
        if row["epoch"] >= 5 and row["information"] < 0.02:
            return (
                "patches are foretold no better than by chance: train for longer, change lr, or "
                "look whether neighbouring patches of these images have anything in common"
            )
        return None


def patch_encoder(
    backbone: nn.Module | str | None,
    in_channels: int,
    size: tuple[int, int],
    stem: str = "auto",
) -> nn.Module:
    """The network that a `backbone=` argument means where patches are encoded.

    Args:
        backbone: As for `build_backbone`.
        in_channels: Channels of the patches.
        size: Height and width of the patches, pixels.
        stem: As for `build_backbone`.

    Returns:
        An EfficientNet with layer norm for its name or None, else what `build_backbone` makes.
    """
    if backbone is None or backbone in EFFICIENTNETS:
        name = "efficientnet-b0" if backbone is None else str(backbone)
        built = EfficientFeatures(
            name,
            norm_type="layer",
            in_channels=in_channels,
            stem_stride=efficientnet_stride(stem, size),
        )
        tell_choice(name, size, stem, built.first_layers)
        return built
    return build_backbone(backbone, in_channels, size, stem)
