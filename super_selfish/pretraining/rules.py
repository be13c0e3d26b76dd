"""What `pretrain` chooses where nobody says: every rule, with what speaks for it.

All are functions of plain numbers. Where a number was judged and not measured, it says so.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from super_selfish.training.enough import ENOUGH_UPDATES

Size = tuple[int, int]  # (H, W), pixels

# Before a deeper network is taken. Judged: it learns more from an update, and is 5 to 20 times as
# slow, so that the narrow one would make tens of thousands in that time, and gains little by them.
UPDATES_OF_DEEPER = 5000

SIDES = (
    32,
    64,
    96,
    128,
    160,
    224,
)  # pixels; 224 is what ImageNet's networks are made for
NARROW, DEEP, DEEPER = "narrow-resnet", "resnet18", "resnet50"
MOST_NARROW = 96  # pixels of a side, beyond which the map of the narrow network is too fine
LEAST_DEEP, LEAST_DEEPER = (
    96,
    128,
)  # pixels, where images have them: below, speed counts more

# The comparisons above trained in batches of 64; accelerators want more at once to be busy.
BATCH, BATCH_OF_ACCELERATOR, SMALLEST_BATCH = 64, 256, 32

FEW_IMAGES = 500  # below, a warning: there is little to learn from them
FEWEST_IMAGES = 8  # below, a refusal: no batch to compare images in

LARGER_COSTS, DEEPER_COSTS = (
    1.5,
    4.0,
)  # times a step of the rung before, at least; judged
FEWEST_STEPS = 10  # below, a time is refused as too short

LOOKS_OF_A_STEP = 6  # features of an image take a sixth of a step on it: two views, there and back
SLACK = 0.9  # of the time is planned, since a machine may become busier; judged
MEASURING = 0.1  # of the time, for timed steps of candidates, at most
PAGE_SECONDS = 20.0  # of a core, for the page; judged by runs on a busy machine
MOST_CACHE = 2**31  # bytes of decoded images that are kept in a file, without a word from anybody


class Rung(NamedTuple):
    """A network, and the size of the images that it sees."""

    backbone: str
    image_size: Size

    @property
    def in_words(self) -> str:
        """Such as "resnet18 at 96x96"."""
        return f"{self.backbone} at {self.image_size[0]}x{self.image_size[1]}"


def sizes(own: Size) -> list[Size]:
    """Sizes at which images may be trained on, the smallest first, in their own proportions.

    None is larger than the images are, or than 224 pixels, which cost time and show nothing more.

    Args:
        own: Of the images.
    """
    shorter = min(own)
    sides = [side for side in SIDES if side < shorter] + [min(max(shorter, SIDES[0]), SIDES[-1])]
    scaled = {side: _scaled(own, side) for side in sorted(set(sides))}
    return list(scaled.values())


def _scaled(own: Size, side: int) -> Size:
    """A size whose shorter side is `side`, and the longer one twice that at most."""
    factor = side / min(own)
    height, width = (min(2 * side, max(side, round(factor * length))) for length in own)
    return height, width


def ladder(own: Size, *, is_accelerated: bool) -> list[Rung]:
    """Networks and sizes to choose from, each costlier than the one before.

    First larger images for a narrow network, since what is small in them is lost at 32 pixels; then
    a ResNet-18, and on accelerators a ResNet-50. That order is judged and not measured.

    Args:
        own: Size of the images.
        is_accelerated: Whether networks run on an accelerator.
    """
    every = sizes(own)
    most = min(every[-1])
    rungs = [Rung(NARROW, size) for size in every if min(size) <= MOST_NARROW]
    rungs += [Rung(DEEP, size) for size in every if min(size) >= min(LEAST_DEEP, most)]
    if is_accelerated:
        rungs += [Rung(DEEPER, size) for size in every if min(size) >= min(LEAST_DEEPER, most)]
    return rungs


def needed_updates(before: Rung | None, rung: Rung) -> int:
    """How many updates must fit before a rung of the ladder is taken; none of the first."""
    if before is None:
        return 0
    return ENOUGH_UPDATES if rung.backbone == before.backbone else UPDATES_OF_DEEPER


def is_worth_timing(updates: int, before: Rung, rung: Rung) -> bool:
    """Whether so many updates may fit on a rung that it is worth steps to find out.

    A deeper network takes 4 times as long at least, for images of one size, and larger images half
    as much longer.

    Args:
        updates: That fit on the rung before.
        before: That one.
        rung: Next one.
    """
    times = LARGER_COSTS if rung.backbone == before.backbone else DEEPER_COSTS
    return updates >= times * needed_updates(before, rung)


def batch_size(num_images: int | None, *, is_accelerated: bool) -> int:
    """Images a step: a power of two, at most half of those that there are.

    Args:
        num_images: That there are; None of a stream of which nobody knows it.
        is_accelerated: Whether networks run on an accelerator.
    """
    most = BATCH_OF_ACCELERATOR if is_accelerated else BATCH
    if num_images is not None:
        most = max(2, min(most, num_images // 2))
    return 1 << (most.bit_length() - 1)


def shorter_batch(seconds: float, seconds_a_step: float, batch_size: int) -> int:
    """A smaller batch, where that makes enough updates; a step then takes less in proportion.

    Args:
        seconds: For steps.
        seconds_a_step: Measured, of this batch.
        batch_size: Images a step.
    """
    smaller = batch_size
    while (
        smaller > SMALLEST_BATCH
        and SLACK * seconds * batch_size < ENOUGH_UPDATES * seconds_a_step * smaller
    ):
        smaller //= 2
    return smaller


class Length(NamedTuple):
    """How long a run is."""

    epochs: int
    num_images: int  # that it sees in an epoch
    steps: int  # in all


def length(seconds: float, seconds_a_step: float, batch_size: int, num_images: int) -> Length:
    """Epochs that fill a time, so that the rate has fallen to its end when the time is up.

    From five passes on whole ones that fit. With fewer, that would leave up to half of the time
    unused: then so many images are drawn as fit as often.

    Args:
        seconds: For steps.
        seconds_a_step: Measured.
        batch_size: Images a step.
        num_images: That there are.
    """
    fitting = max(1, int(SLACK * seconds / seconds_a_step))
    steps_a_pass = math.ceil(num_images / batch_size)
    if fitting >= 5 * steps_a_pass:
        epochs = fitting // steps_a_pass
        return Length(epochs, num_images, epochs * steps_a_pass)
    epochs = math.ceil(fitting / steps_a_pass)
    steps = max(1, fitting // epochs)
    return Length(epochs, min(num_images, steps * batch_size), epochs * steps)


def length_of_stream(seconds: float, seconds_a_step: float) -> tuple[int, int]:
    """Epochs of a stream, and steps of each: ten, so that the history has rows.

    Args:
        seconds: For steps.
        seconds_a_step: Measured.
    """
    steps = max(1, int(SLACK * seconds / seconds_a_step))
    epochs = min(10, steps)
    return epochs, steps // epochs


def reserve(seconds: float, *, has_labels: bool, load: float = 1.0) -> float:
    """Seconds of the whole that are kept for rating, export and the page.

    With labels 15 %: features of two networks, two protocols. Without, 5 %: features of some
    images. At least the 20 seconds that the page takes on a free core, and half at most.

    Args:
        seconds: The whole.
        has_labels: Whether there are labels to rate by.
        load: Times as long as on a free core, where other work runs beside.
    """
    return min(seconds / 2, max(PAGE_SECONDS * load, seconds * (0.15 if has_labels else 0.05)))


def page_images(seconds: float, load: float) -> int:
    """Images that the page looks at: fewer where there is hardly time left.

    Args:
        seconds: That are left.
        load: Times as long as on a free core.
    """
    return 1000 if seconds >= PAGE_SECONDS * load else 200


def held_out(num_images: int) -> int:
    """Labelled images that are kept from training, to test on; none where they are too few.

    A fifth, and 2,000 at most: 95 % of such tests then tell a difference of three points.

    Args:
        num_images: That have labels.
    """
    return 0 if num_images < 50 else min(2000, num_images // 5)


def rated_images(seconds: float, seconds_an_image: float, tested: int) -> int:
    """Labelled images that the rating learns from.

    Both networks look at each, and at those of the test, which may take half of what is kept for
    rating. Fewer than 200 teach little; 10,000 are what the tables of benchmarks/results have.

    Args:
        seconds: Kept for rating.
        seconds_an_image: To read an image and compute its features.
        tested: Images of the test.
    """
    fitting = int(seconds / 2 / (2 * seconds_an_image)) - tested
    return max(200, min(10_000, fitting))


def compared_images(num_images: int, seconds: float, seconds_an_image: float) -> int:
    """Images that are kept from training, by which candidates are compared without labels.

    As many as are kept for a test, but no more than can be read in a fiftieth of the time, since
    every rating reads them; of fewer than 100 little can be told.

    Args:
        num_images: That there are.
        seconds: The whole.
        seconds_an_image: To read one.
    """
    return min(held_out(num_images), max(100, int(seconds / 50 / seconds_an_image)))


def judged_images(seconds: float, seconds_a_look: float) -> int:
    """Images by which features are judged without labels.

    The network and an untrained one look at each and at two views of it, which may take half of
    what is kept for rating. At least 200: of fewer little can be told.

    Args:
        seconds: Kept for rating.
        seconds_a_look: To compute the features of an image.
    """
    return max(200, min(2048, int(seconds / 2 / (6 * seconds_a_look))))


class Reading(NamedTuple):
    """How the images of files reach the networks."""

    cache: bool
    num_workers: int
    seconds_a_step: float
    seconds_before: float  # the first step


def reading(
    seconds: float,
    step: float,
    decode: float,
    batch_size: int,
    num_images: int,
    bytes_an_image: int,
    *,
    may_cache: bool,
    workers: int,
) -> Reading:
    """The way of reading that lets most steps be done.

    Decoding beside training takes the processor from it where that trains; a file of decoded images
    costs one pass, and nothing later.

    Args:
        seconds: For the run.
        step: Seconds of a step whose images are there.
        decode: Seconds to read an image.
        batch_size: Images a step.
        num_images: That there are.
        bytes_an_image: Decoded.
        may_cache: Whether images are files, of 8 bits.
        workers: Processes that could read beside an accelerator; 0 on a processor.
    """
    each = batch_size * decode
    ways = [Reading(False, 0, step + each, 0.0)]
    if workers:
        ways.append(Reading(False, workers, max(step, each / workers), 0.0))
    if may_cache and num_images * bytes_an_image <= MOST_CACHE:
        ways.append(Reading(True, 0, step, num_images * decode))
    return max(ways, key=lambda way: (seconds - way.seconds_before) / way.seconds_a_step)


def algorithm() -> tuple[str, str]:
    """The algorithm that trains where nobody names one, and why.

    SimCLR keeps nothing that a short run would not fill (no queue, no momentum encoder), takes
    images of any channels, and streams. What it gained: benchmarks/results/defaults.md.
    """
    return (
        "simclr",
        "gained most by probe and k-NN of six, each in four minutes of pretrain() itself",
    )


# One of each family, that which stood best in benchmarks/results by probe and k-NN together, after
# two minutes on Fashion-MNIST (two_lines.md) and one on CIFAR-10 (retrieval.md).
CANDIDATES = ("rotate", "denoise", "exemplar", "simclr", "vicreg")
COMPARED = 0.5  # of the time for training, which the comparison takes
# Below, the order of algorithms is that of luck: after 50 to 103 steps some were worse than before.
LEAST_COMPARED_UPDATES = 100
VALIDATED = 1 / 3  # of the images that a rating learns from, by which candidates are ranked

# Said where candidates are compared without labels.
TRUST_OF_VIEWS = (
    "Without labels that is a guess: over 24 algorithms on Fashion-MNIST and 28 on CIFAR-10 its "
    "rank correlation with accuracy was 0.60 to 0.77, and of the default candidates it took the "
    "best on CIFAR-10, and on Fashion-MNIST one that was 3 points behind. A few hundred labels "
    "tell more."
)


def candidates(*, is_coloured: bool) -> tuple[str, ...]:
    """Algorithms to compare where nobody names any: those that these images fit.

    Args:
        is_coloured: Whether images are RGB, and not grey in it.
    """
    if not is_coloured:
        return CANDIDATES
    return tuple("colorization" if name == "denoise" else name for name in CANDIDATES)


def rounds(number: int) -> list[int]:
    """How many candidates are in each round: half of the former, until two are left.

    Successive halving: Jamieson, Talwalkar, 2015, arXiv 1502.07943. Each round doubles the time
    that a candidate has trained for.

    Args:
        number: Of candidates, two at least.
    """
    found = [number]
    while found[-1] > 2:
        found.append(-(-found[-1] // 2))
    return found


def first_budget(seconds: float, number: int, rating: float) -> float:
    """Seconds of training of each candidate in the first round, so that all rounds take a time.

    Args:
        seconds: Of the whole comparison.
        number: Of candidates.
        rating: Seconds to rate one.
    """
    each = rounds(number)
    # The second round goes on from the first: it adds as much again, the third twice that.
    units = each[0] + sum(count * 2**place for place, count in enumerate(each[1:]))
    return (seconds - rating * sum(each)) / units
