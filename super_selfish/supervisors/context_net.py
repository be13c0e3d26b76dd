"""ContextNet: paint what is missing from what is around it.

Rectangles are cut out of an image, and the network paints them. It has to understand the rest of
the picture. The squared error alone wants the blurred mean of all that might be there; a
discriminator, which tells painted images from real ones, asks for one sharp possibility.

Pathak, Krähenbühl, Donahue, Darrell, Efros, 2016, "Context Encoders: Feature Learning by
Inpainting", arXiv 1604.07379.

Shapes: `B` images, `N` blocks, `C, H, W` image, `D, h, w` map, `i, j` grid of the bottleneck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.erasing import rectangle_mask
from super_selfish.augmentations.noise import drop_pixels
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.augmentations.rectangles import check_area_and_aspect, draw_rectangles
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses import masked_mean_squared_error
from super_selfish.losses.adversarial import adversarial_cross_entropy, adversarial_least_squares
from super_selfish.losses.full_precision import in_full
from super_selfish.models import FeatureShape, ImageDecoder, feature_shape
from super_selfish.models.bottlenecks import ChannelwiseLinear, bottleneck_grid
from super_selfish.models.combined_net import zero_input
from super_selfish.models.discriminators import ImageDiscriminator
from super_selfish.supervisors.adversarial import (
    AdversarialSupervisor,
    Player,
    discriminator_has_won,
)
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size
from super_selfish.supervisors.defaults import (
    FORMER_DECODER,
    FORMER_DISCRIMINATOR,
    chosen_widths,
)
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import as_numbers, require_counts, require_images
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class HoledImages(NamedTuple):
    """Images with holes, as they were, and where the holes are."""

    holed: Tensor  # (B, C, H, W)
    images: Tensor  # (B, C, H, W)
    holes: Tensor  # (B, 1, H, W) bool


class HoleCollator(Collator):
    """Cuts each of `num_blocks` rectangles with one probability, and at least one an image."""

    def __init__(
        self,
        probability: float,
        num_blocks: int,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        fill: float | Tensor,
        augmentation: Augmentation,
    ) -> None:
        """Takes the supervisor's arguments, and what a hole shows: a value, or one a channel."""
        super().__init__()
        self.augmentation = augmentation
        self.probability = probability
        self.num_blocks = num_blocks
        self.scale = scale
        self.aspect = (1 / ratio[1], 1 / ratio[0])  # width / height
        self.fill = fill

    def augment(self, batch: Batch, generator: torch.Generator) -> HoledImages:
        """Makes the holes."""
        images = self.augmentation(batch.images, generator)
        count, height, width = len(images), images.shape[-2], images.shape[-1]
        shape = (count, self.num_blocks)
        boxes = draw_rectangles(shape, height, width, self.scale, self.aspect, generator)
        is_cut = torch.rand(shape, generator=generator) < self.probability
        is_box = boxes[..., 2].bool()  # now and then no attempt at a box fits into the image
        fallback = torch.zeros_like(is_cut)
        fallback[torch.arange(count), is_box.to(torch.uint8).argmax(dim=1)] = True
        is_cut = torch.where((is_cut & is_box).any(dim=1, keepdim=True), is_cut, fallback)
        boxes, is_cut = boxes.to(images.device), is_cut.to(images.device)
        holes = rectangle_mask(boxes, is_cut, (height, width))
        return HoledImages(drop_pixels(images, ~holes, self.fill), images, holes)


class ContextNetSupervisor(AdversarialSupervisor):
    """Paints the holes of images, against a discriminator.

    Differences from the paper: holes are up to ten random rectangles, instead of the centre or a
    random pattern that covers a quarter; they are zero where the backbone sees them (its mean
    colour if it normalises). The error is that of pixels in [0, 1], a quarter of that in [-1, 1].
    The channel-wise layer has at most 8 x 8 cells, and the first transposed convolution takes the
    place of the 1x1 convolution after it. As in the paper's formula the discriminator judges the
    whole output of the network, of which the error constrains the holes only; it sees real and
    painted images in one batch, so that batch norm treats them alike. The output is no tanh. Both
    players move at once. `lr` is the learning rate of the painting network; the discriminator's is
    a tenth of it, as in the authors' code. By default Adam (beta 0.5 as there) trains at a constant
    rate of 1e-3 in batches of 32, instead of at 2e-3 in batches of 64. Layers start as torch draws
    them.

    The error is averaged over the pixels in the holes of a batch; with `accumulate`, over those of
    all batches of an update, which takes one more way back through the painter for each. A `loss`
    of your own is averaged over images.
    """

    title = "Context encoder"
    question = "What was there before the holes were cut?"
    former_names: ClassVar[Mapping[str, str]] = {"n_blocks": "num_blocks", "p": "probability"}
    paints = True
    former_arguments: ClassVar[Mapping[str, Any]] = {
        "augmentation": None,
        "decoder_widths": FORMER_DECODER,
        "discriminator_widths": FORMER_DISCRIMINATOR,
    }

    meanings: ClassVar[Mapping[str, str]] = {
        "reconstruction": "Error of what is painted into the holes.",
        "mean_colour": "The same of one who paints the mean colour.",
        "generator": "Loss of the painter.",
        "discriminator": "Loss of the discriminator.",
        "discriminator_accuracy": "Share of real images that are told from painted ones.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        probability: float = 0.3,
        num_blocks: int = 10,
        scale: tuple[float, float] = (0.05, 0.1),
        ratio: tuple[float, float] = (0.3, 3.3),
        lambda_rec: float = 0.999,
        lambda_adv: float = 0.001,
        least_squares: bool = False,
        decoder_widths: Sequence[int] | None = None,
        discriminator_widths: Sequence[int] | None = None,
        discriminator: nn.Module | None = None,
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
            loss: Function of painted images, true images and holes (`[B, 1, H, W]`, bool); default:
                mean squared error in the holes.
            probability: That with which each block is cut out.
            num_blocks: Most blocks in an image.
            scale: Lowest and highest area of a block, as fractions of the image's.
            ratio: Lowest and highest height / width of a block.
            lambda_rec: Weight of the error. 0.999: section 4 of the paper.
            lambda_adv: Weight of the discriminator's verdict. 0.001: section 4 of the paper.
            least_squares: Whether the verdicts are compared by least squares (LSGAN, as in release
                0.0.6) instead of cross-entropy.
            decoder_widths: Channels of the decoder's hidden layers, the last one next to the image.
                Default: 128, 128, 64, 32, and no more than a half, a half, a quarter and an eighth
                of the backbone's features, at least 16.
            discriminator_widths: Channels of the discriminator's layers, the first one next to the
                image. Default: 32, 64, 128, 256, half of DCGAN's, and no more than an eighth, a
                quarter, a half and all of the backbone's features, at least 16.
            discriminator: From images in [0, 1] to logits `[B]`; default: one like DCGAN's.
            augmentation: Done to each image before holes are cut: the name of a recipe, an
                `Augmentation`, or torchvision's transforms. Default: nothing.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, or the predictor gives no images like
                those of the dataset.
        """
        if not 0.0 < probability <= 1.0:
            raise ValueError(
                f"probability is that of a block, above 0 and at most 1, got {probability}"
            )
        require_counts(num_blocks=num_blocks)
        check_area_and_aspect(as_numbers("scale", scale, 2), as_numbers("ratio", ratio, 2))
        if scale[1] == 0:
            raise ValueError(f"scale must leave blocks an area above 0, got {scale}")
        if not (0 <= lambda_rec and 0 <= lambda_adv and 0 < lambda_rec + lambda_adv < math.inf):
            raise ValueError(
                "lambda_rec and lambda_adv are weights >= 0 and not both 0, got "
                f"{lambda_rec} and {lambda_adv}"
            )
        super().__init__(
            None,
            dataset,
            masked_mean_squared_error if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        self.lambda_rec = lambda_rec
        self.lambda_adv = lambda_adv
        self.adversarial_loss = (
            adversarial_least_squares if least_squares else adversarial_cross_entropy
        )

        def decoder(features: FeatureShape) -> nn.Module:
            widths = chosen_widths(self, "decoder_widths", decoder_widths, features.dim)
            return self._decoder(features, widths)

        self.model = self._combine(backbone, predictor, decoder, normalize, of_map=True)
        if predictor is not None:
            require_images(self)
        if discriminator is None:
            features = feature_shape(
                self.get_backbone(), self.in_channels, self.image_size, of_map=True
            )
            name = "discriminator_widths"
            widths = chosen_widths(self, name, discriminator_widths, features.dim)
            discriminator = ImageDiscriminator(self.in_channels, self.image_size, widths)
        self.discriminator = discriminator
        before = view_before(self, augmentation)
        fill = zero_input(self.model)
        self.collate_fn = HoleCollator(probability, num_blocks, scale, ratio, fill, before)

    def _decoder(self, features: FeatureShape, widths: Sequence[int]) -> nn.Module:
        grid = bottleneck_grid(features.height, features.width)
        return nn.Sequential(
            ChannelwiseLinear(features.dim, grid),  # (B, D, i, j)
            nn.ReLU(inplace=True),
            ImageDecoder(
                features.dim,
                self.in_channels,
                widths,
                size=self.image_size,
                map_size=grid,
                start=0.5,
            ),
        )

    def _players(self) -> dict[str, Player]:
        return {
            "generator": Player((self.model,)),
            "discriminator": Player((self.discriminator,), lr_factor=0.1),  # authors' code
        }

    def _forward(self, data: HoledImages) -> dict[str, Tensor]:
        painted = self.model(data.holed)  # (B, C, H, W)
        # One batch: batch norm must not show the discriminator real and painted ones differently.
        logits = self.discriminator(torch.cat([data.images, painted]))  # (2B,)
        real, fake = logits.chunk(2)
        reconstruction = self.loss(in_full(painted), data.images, data.holes)
        self._log_accuracy(real, fake)
        mean_colour = data.images.mean(dim=(0, 2, 3), keepdim=True).expand_as(data.images)
        self._log(
            reconstruction=reconstruction.detach(),
            mean_colour=self.loss(mean_colour, data.images, data.holes).detach(),
        )
        error = self.lambda_rec * reconstruction
        if self.loss is masked_mean_squared_error:
            holes = data.holes.sum().to(error.dtype)  # pixels
            self._counts(holes / math.prod(self.image_size), error, "generator")
        return {
            "generator": error + self.lambda_adv * self.adversarial_loss(fake, True),
            "discriminator": self.adversarial_loss(real, True) + self.adversarial_loss(fake, False),
        }

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Images with holes, with the holes painted, as they were."""
        data = seen_batch(self, index, seed)
        filled = torch.where(data.holes, self.model(data.holed), data.images)
        return side_by_side(
            (data.holed, "with holes"), (filled, "holes\npainted"), (data.images, "clean")
        )

    def _health(self, row: Row) -> str | None:
        if self.lambda_rec > 0 and row["epoch"] >= 3 and row["reconstruction"] > row["mean_colour"]:
            return (
                f"the holes are painted worse (error {row['reconstruction']:.4f}) than with the "
                f"mean colour ({row['mean_colour']:.4f}): change lr, or train for longer"
            )
        # With the paper's small weight nothing depends on it: the error teaches the features.
        if self.lambda_adv >= self.lambda_rec and discriminator_has_won(row):
            return (
                f"the discriminator has won ({row['discriminator_accuracy']:.1%} of the painted "
                "images are told from real ones) and teaches little: lower lambda_adv, or try "
                "least_squares=True"
            )
        return None
