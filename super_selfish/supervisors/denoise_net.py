"""DenoiseNet: an autoencoder that fills in what noise has taken away.

Pixels are erased at random, and the network gives the whole image back. It has to learn what
usually surrounds a pixel, because the pixel itself is mostly gone.

Vincent, Larochelle, Bengio, Manzagol, 2008, "Extracting and Composing Robust Features with
Denoising Autoencoders", ICML.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.noise import PixelDropout
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses.full_precision import in_full
from super_selfish.models import ImageDecoder
from super_selfish.models.combined_net import zero_input
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import FORMER_DECODER, chosen_widths
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import require_images
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class NoisedImages(NamedTuple):
    """Images with erased pixels, and as they were."""

    noised: Tensor  # (B, C, H, W)
    images: Tensor  # (B, C, H, W)


class DenoiseCollator(Collator):
    """Erases each pixel, in all channels at once, with one probability."""

    def __init__(
        self, probability: float, fill: float | Tensor, augmentation: Augmentation
    ) -> None:
        """Takes the probability, what an erased pixel shows, and what is done to images before."""
        super().__init__()
        self.augmentation = augmentation
        self.dropout = PixelDropout(probability, fill)

    def augment(self, batch: Batch, generator: torch.Generator) -> NoisedImages:
        """Makes the noised images."""
        images = self.augmentation(batch.images, generator)
        return NoisedImages(self.dropout(images, generator), images)


class DenoiseNetSupervisor(Supervisor):
    """Restores images most of whose pixels were erased.

    Differences from the paper: one convolutional network trained as a whole on the mean squared
    error, instead of a stack of layers with tied weights trained one by one on cross-entropy; each
    pixel is erased with a probability, instead of a fixed fraction of them. An erased pixel is
    zero where the network sees it, as in the paper: for a backbone that normalises its input this
    is the mean colour. By default Adam trains at a constant rate of 1e-3 in batches of 32, instead
    of plain SGD; 70 % of the pixels are erased instead of 10 to 50 %.
    """

    title = "Denoising autoencoder"
    question = "What did the image look like before most pixels were erased?"
    former_names: ClassVar[Mapping[str, str]] = {"p": "probability"}
    paints = True
    former_arguments: ClassVar[Mapping[str, Any]] = {
        "augmentation": None,
        "decoder_widths": FORMER_DECODER,
    }

    meanings: ClassVar[Mapping[str, str]] = {
        "variance": "Error of one grey for all pixels: what the loss has to stay below.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        probability: float = 0.7,
        decoder_widths: Sequence[int] | None = None,
        augmentation: RecipeLike | None = None,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network with feature maps, its name, or None for an EfficientNet-B0.
            predictor: Decoder from the feature map to an image.
            loss: Function of restored and clean images; default: mean squared error.
            probability: That with which each pixel is erased.
            decoder_widths: Channels of the decoder's hidden layers, the last one next to the image.
                Default: 128, 128, 64, 32, and no more than a half, a half, a quarter and an eighth
                of the backbone's features, at least 16.
            augmentation: Done to each image before its pixels are erased: the name of a recipe, an
                `Augmentation`, or torchvision's transforms. Default: nothing.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If `probability` leaves nothing to do or to see, or the predictor gives no
                images like those of the dataset.
        """
        if not 0.0 < probability < 1.0:
            raise ValueError(
                f"probability is the share of erased pixels, between 0 and 1, got {probability}"
            )
        super().__init__(
            None,
            dataset,
            nn.MSELoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        self.probability = probability
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: ImageDecoder(
                features.dim,
                self.in_channels,
                chosen_widths(self, "decoder_widths", decoder_widths, features.dim),
                size=self.image_size,
                map_size=features.map_size,
                start=0.5,
            ),
            normalize,
            of_map=True,
        )
        if predictor is not None and loss is None:
            require_images(self)
        before = view_before(self, augmentation)
        self.collate_fn = DenoiseCollator(probability, zero_input(self.model), before)

    def _forward(self, data: NoisedImages) -> Tensor:
        restored = self.model(data.noised)  # (B, C, H, W)
        images = data.images.float()
        grey = images.mean().expand_as(images)
        self._log(variance=self.loss(grey, images))  # what one grey for all would cost
        return self.loss(in_full(restored), data.images)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Images with erased pixels, as restored, as they were."""
        data = seen_batch(self, index, seed)
        restored = self.model(data.noised)
        erased = f"{self.probability:.0%}\nerased"
        return side_by_side((data.noised, erased), (restored, "restored"), (data.images, "clean"))

    def chance_loss(self, row: Row) -> float | None:
        """What one grey for all pixels costs."""
        return row["variance"]

    def _health(self, row: Row) -> str | None:
        if row["epoch"] >= 3 and row["loss"] > row["variance"]:
            return (
                f"the restored images are worse (error {row['loss']:.4f}) than one grey for all "
                f"({row['variance']:.4f}): raise lr, or train for longer"
            )
        return None
