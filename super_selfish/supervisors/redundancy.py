"""What Barlow Twins, VICReg and LeJEPA share: numbers of embeddings over the images of a batch.

Shapes: `N` images of all processes, `D` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from super_selfish.data.pictures import Group
from super_selfish.losses.full_precision import in_full
from super_selfish.losses.redundancy import EPSILON, correlations
from super_selfish.models import MLP, FeatureShape
from super_selfish.models.heads import suited_width
from super_selfish.supervisors.diagnostics import COLLAPSED
from super_selfish.supervisors.exhibits import seen_batch, spread_positions
from super_selfish.supervisors.likenesses import MOST_OTHERS, among_views
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

LARGE = 224  # pixels from which embeddings are as wide as the papers'
# Of a batch; of fewer, correlations are mostly chance. Measured: of equally many images of
# Fashion-MNIST a narrow ResNet learns by Barlow Twins as much in batches of 32 as in those of 128.
FEW_IMAGES = 32

AGREEMENT = (
    "Mean correlation of a number of the embedding with itself in the other view. More is better, "
    "up to 1."
)
REDUNDANCY = (
    "Typical correlation of two numbers of an embedding: 1 if all say the same, "
    "1 / \N{SQUARE ROOT}images of a batch if they are independent."
)


def expander(
    supervisor: Supervisor, embedding_size: int | None, hidden_size: int | None, num_layers: int
) -> Callable[[FeatureShape], nn.Module]:
    """Makes a wide projector: FC, batch norm, ReLU and so on, and FC, all without bias.

    Args:
        supervisor: Knows the size of the images.
        embedding_size: Default: 2048, for images of at least 224 pixels 8192, at most four times
            the features, at least 256.
        hidden_size: Of hidden layers. Default: that of the embedding.
        num_layers: With the last one.
    """
    published = 8192 if min(supervisor.image_size) >= LARGE else 2048

    def make(features: FeatureShape) -> nn.Module:
        size = suited_width(features.dim, published) if embedding_size is None else embedding_size
        hidden = size if hidden_size is None else hidden_size
        return MLP(features.dim, (hidden,) * (num_layers - 1), size, bias=False)

    return make


def in_common(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """What numbers of standardised embeddings `[N, D]` have in common: agreement, redundancy.

    Args:
        first: Of the first views.
        second: Of the second ones.

    Returns:
        Scalars: the mean correlation of a number with itself in the other view, and the root of the
        mean squared one of two numbers of the first view, whether or not views agree.
    """
    size = first.shape[1]
    own = (first * second).mean(dim=0)  # (D,)
    others = correlations(first, first).others
    return own.mean(), (others.clamp(min=0) / max(size * (size - 1), 1)).sqrt()


def among_standardised(supervisor: Supervisor, index: Sequence[int], seed: int) -> list[Group]:
    """Views beside other ones, by numbers less their mean and by their deviation; `among_views`.

    Args:
        supervisor: Its `model` gives embeddings.
        index: Images to show.
        seed: Of the augmentation.
    """
    source = supervisor.source
    known = index if source is None else spread_positions(source, MOST_OTHERS)
    embeddings = in_full(supervisor.model(seen_batch(supervisor, known, seed).second))  # (N, D)
    mean, deviation = embeddings.mean(dim=0), embeddings.std(dim=0, correction=0)

    def compared(views: Tensor) -> Tensor:
        return (in_full(supervisor.model(views)) - mean) / (deviation + EPSILON)

    return among_views(supervisor, compared, compared, index, seed)


def caution_of_few(run: Run) -> str | None:
    """What to say of batches of all processes that are too small to correlate numbers over.

    Args:
        run: Before its first step.
    """
    images = run.batch_size * run.processes
    if images >= FEW_IMAGES:
        return None
    return (
        f"correlations over batches of {images} images are mostly chance: use "
        f"batch_size={2 * FEW_IMAGES} or more"
    )


def ill_of_deviation(row: Row, wanted: float, advice: str) -> str | None:
    """What is to be said of embeddings whose numbers hardly differ between images.

    Args:
        row: Of the history, with `deviation`.
        wanted: Deviation that numbers shall have.
        advice: What helps, in words.
    """
    if not row["deviation"] < COLLAPSED * wanted:
        return None
    return (
        f"the embeddings have collapsed: their numbers deviate by {row['deviation']:.2g} where "
        f"{wanted:g} is wanted; {advice}"
    )


def ill_in_common(row: Row, advice: str, against_redundancy: str, for_agreement: str) -> str | None:
    """What is to be said of embeddings whose numbers have too much in common, or views too little.

    Args:
        row: Of the history, with `agreement` and `redundancy`.
        advice: What helps against collapse, in words.
        against_redundancy: What else makes numbers differ.
        for_agreement: What makes views agree.
    """
    if row["redundancy"] > 0.9:
        return (
            "all numbers of the embedding say the same (their correlation is "
            f"{row['redundancy']:.2f}); {advice}, or {against_redundancy}"
        )
    if row["epoch"] >= 5 and row["agreement"] < 0.1:
        return (
            "two views of an image have hardly anything in common (correlation "
            f"{row['agreement']:.2f}): train for longer, change lr, use a milder augmentation, "
            f"or {for_agreement}"
        )
    return None
