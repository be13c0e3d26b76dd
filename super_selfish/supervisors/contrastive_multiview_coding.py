"""CMC: find the colours that belong to a black and white picture, and the other way round.

One network sees the lightness of an image, another one its colours. Each of the two embeddings must
be closer to the other one than to what the other network remembers of other images. What both can
know of each other is what the picture shows.

Tian, Krishnan, Isola, 2019, "Contrastive Multiview Coding", arXiv 1906.05849.

Shapes: `B` images, `V` views of each, `N` images of the dataset, `K` negatives, `E` embedding,
`C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike, cmc
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group
from super_selfish.losses.full_precision import in_full
from super_selfish.memory import MemoryBank
from super_selfish.models import CombinedNet, ProjectionHead, feature_shape, untrained_twin
from super_selfish.models.color_split import SplitHead, as_split_predictions
from super_selfish.supervisors.augmenting import or_default, view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.color_split import (
    color_spread,
    colors_alone,
    gray_verdict,
    lightness_alone,
    require_color,
    split_backbone,
)
from super_selfish.supervisors.defaults import VIEWS_PER_IMAGE
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.likenesses import cosines, from_memory
from super_selfish.supervisors.refusals import require_embedding
from super_selfish.supervisors.remembering import (
    MEMORY_CHANGE,
    SPREAD,
    among_joined,
    draw_negatives,
    guessing_loss,
    let_images_join,
    loss_of_form,
    memory_size,
    require_memory_options,
    standstill,
)
from super_selfish.supervisors.traffic import INDEX, Gathered, rows
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class ViewsAndNegatives(NamedTuple):
    """Views of the same images, side by side, and the images that they are told from."""

    views: Tensor  # (B, V, C, H, W)
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the dataset
    negatives: Tensor  # (K,) int64, positions in the dataset, shared by the batch


class MultiviewCollator(Collator):
    """Augments each image some times, and draws the negatives of the step."""

    def __init__(
        self, augmentation: Augmentation, num_views: int, num_images: int, num_negatives: int
    ) -> None:
        """Takes the recipe of a view, how many to make, and how many images to draw from."""
        super().__init__()
        self.augmentation = augmentation
        self.num_views = num_views
        self.num_images = num_images
        self.num_negatives = num_negatives

    def augment(self, batch: Batch, generator: torch.Generator) -> ViewsAndNegatives:
        """Makes the views and draws the negatives."""
        views = [self.augmentation(batch.images, generator) for _ in range(self.num_views)]
        negatives = draw_negatives(self.num_images, self.num_negatives, generator)
        device = batch.images.device
        return ViewsAndNegatives(
            torch.stack(views, dim=1), batch.index, negatives.to(device, non_blocking=True)
        )


class ContrastiveMultiviewCodingSupervisor(Supervisor):
    """Contrasts the lightness of an image with its colours, against memories of other images.

    `get_backbone()` returns the network that saw lightness. With a backbone by name or None, there
    are two networks of that name, with 1 and 2 input channels, and the returned one eats RGB and
    converts it inside. A network of the user's own sees lightness as a gray picture of three
    channels, an untrained twin of it sees colour, and `get_backbone()` returns that very network:
    it eats RGB, but has only ever seen gray; `preprocess` makes images so.

    Positives are remembered embeddings of the other half, as in the paper. `positives="batch"`
    takes those of this step, as release 0.0.6 did, and gives both networks gradient from both
    terms; but then they can outrun their memories: where all embeddings move together, what is new
    is told from what is old, and images are not told apart. The health check watches for that.

    Differences from the paper: images join the memories one by one (`views_per_image`); the loss is
    a softmax, which the authors' code offers, instead of noise-contrastive estimation
    (`form="nce"`); 3136 negatives, shared by the batch, instead of 16384; the projector has a
    hidden layer. By default Adam trains at a
    constant rate of 1e-3 in batches of 32, instead of SGD at 0.03 (momentum 0.9, weight decay
    1e-4), a tenth of it after epochs 120, 160 and 200 of 240, in batches of 128.
    """

    title = "CMC"
    question = "Which of all remembered colours belong to this lightness?"
    asks_by_number = True
    former_arguments: ClassVar[Mapping[str, Any]] = {"views_per_image": 0}
    against_collapse = "lower lr, or raise batch_size"

    meanings: ClassVar[Mapping[str, str]] = {
        "lightness_loss": "Loss of lightness as the query.",
        "color_loss": "Loss of colours as the query.",
        "accuracy": "Share of images whose own remembered colours are nearer than all negatives.",
        "accuracy_in_batch": "Share of images whose own colours are the nearest of the batch.",
        "chance_in_batch": "The same of one who guesses.",
        "spread": SPREAD,
        "color_spread": "How much colour the images have; near 0 they are grey.",
        "memory_change": MEMORY_CHANGE,
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        embedding_size: int = 128,
        num_images: int | None = None,
        views_per_image: int = VIEWS_PER_IMAGE,
        num_negatives: int = 3136,
        temperature: float = 0.07,
        form: Literal["softmax", "nce"] = "softmax",
        bank_momentum: float = 0.5,
        positives: Literal["memory", "batch"] = "memory",
        augmentation: RecipeLike | None = "paper",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images in colour, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for two EfficientNet-B0.
            predictor: Projector from the features of one half to `embedding_size`; the other half
                gets an untrained twin of it.
            loss: Function of queries, keys, negatives and a mask of negatives that do not count;
                default: what `form` says.
            embedding_size: Width of the space in which halves are compared.
            num_images: Entries of each memory. Default: the images of the dataset.
            views_per_image: Views of an image, on average, before another one joins: a short run
                knows some images well instead of all of them not at all. 0: all from the start, as
                in the paper.
            num_negatives: Entries that a step compares with, drawn for the whole batch; the whole
                memory, each entry once, where the dataset is no larger.
            temperature: Of the default loss. 0.07: section 4; the authors have 0.1 on STL-10.
            form: Of the default loss: `"softmax"` (InfoNCE), or `"nce"` for a binary decision an
                entry, as in the paper. Its normalising constants, one for each direction, are
                estimated of the first batch and stay, as in the authors' code, which has it of Wu
                et al., 2018.
            bank_momentum: Weight of an old entry of a memory in its update, in [0, 1); what
                MoCo and BYOL call `momentum` is that of an old network.
            positives: What an embedding must be close to: `"memory"`, the other half's embedding
                that is remembered, or `"batch"`, that of now.
            augmentation: `"paper"` (or None, or `"cmc"`), one random crop with flip, whose
                lightness and colours are compared; or the name of another recipe such as `"cpc"`,
                an `Augmentation`, or torchvision's transforms, by which two views are made, the
                lightness of each with the colours of the other. Views that it has turned gray are
                kept.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images, which are 3.
            normalize: None, `"imagenet"` or `(mean, std)`, for a network of your own that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If the images have no colour, there is another number of them than the
                memories have entries, the predictor has another width, or an argument is out of
                its range.
        """
        require_memory_options(
            bank_momentum=bank_momentum,
            form=form,
            views_per_image=views_per_image,
            num_negatives=num_negatives,
            embedding_size=embedding_size,
        )
        if positives not in ("batch", "memory"):
            raise ValueError(f'positives must be "batch" or "memory", got {positives!r}')
        super().__init__(
            None, dataset, loss, image_size=image_size, in_channels=in_channels, **options
        )
        require_color(type(self).__name__, self.in_channels)
        augmentation = or_default(self, augmentation, "paper")
        view = view_of(self, augmentation, self.image_size, cmc)
        num_views = 1 if augmentation in ("paper", "cmc") else 2
        num_images = memory_size(self.source, num_images, type(self))
        self._resolve(num_images=num_images)
        self.color_loss: nn.Module | None = None  # of colours as queries, where it is another one
        if loss is None:
            self.loss = loss_of_form(form, num_images, temperature)
        if loss is None and form == "nce":  # its constant is another one in each direction
            self.color_loss = loss_of_form(form, num_images, temperature)
        self.positives = positives
        self.is_own = isinstance(backbone, nn.Module)
        halves = split_backbone(backbone, self.image_size, normalize, self.stem, self.given_weights)
        dim = feature_shape(halves.lightness, 3, self.image_size).dim
        twin: nn.Module
        if predictor is None:
            # Without norms: positives are of this batch and negatives are not, so statistics of
            # the batch would tell them apart.
            predictor, twin = (ProjectionHead(dim, embedding_size) for _ in range(2))
        else:
            of_lightness = CombinedNet(halves.lightness, predictor)
            require_embedding(self, "predictor", of_lightness, embedding_size)
            seed = int(torch.randint(2**62, ()))  # initial weights, from torch's global stream
            twin = untrained_twin(predictor, seed).requires_grad_(True)
        self.model = CombinedNet(halves, SplitHead(predictor, twin, dim, wants_map=False))
        self.lightness_bank = MemoryBank(num_images, embedding_size, bank_momentum, seed=0)
        self.color_bank = MemoryBank(num_images, embedding_size, bank_momentum, seed=1)
        let_images_join(self, num_images, views_per_image)
        self.num_negatives = num_negatives
        self.collate_fn = MultiviewCollator(view, num_views, num_images, num_negatives)

    @property
    def preprocess(self) -> nn.Module:
        """What makes RGB to what a network of the user's own has seen; else an identity."""
        return self.model.backbone.lightness.preprocess if self.is_own else nn.Identity()

    def get_backbone(self, *, averaged: bool = False) -> nn.Module:
        """The network that saw lightness; the very one of the user's own, if one was given."""
        if averaged:
            return super().get_backbone(averaged=True)
        half = self.model.backbone.lightness
        return half.network if self.is_own else half

    def get_predictor(self) -> nn.Module:
        """The projector of lightness; the very one of the user's own, if one was given."""
        projector: nn.Module = self.model.predictor.lightness
        return projector

    def _forward(self, data: ViewsAndNegatives) -> Tensor:
        batch, num_views = data.views.shape[:2]
        predictions = as_split_predictions(self.model(data.views.flatten(0, 1)))
        lightness, color = (F.normalize(in_full(half), dim=1) for half in predictions)  # (B V, E)
        # Of the other view, where there are two.
        color = color.unflatten(0, (batch, num_views)).flip(1).flatten(0, 1)
        index = data.index.repeat_interleave(num_views)  # (B V,)
        drawn = among_joined(self, data.negatives)  # (K,)
        own = MemoryBank.own_entry_mask(index, drawn)  # (B V, K)
        other_colors = self.color_bank.lookup(drawn)  # (K, E)
        other_lightnesses = self.lightness_bank.lookup(drawn)  # (K, E)
        colors, lightnesses = color, lightness  # what is to be found, (B V, E)
        if self.positives == "memory":
            colors, lightnesses = self.color_bank.lookup(index), self.lightness_bank.lookup(index)
        lightness_loss = self.loss(lightness, colors, other_colors, own)
        of_color = self.loss if self.color_loss is None else self.color_loss
        color_loss = of_color(color, lightnesses, other_lightnesses, own)
        if self.training:
            # After the memories were read: no image is told from what others are only now.
            self._remember(data.index, lightness, color)
        with torch.no_grad():
            positive = (lightness * colors).sum(dim=1)  # (B V,)
            negative = (lightness @ other_colors.T).masked_fill(own, -1.0)  # (B V, K)
            found = (lightness @ color.T).argmax(dim=1)  # (B V,) among colours of this step
            self._log(
                lightness_loss=lightness_loss,
                color_loss=color_loss,
                accuracy=(positive > negative.amax(dim=1)).float().mean(),
                accuracy_in_batch=(index[found] == index).float().mean(),
                chance_in_batch=positive.new_full((), 1.0 / batch),
                spread=torch.minimum(spread(lightness), spread(color)),
                color_spread=color_spread(data.views.flatten(0, 1)),
            )
        return lightness_loss + color_loss

    @torch.no_grad()
    def _remember(self, index: Tensor, lightness: Tensor, color: Tensor) -> None:
        """Blends the mean over an image's views into its entries, and logs by how much they move.

        Args:
            index: `[B]`, images of the dataset.
            lightness: `[B V, E]`.
            color: `[B V, E]`.
        """
        everywhere = gather(index)  # all processes keep the same memory
        changes = []
        for bank, embeddings in ((self.lightness_bank, lightness), (self.color_bank, color)):
            of_images = F.normalize(embeddings.unflatten(0, (len(index), -1)).mean(dim=1), dim=1)
            changes.append(bank.change(index, of_images))
            self._write_memory(bank.update, everywhere, gather(of_images))
        self._log(memory_change=torch.stack(changes).mean())

    def _gathers(self, images: int) -> list[Gathered]:
        of_bank = rows(self, images, self.color_bank.rows.shape[1])  # (B, E)
        return [Gathered(INDEX * images), of_bank, of_bank]

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """The lightness of views, and the entries of the memory of colours next to it."""
        views = seen_batch(self, index, seed).views[:, 0]
        lightness = as_split_predictions(self.model(views)).from_lightness
        found = cosines(lightness, self.color_bank.rows)
        shown = lightness_alone(views)
        return from_memory(self, shown, "lightness", found, index, colors_alone)

    def chance_loss(self, row: Row) -> float | None:
        """`2 log(1 + K)`: each of both directions against the negatives."""
        one = guessing_loss(self.loss, len(self.color_bank.rows), self.num_negatives)
        return None if one is None else 2 * one

    def _health(self, row: Row) -> str | None:
        verdict = gray_verdict(row)
        if verdict is not None:
            return verdict
        knows_the_batch = row["accuracy_in_batch"] > 2 * row["chance_in_batch"]
        if row["epoch"] >= 3 and row["accuracy"] > 0.5 and not knows_the_batch:
            return (
                f"{row['accuracy']:.0%} of the colours are told from memories of others, but "
                "hardly any from others of the same step: the networks outrun their memories "
                'instead of telling images apart; use positives="memory", or lower lr'
            )
        # Until the second epoch random entries fill the memories, and being alike tells them apart.
        verdict = collapse(row["spread"], self.against_collapse) if row["epoch"] >= 3 else None
        return verdict or standstill(row["memory_change"], "the memories hardly change: their")
