"""BiGAN: an encoder that inverts a generator.

A generator makes an image of drawn latents; an encoder, the backbone and a small head, makes
latents of a real image. A discriminator sees pairs of image and latents and tells which of the two
was there first. Where it cannot, encoder and generator are inverse to each other.

Donahue, Krähenbühl, Darrell, 2016, "Adversarial Feature Learning", arXiv 1605.09782.

Shapes: `B` images, `C, H, W` image, `L, i, j` latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses.adversarial import adversarial_cross_entropy
from super_selfish.losses.full_precision import in_full
from super_selfish.models import FeatureShape, ImageDecoder, feature_shape
from super_selfish.models.bottlenecks import LatentMap, bottleneck_grid
from super_selfish.models.dense_players import DenseGenerator, dense_discriminator
from super_selfish.models.discriminators import DiscriminatorFeatures, PairDiscriminator
from super_selfish.supervisors.adversarial import (
    AdversarialSupervisor,
    Player,
    discriminator_has_won,
)
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size
from super_selfish.supervisors.defaults import (
    BIGAN_RATE,
    DENSE_LATENTS,
    MAP_GRID,
    MAP_LATENTS,
    SMALL_SIDE,
)
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import require_counts
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

NUM_RECONSTRUCTED = 8  # images of a batch on which the reconstruction is measured


class ImagesAndLatents(NamedTuple):
    """Real images, and latents that have nothing to do with them."""

    images: Tensor  # (B, C, H, W)
    latents: Tensor  # (B, L, i, j), from U(-1, 1)


class LatentCollator(Collator):
    """Augments the real images, and draws latents for as many."""

    def __init__(self, shape: tuple[int, int, int], augmentation: Augmentation) -> None:
        """Takes the shape of one image's latents, `(L, i, j)`, and what is done to images."""
        super().__init__()
        self.augmentation = augmentation
        self.shape = shape

    def augment(self, batch: Batch, generator: torch.Generator) -> ImagesAndLatents:
        """Draws the latents."""
        images = self.augmentation(batch.images, generator)
        latents = 2 * torch.rand(len(images), *self.shape, generator=generator) - 1
        return ImagesAndLatents(images, latents.to(images.device, non_blocking=True))


class BiGanSupervisor(AdversarialSupervisor):
    """Learns to map images to latents and latents to images, against one discriminator of pairs.

    Images of at most 32 pixels a side have latents of 50 numbers, and players of full connection
    (two hidden layers each), as in the paper for MNIST.

    Differences from the paper: of larger images latents are a map of 32 channels and at most 2 x 2
    cells, 128 numbers instead of a vector of 200 (with 512 the discriminator kept winning through
    our short trials on CIFAR-10); the encoder's end in batch norm and tanh, so that neither their
    range nor their spread gives them away. The discriminator has no batch norm: over both kinds of
    pairs in one batch it shows their contrast, and in the same trials the discriminator won at
    once; in two batches it would hide it. The generator ends in a sigmoid, for pixels in [0, 1],
    instead of a tanh. A player's loss is the sum of its two terms, of which the authors' code takes
    the mean: with SGD that is twice the rate. Both players move at once. By default Adam trains at
    a constant rate of 3e-4 in batches of 32, instead of at 2e-4 (weight decay 2.5e-5) that falls in
    the second half, in batches of 128; beta is 0.5 as there. Layers start as torch draws them.
    """

    title = "BiGAN"
    question = "Which numbers would make the generator draw this image?"
    paints = True
    default_lr = BIGAN_RATE
    former_arguments: ClassVar[Mapping[str, Any]] = {
        "augmentation": None,
        "players": "convolutional",
    }

    meanings: ClassVar[Mapping[str, str]] = {
        "generator": "Loss of generator and encoder.",
        "discriminator": "Loss of the discriminator.",
        "discriminator_accuracy": "Share of real pairs that are told from drawn ones.",
        "reconstruction_ratio": (
            "Distance of reconstructions to their own images over that to others: 1 is no "
            "likeness at all, 0 is equal."
        ),
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        latent_channels: int | None = None,
        latent_grid: int | None = None,
        players: Literal["dense", "convolutional"] | None = None,
        generator: nn.Module | None = None,
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
            predictor: Head from the feature map to latents `[B, L, i, j]` in [-1, 1].
            loss: Function of logits and of what they should say (`True`: the image is real);
                default: cross-entropy.
            latent_channels: Channels of the latents, if there is no `predictor`. Default: 50 for
                players of full connection, as in the paper for MNIST, else 32 as in release 0.0.6.
            latent_grid: Most cells a side of the latents, if there is no `predictor`. Default: 1
                for players of full connection, else 2.
            players: What generator and discriminator are made of: `"dense"`, of full connection on
                bare pixels, or `"convolutional"`, transposed convolutions and ones like DCGAN's.
                Default: `"dense"` for images of at most 32 pixels a side.
            generator: From latents to images in [0, 1]; default: what `players` says.
            discriminator: From images and latents to logits `[B]`, high where the image is real.
                Default: what `players` says. For another one give a network of your own to
                `PairDiscriminator`.
            augmentation: Done to real images: the name of a recipe, an `Augmentation`, or
                torchvision's transforms. The generator learns to draw what it does. Default:
                nothing.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If there are no latents, or no such players.
        """
        require_counts(latent_channels=latent_channels, latent_grid=latent_grid)
        if players not in (None, "dense", "convolutional"):
            raise ValueError(f'players is "dense" or "convolutional", got {players!r}')
        super().__init__(
            None,
            dataset,
            adversarial_cross_entropy if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )

        if players is None:
            players = "dense" if max(self.image_size) <= SMALL_SIDE else "convolutional"
        is_dense = players == "dense"
        if latent_channels is None:
            latent_channels = DENSE_LATENTS if is_dense else MAP_LATENTS
        if latent_grid is None:
            latent_grid = 1 if is_dense else MAP_GRID
        self._choose(players=players, latent_channels=latent_channels, latent_grid=latent_grid)

        def head(features: FeatureShape) -> nn.Module:
            grid = bottleneck_grid(features.height, features.width, latent_grid)
            return LatentMap(features.dim, latent_channels, grid)

        self.model = self._combine(backbone, predictor, head, normalize, of_map=True)
        latents = feature_shape(self.model, self.in_channels, self.image_size, of_map=True)
        grid = latents.map_size
        num_latents = latents.dim * math.prod(grid)
        shape = (self.in_channels, *self.image_size)
        if generator is None and is_dense:
            generator = DenseGenerator(num_latents, shape)
        elif generator is None:
            decoder = ImageDecoder(
                latents.dim,
                self.in_channels,
                (128, 256, 128, 64),  # release 0.0.6
                size=self.image_size,
                map_size=grid,
            )
            generator = nn.Sequential(decoder, nn.Sigmoid())  # a tanh for pixels in [0, 1]
        self.generator = generator
        if discriminator is None and is_dense:
            discriminator = dense_discriminator(num_latents, shape)
        elif discriminator is None:
            convolutions = DiscriminatorFeatures(self.in_channels, self.image_size, norm=False)
            discriminator = PairDiscriminator(convolutions, convolutions.num_features, num_latents)
        self.discriminator = discriminator
        self.collate_fn = LatentCollator((latents.dim, *grid), view_before(self, augmentation))

    def _players(self) -> dict[str, Player]:
        return {
            "generator": Player((self.model, self.generator)),  # the encoder plays on its side
            "discriminator": Player((self.discriminator,)),
        }

    def _forward(self, data: ImagesAndLatents) -> dict[str, Tensor]:
        encoded = self.model(data.images)  # E(x): (B, L, i, j)
        imagined = self.generator(data.latents)  # G(z): (B, C, H, W)
        # One batch: a norm in a user's own discriminator must treat both kinds of pairs alike.
        logits = self.discriminator(
            torch.cat([data.images, imagined]), torch.cat([encoded, data.latents])
        )  # (2B,)
        real, fake = logits.chunk(2)  # of (x, E(x)) and (G(z), z)
        self._log_accuracy(real, fake)
        self._log(reconstruction_ratio=self._reconstruction_ratio(data.images, encoded))
        return {
            # Both terms, or the encoder would learn nothing.
            "generator": self.loss(real, False) + self.loss(fake, True),
            "discriminator": self.loss(real, True) + self.loss(fake, False),
        }

    @torch.no_grad()
    def _reconstruction_ratio(self, images: Tensor, encoded: Tensor) -> Tensor:
        was_training = self.generator.training
        self.generator.eval()  # a measurement: its statistics are those of drawn latents
        reconstructed = self.generator(encoded[:NUM_RECONSTRUCTED])
        self.generator.train(was_training)
        return reconstruction_ratio(images[:NUM_RECONSTRUCTED], in_full(reconstructed))

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Images, what the generator makes of their latents, and what it makes of drawn ones."""
        data = seen_batch(self, index, seed)
        decoded = self.generator(self.model(data.images))  # G(E(x))
        imagined = self.generator(data.latents)  # G(z)
        return side_by_side(
            (data.images, "image x"), (decoded, "G(E(x))"), (imagined, "of random\nnumbers")
        )

    def _health(self, row: Row) -> str | None:
        if not discriminator_has_won(row):
            return None
        return (
            f"the discriminator has won ({row['discriminator_accuracy']:.1%} of the pairs are told "
            "apart) and teaches little; reconstructions are "
            f"{row['reconstruction_ratio']:.2f} times as far from their images as from others: "
            "lower lr (the paper: 2e-4), or stop here"
        )


def reconstruction_ratio(images: Tensor, reconstructed: Tensor) -> Tensor:
    """How much nearer reconstructions are to their own images than to others.

    Args:
        images: `[B, C, H, W]`.
        reconstructed: The same shape.

    Returns:
        Scalar, the mean distance to the own image over that to the next one: 1 where they have
        nothing to do with each other, 0 where they are equal.
    """
    own = (images - reconstructed).flatten(1).norm(dim=1).mean()
    other = (images.roll(1, dims=0) - reconstructed).flatten(1).norm(dim=1).mean()
    return own / other.clamp(min=torch.finfo(other.dtype).eps)
