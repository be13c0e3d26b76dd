"""What the facts mean, in sentences, and to which algorithms it matters."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from super_selfish.evaluation.checking.facts import Facts, Named, Size
from super_selfish.training.counting import plural

MUCH = 0.01  # of the images: fewer copies, or flat images, hardly matter to training
_MOSTLY = 0.5
_NARROW = 0.25  # of black to white; images that use less look faint
_FAINT = 0.1  # below it they look black, or gray
_UNEVEN = 10  # the largest class has so many times the images of the smallest
_FEW = 10  # images of a class, below which little can be said of it
_NAMED = 3  # examples in a sentence

APART = ("simclr", "moco", "instance", "pirl", "cmc", "exemplar")  # each image against all others
COLOURS = ("colorization", "split_brain", "cmc")
PLACES = ("rotate", "jigsaw", "context_prediction", "counting", "aet")


class Harm(IntEnum):
    """How much a finding matters."""

    GOOD = 0
    NOTE = 1
    DOUBT = 2
    HARM = 3


class Finding(NamedTuple):
    """Something that one should know of the images.

    Attributes:
        harm: How much it matters.
        topic: What it is about, in a word or two.
        text: What was found, and what follows, in sentences.
    """

    harm: Harm
    topic: str
    text: str


def findings_of(facts: Facts) -> tuple[Finding, ...]:
    """All that is to be said, the most harmful first."""
    found = [finding for say in _SAYINGS if (finding := say(facts)) is not None]
    return tuple(sorted(found, key=lambda finding: -finding.harm))


def _test_images(facts: Facts) -> Finding | None:
    shared = facts.shared
    if shared is None:
        return None
    both = shared.exact + shared.near
    if not both:
        text = f"None of {plural(shared.test, 'test image')} was found among the training images."
        return Finding(Harm.GOOD, "test images", text)
    text = (
        f"{_part(both, shared.test, 'test image')} {_is(both)} among the training images as well: "
        f"{shared.exact:,} with the same pixels, {shared.near:,} nearly the same. Accuracy on "
        "images that a network has seen flatters every algorithm. without_duplicates() leaves "
        f"{_them(both)} out of training.{_examples(shared.examples, ' (training)', ' (test)')}"
    )
    return Finding(Harm.HARM, "test images", text)


def _missing_classes(facts: Facts) -> Finding | None:
    if facts.shared is None or not facts.shared.missing_classes:
        return None
    missing = facts.shared.missing_classes
    classes = f"{len(missing)} classes" if len(missing) > 1 else "One class"
    text = (
        f"{classes} of the test images {_has(len(missing))} no training image: "
        f"{_list(missing)}. Nothing that learns from these labels can name "
        f"{'them' if len(missing) > 1 else 'it'}."
    )
    return Finding(Harm.HARM, "classes", text)


def _varying(facts: Facts) -> Finding | None:
    if not facts.varies:
        return None
    text = (
        "The dataset gives another image when it is asked for the same one again, so it augments "
        "them: copies and test images cannot be found, and every algorithm augments once more. "
        "Leave its random transforms out, or give them as augmentation=."
    )
    return Finding(Harm.HARM, "changing images", text)


def _unreadable(facts: Facts) -> Finding | None:
    number = len(facts.unreadable)
    if not number:
        text = f"All {plural(facts.looked_at, 'image')} looked at can be read."
        return Finding(Harm.GOOD, "reading", text)
    named = "; ".join(f"{name}: {reason}" for name, reason in facts.unreadable[:_NAMED])
    text = (
        f"{_part(number, facts.looked_at, 'image')} cannot be read, which ends a run unless you "
        f'give on_error="skip". without_duplicates() leaves {_them(number)} out. '
        f"{_such(number)}{named}."
    )
    return Finding(Harm.HARM, "unreadable files", text)


def _contradicting(facts: Facts) -> Finding | None:
    if not facts.contradicting:
        return None
    text = (
        f"{plural(facts.contradicting, 'pair')} of copies or near duplicates "
        f"{_has(facts.contradicting)} different labels: one of the two is wrong, or the label is "
        f"not in the picture.{_examples(facts.contradicting_pairs)}"
    )
    return Finding(Harm.DOUBT, "labels", text)


def _films(facts: Facts) -> Finding | None:
    frames = sum(film.frames for film in facts.films)
    if not facts.films:
        return None
    film = facts.films[0]
    text = (
        f"{_part(frames, facts.readable, 'image')} follow one another like frames of a film, in "
        f"{plural(len(facts.films), 'part')}; the longest, of "
        f"{film.frames:,}, begins at {film.first} and ends at {film.last}. So there are fewer "
        f"different pictures than files: {_names(APART)} push frames of one film apart as if they "
        "had nothing in common, while motion can learn from them (data.FramePairs). Part training "
        "and test by films, never by frames."
    )
    is_much = frames > MUCH * facts.readable
    return Finding(Harm.DOUBT if is_much else Harm.NOTE, "frames of films", text)


def _copies(facts: Facts) -> Finding | None:
    both = facts.copies + facts.near
    if not both:
        if facts.varies or facts.looked_at < facts.images:
            return None
        text = "No image is a copy, or a near duplicate, of another one."
        return Finding(Harm.GOOD, "copies", text)
    turned = f", {facts.mirrored:,} of the pairs mirrored" if facts.mirrored else ""
    share, rest = both / facts.readable, facts.readable - both
    if share > MUCH:
        after = (
            f" What is there many times is learned many times, and {_names(APART)} push copies "
            "apart as if they were different images. without_duplicates() keeps one of each."
        )
    else:
        after = " So few hardly matter to training; without_duplicates() leaves them out."
    text = (
        f"{_part(both, facts.readable, 'image')} {'is a copy' if both == 1 else 'are copies'} of "
        f"an earlier one: {facts.copies:,} with the same pixels, {facts.near:,} nearly the same "
        f"(another size, brightness, JPEG quality{turned}). There "
        f"{_is(rest)} {plural(rest, 'different image')}. {_group(facts)}{after}"
        f"{_examples((*facts.near_pairs[:2], *facts.copy_pairs[:1]))}"
    )
    if share > _MOSTLY and not facts.is_empty:  # empty ones are alike, of which another finding is
        return Finding(Harm.HARM, "copies", text)
    return Finding(Harm.DOUBT if share > MUCH else Harm.NOTE, "copies", text)


def _group(facts: Facts) -> str:
    if facts.largest_group < 3:
        return ""
    return f"The largest group of such images has {facts.largest_group:,}."


def _alike(facts: Facts) -> Finding | None:
    if facts.strangers < 0.5:
        return None
    text = (
        f"All images are much alike (of two at random the details agree by up to "
        f"{facts.strangers:.2f}, where 1 is a copy), so that only what agrees by "
        f"{facts.threshold:.2f} counts as a near duplicate here; blurred or strongly compressed "
        "copies are missed."
    )
    return Finding(Harm.NOTE, "likeness", text)


def _flat(facts: Facts) -> Finding | None:
    if not facts.flat:
        return None
    others = facts.flat - facts.black - facts.white
    kinds = [
        f"{number:,} {word}"
        for number, word in (
            (facts.black, "black"),
            (facts.white, "white"),
            (others, "of one tone"),
        )
        if number
    ]
    share = facts.flat / facts.readable
    text = (
        f"{_part(facts.flat, facts.readable, 'image')} {_is(facts.flat)} nearly empty "
        f"({', '.join(kinds)}), such as {_list(facts.flat_names[:_NAMED])}. "
    )
    if facts.is_empty:
        text += (
            "There is nothing in them to learn from. Look at some of them in another program: if "
            "it shows more, read them with a loader= of your own, else they were written wrongly, "
            "or these are other files than you mean, such as masks."
        )
        return Finding(Harm.HARM, "empty images", text)
    text += (
        f"{_names(PLACES)} ask of them what nobody can see, and to {_names(APART[:3])} they are "
        "all the same image."
    )
    return Finding(Harm.DOUBT if share > MUCH else Harm.NOTE, "empty images", text)


def _dead(facts: Facts) -> Finding | None:
    if not facts.dead or facts.is_empty:
        return None
    number = len(facts.dead)
    which = _list(tuple(str(channel) for channel in facts.dead))
    text = (
        f"{'Channel' if number == 1 else 'Channels'} {which} (counted from 0) "
        f"{'holds' if number == 1 else 'hold'} one and the same number in all images: "
        "a network learns nothing from it. Leave it out, or look whether files were written "
        "wrongly."
    )
    return Finding(Harm.DOUBT, "dead channels", text)


def _idle(facts: Facts) -> Finding | None:
    idle = [
        (channel, share)
        for channel, share in enumerate(facts.idle)
        if share > MUCH and channel not in facts.dead
    ]
    flat = facts.flat / max(1, facts.readable)
    idle = [(channel, share) for channel, share in idle if share > 2 * flat]
    if not idle:
        return None
    named = _list(tuple(f"channel {channel} in {share:.0%}" for channel, share in idle))
    text = f"Some channels are constant in many images (counted from 0): {named} of them."
    return Finding(Harm.NOTE, "idle channels", text)


def _grey(facts: Facts) -> Finding | None:
    if not facts.grey or facts.is_empty:
        return None
    share = facts.grey / facts.readable
    text = (
        f"{_part(facts.grey, facts.readable, 'image')} {_has(facts.grey)} three equal channels, "
        f"so no colour: {_names(COLOURS)} learn nothing from them"
    )
    if share < _MOSTLY:
        return Finding(Harm.NOTE, "colour", f"{text}.")
    return Finding(Harm.DOUBT, "colour", f"{text}, and in_channels=1 is faster for the others.")


def _range(facts: Facts) -> Finding | None:
    if facts.is_empty:
        return None
    low, high = facts.used
    if high - low >= _NARROW:
        text = (
            f"99 % of the numbers lie between {low:.0%} and {high:.0%} of the way from black to "
            "white."
        )
        return Finding(Harm.GOOD, "range", text)
    text = (
        f"The images use little of black to white: 99 % of the numbers lie between {low:.1%} and "
        f'{high:.1%}, so networks see them faint; value_range="percentile" spreads them.'
    )
    harm = Harm.HARM if high - low < _FAINT else Harm.DOUBT
    return Finding(harm, "range", text)


def _sizes(facts: Facts) -> Finding | None:
    height, width = facts.image_size
    if set(facts.sizes) == {facts.image_size}:
        return None
    small = sum(n for (h, w), n in facts.sizes.items() if h < height or w < width)
    long = sum(n for size, n in facts.sizes.items() if _is_long(size, facts.image_size))
    if len(facts.sizes) == 1:
        ((own, _),) = facts.sizes.items()
        text = f"Images of {own[0]}x{own[1]} pixels become {height}x{width}."
        return Finding(Harm.NOTE, "sizes", text)
    least = min(facts.sizes, key=lambda size: size[0] * size[1])
    most = max(facts.sizes, key=lambda size: size[0] * size[1])
    often, number = max(facts.sizes.items(), key=lambda item: item[1])
    text = (
        f"There are {len(facts.sizes):,} sizes, from {least[0]}x{least[1]} to {most[0]}x{most[1]} "
        f"pixels (height first; {often[0]}x{often[1]} {number:,} times): all become "
        f"{height}x{width}, cut at the longer side."
    )
    if long:
        text += f" {_part(long, facts.readable, 'image')} lose more than half of it."
    share = small / facts.readable
    if small:
        text += (
            f" {_part(small, facts.readable, 'image')} {_is(small)} enlarged, which looks blurred; "
            "image_size= takes a smaller size."
        )
    return Finding(Harm.DOUBT if share > _MOSTLY else Harm.NOTE, "sizes", text)


def _is_long(size: Size, target: Size) -> bool:
    """Whether more than half of an image is cut off to give it the shape of another size."""
    shape = size[0] / size[1] * target[1] / target[0]
    return max(shape, 1 / shape) > 2


def _channels(facts: Facts) -> Finding | None:
    if len(facts.channels) < 2 and len(facts.kinds) < 2:
        return None
    kinds = _list(tuple(f"{n:,} {kind}" for kind, n in sorted(facts.kinds.items())))
    numbers = _list(
        tuple(f"{n:,} with {plural(c, 'channel')}" for c, n in sorted(facts.channels.items()))
    )
    text = f"Images are of different kinds: {numbers}; {kinds}."
    return Finding(Harm.NOTE, "kinds", text)


def _labels(facts: Facts) -> Finding | None:
    if not facts.labels:
        return None
    least, most = min(facts.labels.values()), max(facts.labels.values())
    rare = tuple(name for name, number in facts.labels.items() if number == least)
    if most < _UNEVEN * least and least >= _FEW:
        text = f"{len(facts.labels):,} classes of {least:,} to {most:,} images."
        return Finding(Harm.GOOD, "labels", text)
    common = next(name for name, number in facts.labels.items() if number == most)
    text = (
        f"Classes have from {least:,} ({_list(rare)}) to {most:,} images ({common}): look at "
        "balanced accuracy, which evaluate gives beside accuracy."
    )
    return Finding(Harm.NOTE, "labels", text)


def _remarks(facts: Facts) -> Finding | None:
    if not facts.remarks:
        return None
    return Finding(Harm.NOTE, "not looked at", " ".join(facts.remarks))


_SAYINGS: tuple[Callable[[Facts], Finding | None], ...] = (
    *(_test_images, _varying, _unreadable, _missing_classes, _range, _contradicting),
    *(_films, _copies, _flat, _dead, _grey, _sizes),
    *(_idle, _channels, _labels, _alike, _remarks),
)


def _part(number: int, total: int, what: str) -> str:
    """Such as "3 of 2,000 images (0.2 %)", or "All 2,000 images"."""
    if number == total:
        return f"All {plural(total, what)}" if total > 1 else f"The only {what}"
    share = 100 * number / total
    if share < 0.1:
        rounded = "less than 0.1"
    elif share >= 99.5:
        rounded = "more than 99"
    else:
        rounded = f"{share:.1f}" if share < 10 else f"{share:.0f}"
    return f"{number:,} of {plural(total, what)} ({rounded} %)"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def _such(number: int) -> str:
    return "For instance " if number > _NAMED else ""


def _names(algorithms: tuple[str, ...]) -> str:
    return f"{', '.join(algorithms[:-1])} and {algorithms[-1]}"


def _list(names: tuple[str, ...]) -> str:
    shown = [*names[:5], *([f"{len(names) - 5} more"] if len(names) > 5 else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _examples(pairs: tuple[Named, ...], after_one: str = "", after_other: str = "") -> str:
    if not pairs:
        return ""
    named = [f"{one}{after_one} and {other}{after_other}" for one, other in pairs[:_NAMED]]
    return f" For instance {'; '.join(named)}."
