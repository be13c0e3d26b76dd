"""Watching a backbone while it trains: its health, and with labels an online k-NN or probe.

Shapes: `N` images, `D` features, `C, H, W` image.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from super_selfish.augmentations.recipes import mild_views
from super_selfish.data.collate import LabelCollator
from super_selfish.data.labels import labels_of
from super_selfish.data.opening import as_source
from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.evaluation.health.health import (
    Health,
    extract_with_views,
    health_of_features,
    spread_images,
)
from super_selfish.evaluation.health.twin import TwinMeasures, settling
from super_selfish.evaluation.health.verdict import judge_images
from super_selfish.evaluation.knn import knn_accuracy
from super_selfish.evaluation.label_checks import has_label
from super_selfish.evaluation.linear import linear_probe, stratified_split
from super_selfish.training.alone import alone
from super_selfish.training.display import quiet
from super_selfish.training.distributed import rank
from super_selfish.training.further_checkpoints import keep_if_best
from super_selfish.training.history import Row
from super_selfish.training.run import Run

SHARE = 0.02  # of the training time, which monitoring may cost at its default interval
COST = "monitor_seconds"  # column of the history
MEASURES = (  # columns of the history: measures of `Health`
    "rankme",
    "directions",
    "top_variance",
    "feature_std",
    "alignment",
    "uniformity",
    "dead",
    "retrieval",
)
# By what the best checkpoint may be chosen, and whether more is better. The loss, the alignment and
# the like are at their best in a network that has collapsed, so they are not among them.
SIGNS = {"retrieval": 1.0, "rankme": 1.0, "uniformity": -1.0, "knn": 1.0, "linear": 1.0}


class Monitor:
    """Measures the health of a backbone at the end of epochs: `supervise(..., monitor=Monitor())`.

    What it finds are further columns of the epoch's row in the history (and so of the CSV file):
    `rankme`, `directions`, `top_variance`, `feature_std`, `alignment`, `uniformity`, `dead`,
    `retrieval` (see `Health`), with labels `knn` or `linear`, and `monitor_seconds`, the time that
    it took. A backbone that is not healthy is told of with a `HealthWarning`, as by the algorithms'
    own checks after 100 steps.

    It changes nothing: the weights after a monitored run are, bit for bit, those after an
    unmonitored one. With several processes the first one measures, and the others meet it at the
    next step; the columns are in the first one's history.

    Example:
        supervisor.supervise(monitor=Monitor(labels=True, keep_best="knn"))
    """

    def __init__(
        self,
        images: Any = None,
        labels: Tensor | Sequence[int] | bool | None = None,
        *,
        every: int | Literal["auto"] = "auto",
        probe: Literal["knn", "linear"] = "knn",
        neighbours: int | None = None,
        keep_best: str | None = None,
        num_images: int = 512,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        """Notes what to watch; nothing is read before it is needed.

        Args:
            images: Whatever `as_source` takes, or a pair `(images, labels)`; they are brought to
                the size and channels of the training images. Default: the training images.
            labels: One integer an image (of all images, not of those that are chosen), or True for
                those that the dataset gives. Half of the images of each class then teach a k-NN or
                a linear probe, which is rated on the other half. Default: those of a pair
                `(images, labels)`, else none.
            every: So many epochs, or `"auto"`: whenever the time that all measurements of the run
                have taken, this one included, stays below 2 % of the time trained, as far as the
                last one tells what the next will take. It leaves time for the last epoch of a run,
                and a run too short to afford a single measurement has one there all the same, which
                may then be much of its time. With a number the last epoch is always measured.
            probe: `"knn"`, or `"linear"`, which takes longer.
            neighbours: Of the k-NN; default: as in `knn_accuracy`.
            keep_best: `"retrieval"`, `"rankme"`, `"uniformity"`, `"knn"` or `"linear"`: writes a
                checkpoint `name + "-best"` whenever that is better than in all epochs measured
                before, those before a resumption included, if a monitor of the same settings
                measured them. The run's last line says which epoch that was.
            num_images: At most so many images are used, evenly spread, always the same.
            batch_size: Images per forward pass.
            seed: Of the views and of the split into halves.

        Raises:
            ValueError: If a setting makes no sense.
        """
        if every != "auto" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(f'every is a number of epochs, at least 1, or "auto", got {every!r}')
        if probe not in ("knn", "linear"):
            raise ValueError(f'probe must be "knn" or "linear", got {probe!r}')
        if neighbours is not None and neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {neighbours}")
        if keep_best is not None and keep_best not in SIGNS:
            raise ValueError(f"keep_best must be one of {sorted(SIGNS)}, got {keep_best!r}")
        if num_images < 2:
            raise ValueError(f"num_images must be at least 2, got {num_images}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.images = images
        self.labels = labels
        self.every = every
        self.probe = probe
        self.neighbours = neighbours
        self.keep_best = keep_best
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.health: Health | None = None
        """What was found last."""
        self._source: LabelledSource | None = None
        self._is_read = False
        self._twin: TwinMeasures | None = None

    def start(self, supervisor: Any) -> None:
        """Chooses the images for a run, and refuses what does not suit it.

        Args:
            supervisor: With its `run`.

        Raises:
            ValueError: If labels are missing, do not match, or are too few, or the best checkpoint
                has no name or nothing to be chosen by.
            TypeError: If labels are not integers.
        """
        self.health = None
        self._is_read = False
        self._twin = None
        self._source = source = self._chosen(supervisor)
        if source.labels is not None:
            _halves(source.labels, self.seed)
        if self.keep_best in ("knn", "linear"):
            if self.keep_best != self.probe:
                raise ValueError(f"keep_best={self.keep_best!r} needs probe={self.keep_best!r}")
            if source.labels is None:
                raise ValueError(
                    f"keep_best={self.keep_best!r} needs labels: give labels=True for those of the "
                    "dataset, or images=(images, labels)"
                )
        if self.keep_best is not None and supervisor.run.name is None:
            raise ValueError("keep_best writes beside the checkpoint of the run: give it a name=")

    def after_epoch(self, supervisor: Any, row: Row) -> str | None:
        """Measures if it is time to, and writes what it finds into the row.

        Args:
            supervisor: With its `run`.
            row: The epoch's row, the last of the history.

        Returns:
            The verdict, if the backbone is not healthy.

        Raises:
            ValueError: If the features are not finite.
        """
        run = supervisor.run
        if rank() != 0 or not self.is_due(run):
            return None
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):  # a dataset may draw from it when it is read
            with alone(), quiet():  # the others wait for it; the run shows itself
                found = self._measure(supervisor)
        row.update(found)
        row[COST] = time.perf_counter() - started
        alike = run.history.rows[run.watched_since :]  # other measures cannot be compared
        if self.keep_best is not None:
            keep_if_best(supervisor, alike, self.keep_best, SIGNS[self.keep_best])
            row[COST] = time.perf_counter() - started
        if self.health is None or self.health.is_healthy:
            return None
        unsettled = settling(supervisor.get_backbone())
        if unsettled is not None and self.health.verdict == unsettled.sentence:
            return None  # nothing is wrong, it is too early to judge
        return self.health.verdict

    def is_due(self, run: Run) -> bool:
        """Whether to measure at the end of the epoch that has just ended.

        Args:
            run: Its position, and in its history what training and measuring have taken.
        """
        is_last = run.is_over()
        if self.every != "auto":
            return is_last or run.epoch % self.every == 0
        rows = run.history.rows
        trained = sum(row["seconds"] for row in rows)
        spent = [row[COST] for row in rows if COST in row]
        cost = spent[-1] if spent else self._expected_cost(rows[-1])
        is_affordable = sum(spent) + cost <= SHARE * trained
        if is_last:
            return is_affordable or not spent
        whole_run = trained * run.epochs / run.epoch
        return is_affordable and sum(spent) + 2 * cost <= SHARE * whole_run  # 2: and the last's

    def _expected_cost(self, row: Row) -> float:
        """Seconds of a first measurement: three forward passes an image, of a third of a step."""
        speed = row["images_per_second"]
        return self.num_images / speed if speed > 0 else 0.0

    def _chosen(self, supervisor: Any) -> LabelledSource:
        """The images to watch, not yet read, with their labels."""
        size, channels = supervisor.image_size, supervisor.in_channels
        if self.images is None:
            data = LabelledSource(supervisor.source, None)
        else:
            reading = getattr(supervisor, "reading", None)
            data = open_data(self.images, size, channels, reading)
        if self.labels is not None and not isinstance(self.labels, bool):
            data = open_data((data.images, torch.as_tensor(self.labels)))
        data = spread_images(data, self.num_images)
        if self.labels is not True or data.labels is not None:
            return data
        labels = labels_of(data.images)
        if labels is None:
            raise ValueError("labels=True, but the dataset gives no labels: give labels=")
        return LabelledSource(data.images, labels)

    def _read(self, supervisor: Any) -> LabelledSource:
        """The chosen images in memory, without those that cannot be read."""
        if self._source is None:
            raise RuntimeError("start(supervisor) comes before after_epoch()")
        if not self._is_read:
            images, labels, _ = self._source
            batch = LabelCollator().stack([images[index] for index in range(len(images))])
            kept = as_source(batch.images, supervisor.image_size, supervisor.in_channels)
            self._source = LabelledSource(kept, None if labels is None else labels[batch.index])
            self._is_read = True
        return self._source

    def _measure(self, supervisor: Any) -> Row:
        """The columns of a row."""
        source = self._read(supervisor)
        backbone, preprocess = supervisor.get_backbone(), supervisor.preprocess
        seen = extract_with_views(
            backbone,
            source,
            mild_views(supervisor.image_size),
            batch_size=self.batch_size,
            preprocess=preprocess,
            seed=self.seed,
        )
        if self._twin is None:
            self._twin = TwinMeasures(backbone, source, preprocess, batch_size=self.batch_size)
        self.health = health_of_features(
            seen.features,
            seen.first,
            seen.second,
            blameless=judge_images(seen.brightest, seen.deviation),
            unsettled=settling(backbone),
            untrained=self._twin,
            advice=supervisor.against_collapse,
        )
        found = {name: float(getattr(self.health, name)) for name in MEASURES}
        if source.labels is not None:
            found[self.probe] = self._accuracy(seen.features, source.labels)
        return found

    def _accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of one half of the images that the other half classifies rightly."""
        taught, asked = _halves(labels, self.seed)
        parts = (features[taught], labels[taught], features[asked], labels[asked])
        if self.probe == "knn":
            return knn_accuracy(*parts, k=self.neighbours)
        return linear_probe(*parts, seed=self.seed).accuracy


def _halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Images to learn from and images to ask, the same share of every class."""
    if labels.dim() != 1:
        raise ValueError(
            f"monitoring wants one class an image, got labels of shape {list(labels.shape)}"
        )
    known = has_label(labels).nonzero().flatten()
    taught, asked = stratified_split(labels[known], 0.5, seed)
    if len(asked) == 0:
        raise ValueError(
            f"none of the classes of the {len(labels)} monitored images has two of them, so there "
            "is nothing to ask: raise num_images"
        )
    return known[taught], known[asked]
