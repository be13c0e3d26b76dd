"""Feature maps of a frozen backbone, kept where memory allows.

Shapes: `N` images, `D` channels, `h, w` map, `B` batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from super_selfish.data.samples import Batch
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.looking import device_of, show
from super_selfish.evaluation.rated_network import Network
from super_selfish.models.combined_net import feature_map
from super_selfish.models.dry_run import feature_shape, without_a_trace
from super_selfish.training.counting import plural
from super_selfish.training.distributed import rank
from super_selfish.training.telling import warn

KEPT = 2**30  # bytes of maps that are kept for the next question


class FeatureMaps:
    """The maps of one network and one set of images: each is computed once, if all fit in memory.

    Attributes:
        images: Of which the maps are.
    """

    def __init__(
        self,
        backbone: nn.Module,
        images: ImageSource,
        preprocess: nn.Module | None = None,
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        kept: int = KEPT,
    ) -> None:
        """Remembers what to ask; computes nothing.

        Args:
            backbone: Gives maps, see `feature_map`.
            images: In their order.
            preprocess: Applied to images in [0, 1] before the backbone.
            batch_size: Images per forward pass.
            num_workers: Processes that load images.
            kept: Bytes of maps that may be kept.
        """
        self.images = images
        self._network = (backbone, preprocess)
        self._batch_size, self._num_workers = batch_size, num_workers
        self._most = kept
        self._maps: Tensor | None = None  # [N, D, h, w]
        self._is_known = torch.zeros(len(images), dtype=torch.bool)
        self._is_unreadable = torch.zeros(len(images), dtype=torch.bool)

    def each(self, positions: Tensor, take: Callable[[Tensor, Tensor], None]) -> None:
        """Gives the maps of some images, batch by batch, in inference mode.

        Args:
            positions: `[n]` int64 of the images, ascending.
            take: Called with positions `[B]` and maps `[B, D, h, w]`, float32: on the CPU if they
                were kept, else where the backbone is. Images that cannot be read are left out.

        Raises:
            ValueError: If the maps are not finite.
            RuntimeError: If the backbone fails.
        """
        is_new = ~(self._is_known | self._is_unreadable)[positions]
        new, known = positions[is_new], positions[~is_new & self._is_known[positions]]
        if len(new):
            self._compute(new, take)
        if self._maps is None or not len(known):
            return
        with torch.inference_mode():
            for some in known.split(self._batch_size):
                take(some, self._maps[some])

    def _compute(self, positions: Tensor, take: Callable[[Tensor, Tensor], None]) -> None:
        found: list[Tensor] = []

        def keep_and_take(batch: Batch, maps: Tensor) -> None:
            if not torch.isfinite(maps).all():
                raise ValueError(
                    "the backbone returned maps that are not finite: did training diverge?"
                )
            places = positions[batch.index]
            found.append(places)
            self._keep(places, maps)
            take(places, maps)

        backbone, preprocess = self._network
        part = self.images.subset(positions.tolist())
        left_out = show(
            backbone,
            part,
            preprocess,
            feature_map,
            keep_and_take,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
        )
        if left_out:
            self._is_unreadable[positions] = True
            self._is_unreadable[torch.cat(found) if found else []] = False
            if rank() == 0:
                warn(f"{plural(len(left_out), 'image')} left out: {'; '.join(left_out)}")

    def _keep(self, places: Tensor, maps: Tensor) -> None:
        if maps[0].numel() * 4 * len(self.images) > self._most:
            return
        if self._maps is None:
            self._maps = torch.empty(len(self.images), *maps.shape[1:])
        self._maps[places] = maps.cpu()
        self._is_known[places] = True


def require_map(network: Network, images: ImageSource, name: str) -> None:
    """Refuses a backbone that gives vectors only, by one dry run.

    Args:
        network: With what is done to its images before.
        images: Give channels and size.
        name: Of the network, for the message.

    Raises:
        ValueError: If it gives no maps, or cannot take such images.
    """
    shown = torch.zeros(1, images.in_channels, *images.image_size)
    if network.preprocess is not None:
        with without_a_trace(network.preprocess):
            shown = network.preprocess(shown.to(device_of(network.preprocess)))
    try:
        height, width = shown.shape[2:]
        feature_shape(network.module, shown.shape[1], (height, width), of_map=True)
    except TypeError as error:
        raise ValueError(f"segmentation needs maps, but {name} has none: {error}") from error
