"""NNCLR: find the other view of the image whose neighbour this is.

Two views of each image are encoded. For each, the most similar of the embeddings of many earlier
images is looked up in a queue, and takes the view's place: from this neighbour the other view of
the image must be found among those of the whole batch, as a small head foretells them. So what is
made alike is not only two views of one image, but images that are alike already.

Dwibedi, Aytar, Tompson, Sermanet, Zisserman, 2021, "With a Little Help from My Friends:
Nearest-Neighbor Contrastive Learning of Visual Representations", arXiv 2104.14548.

Shapes: `B` images of a process, `G` images of all processes, `K` embeddings in the queue, `E`
embedding, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import NeighborLoss
from super_selfish.losses.full_precision import in_full, in_full_precision
from super_selfish.memory import KeyQueue
from super_selfish.models import MLP, CombinedNet, feature_shape
from super_selfish.models.heads import hidden_width, suited_width
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import caution_of_one, collapse, spread
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.remembering import queue_length
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.supervisors.two_views import TwoViewCollator, TwoViews
from super_selfish.training.distributed import first_row, gather
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

MANY_CANDIDATES = 16  # of fewer images a few may well have the same neighbour


class NNCLRSupervisor(Supervisor):
    """Contrasts the nearest earlier image of a view against the other views of the batch (NNCLR).

    `predictor=` is, as in every algorithm, what follows the backbone, which the paper calls the
    projection MLP; what the paper calls the prediction MLP is `prediction_head=` here.

    The paper trains with LARS: `supervise(optimizer=LARS, lr=0.3 * batch_size / 256,
    lr_scheduler="cosine", batch_size=4096)`, from `super_selfish.training.optimizers`, with a
    weight decay of 1e-6. With several processes the batch is that of all of them, and all have one
    queue.

    Differences from the paper: up to 100,000 images the queue holds 16384 embeddings instead of
    98304, and unless asked for more never more than half the dataset, so that a view's neighbour is
    seldom an earlier view of the same image. A temperature of 0.2 instead of 0.1, as in
    solo-learn's recipe for CIFAR-10. Heads are narrower on backbones of fewer than 512 (projector)
    or 1024 (prediction head) features. Views are augmented as in BYOL. Batch norm is computed for
    each process by itself. By default Adam trains at a constant rate of 1e-3 in batches of 32,
    instead of LARS at 0.3 times batch size / 256 down a cosine, in batches of 4096 (see above); 32
    images are few negatives.

    The network sees a batch in two passes, one a view: each view is normalised by itself, and
    running statistics of batch norm move twice a batch. First views alone go into the queue.
    """

    title = "NNCLR"
    question = "Which view shows the image whose nearest neighbour this is?"
    against_collapse = "lower lr, or raise batch_size"
    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "Share of neighbours by which the other view is found among those of a batch.",
        "candidates": "Views of a batch among which the other one has to be found.",
        "neighbor_similarity": (
            "Cosine of a view and its nearest neighbour in the queue; 1 if that is a copy of it."
        ),
        "variety": (
            "Different neighbours of a batch, as a share of its images: little if a few earlier "
            "images are the neighbours of all."
        ),
        "spread": (
            "Spread of the embeddings over the sphere: 1 as of independent ones, 0 if all views "
            "have the same, which is collapse."
        ),
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        prediction_head: nn.Module | None = None,
        embedding_size: int = 256,
        hidden_size: int | None = None,
        num_layers: int = 3,
        prediction_size: int | None = None,
        queue_size: int | None = None,
        temperature: float = 0.2,
        augmentation: RecipeLike | Pair | None = "byol",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Projector from features to `embedding_size`; default: FC, batch norm, ReLU
                and so on, and FC and a batch norm at the end.
            loss: Function of neighbours `[B, E]`, of the predictions of all processes `[G, E]`,
                unit vectors, and of which of these each neighbour shall find, `[B]`; called for
                both directions, whose mean is taken; default: InfoNCE.
            prediction_head: From embedding to embedding; default: FC, batch norm, ReLU, FC.
            embedding_size: Width of the space in which views are compared. 256: section 4.1.
            hidden_size: Width of the projector's hidden layers. Default: 2048 (section 4.1), at
                most four times the features, at least 256.
            num_layers: Of the projector. 3: section 4.1.
            prediction_size: Width of the prediction head's hidden layer. Default: 4096 (section
                4.1) for features of at least 1024, else four times the features, at least 512.
            queue_size: Embeddings in the queue. Default: 16384, for more than 100,000 images 98304
                (section 4.1); at most half the dataset.
            temperature: Of the default loss. 0.1: section 4.1; 0.2: solo-learn's, for CIFAR-10.
            augmentation: A pair, one for each view, or one for both: the name of a recipe, such as
                `"byol-1"`, `"byol-2"` or `"simclr"`, an `Augmentation`, or torchvision's
                transforms. `"byol"` or None: the pair `("byol-1", "byol-2")`.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, a head has another width, or the
                augmentation makes no images of the size.
        """
        require_counts(
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            prediction_size=prediction_size,
            queue_size=queue_size,
        )
        super().__init__(
            None,
            dataset,
            NeighborLoss(temperature) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        if queue_size is None:
            queue_size = default_queue_size(None if self.source is None else self.source.num_images)
        self._choose(queue_size=queue_size)
        augmentation = or_default(self, augmentation, "byol")
        views = two_views(self, augmentation)

        def projector(features: int) -> nn.Module:
            hidden = suited_width(features, 2048) if hidden_size is None else hidden_size
            layers = MLP(features, (hidden,) * (num_layers - 1), embedding_size, bias=False)
            return nn.Sequential(*layers, nn.BatchNorm1d(embedding_size))

        self.model = self._combine(
            backbone, predictor, lambda features: projector(features.dim), normalize
        )
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        if prediction_head is None:
            if prediction_size is None:
                features = feature_shape(self.get_backbone(), self.in_channels, self.image_size)
                prediction_size = hidden_width(features.dim)
            prediction_head = MLP(embedding_size, (prediction_size,), embedding_size)
        else:
            foretelling = CombinedNet(self.model, prediction_head)
            require_embedding(self, "prediction_head", foretelling, embedding_size)
        self.prediction_head = prediction_head
        self.queue = KeyQueue(queue_size, embedding_size)
        self.collate_fn = TwoViewCollator(*views)

    def _forward(self, data: TwoViews) -> Tensor:
        embeddings = [
            in_full(self.model(view)) for view in (data.first, data.second)
        ]  # (B, E) each
        predictions = [
            gather(F.normalize(in_full(self.prediction_head(each)), dim=1)) for each in embeddings
        ]  # (G, E) each
        first, second = (F.normalize(each.detach(), dim=1) for each in embeddings)  # (B, E) each
        # Looked up before this batch is written: else every view would be its own neighbour.
        chosen = [in_full_precision(self.queue.nearest)(each) for each in (first, second)]  # (B,)
        neighbors = [self.queue.keys[each] for each in chosen]  # (B, E) each, copies
        own = torch.arange(len(first), device=first.device) + first_row(len(first))  # (B,)
        with torch.no_grad():
            similarities = (first * neighbors[0]).sum(dim=1)  # (B,)
            found = (neighbors[0] @ predictions[1].T).argmax(dim=1) == own  # (B,)
            self._log(
                accuracy=found.float().mean(),
                candidates=first.new_full((), len(predictions[1])),
                neighbor_similarity=similarities.mean(),
                variety=variety(chosen[0], len(self.queue.keys)),
                spread=spread(first),
            )
        forth = self.loss(neighbors[0], predictions[1], own)
        back = self.loss(neighbors[1], predictions[0], own)
        if self.training:
            self._write_memory(self.queue.enqueue, gather(first))
        return (forth + back) / 2

    def _gathers(self, images: int) -> list[Gathered]:
        width = self.queue.keys.shape[1]
        predictions = rows(self, images, width, has_gradient=True)  # (B, E), of either view
        return [predictions, predictions, rows(self, images, width)]  # and first embeddings

    def _foretell(self, views: Tensor) -> Tensor:
        return self.prediction_head(self.model(views))  # (B, E)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and what is foretold of other views next to them."""
        return among_views(self, self.model, self._foretell, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """`log G`: one of the other views of the batch."""
        return math.log(row["candidates"]) if isinstance(self.loss, NeighborLoss) else None

    def _caution(self, run: Run) -> str | None:
        size = len(self.queue.keys)
        if size >= run.num_images > 1:
            return (
                f"the queue holds {size:,} embeddings of {run.num_images:,} images, so most views "
                "find an earlier view of the same image as their neighbour: give a queue_size of "
                f"{default_queue_size(run.num_images):,} or less"
            )
        return caution_of_one(run)

    def _health(self, row: Row) -> str | None:
        verdict = collapse(row["spread"], self.against_collapse)
        if verdict is not None:
            return verdict
        is_hard = row["candidates"] >= MANY_CANDIDATES
        if is_hard and row["variety"] < 0.1:
            return (
                f"nearly all images have the same neighbours ({row['variety']:.1%} of the images "
                "of a batch have one of their own): lower lr, or raise queue_size"
            )
        if row["neighbor_similarity"] > 0.99:
            return (
                "neighbours are the views themselves (cosine "
                f"{row['neighbor_similarity']:.3f}): are there copies among the images? Lower "
                "queue_size, or use a stronger augmentation"
            )
        if row["epoch"] >= 5 and row["accuracy"] < 1.2 / row["candidates"]:
            return (
                "by neighbours, other views are found no better than by chance "
                f"({1 / row['candidates']:.1%}): train for longer, change lr, or use a milder "
                "augmentation"
            )
        return None


def variety(chosen: Tensor, size: int) -> Tensor:
    """How many different entries were chosen, as a share of the choices.

    Args:
        chosen: `[B]`, int64.
        size: Entries to choose from.

    Returns:
        Scalar in (0, 1]; counted without waiting for the device.
    """
    is_chosen = torch.zeros(size, device=chosen.device).index_fill_(0, chosen, 1.0)
    return is_chosen.sum() / len(chosen)


def default_queue_size(num_images: int | None) -> int:
    """Embeddings in the queue where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        16384, or for more than 100,000 images 98304 as in the paper; at most half the images.
    """
    return queue_length(num_images, 16384, 98304)
