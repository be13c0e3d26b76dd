"""Look before training: what is in these images, and to which algorithms it matters."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from super_selfish.data.file_reader import Loader
from super_selfish.data.frames import Pages
from super_selfish.data.opening import as_source
from super_selfish.data.sources import ImageSource
from super_selfish.data.stream_source import StreamSource
from super_selfish.data.streams import is_stream
from super_selfish.data.value_range import Range
from super_selfish.evaluation.checking.facts import Facts
from super_selfish.evaluation.checking.findings import Finding, Harm, findings_of
from super_selfish.evaluation.checking.gathering import (
    Likeness,
    Part,
    compare_parts,
    gather,
    in_test,
    varies,
)
from super_selfish.evaluation.checking.looking_over import look_over
from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.training.counting import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STREAMED = 1000  # first images of a stream, in memory
_WIDTH = 100  # letters
_HEADINGS = {
    Harm.HARM: "Mend before training",
    Harm.DOUBT: "Worth a thought",
    Harm.NOTE: "Good to know",
    Harm.GOOD: "In order",
}


@dataclass(frozen=True, eq=False)
class Check:
    """What was found in a set of images; prints as sentences, the most harmful first.

    Attributes:
        facts: Numbers and names.
        findings: What they mean, the most harmful first.
    """

    facts: Facts
    findings: tuple[Finding, ...]
    _train: Part = field(repr=False)
    _test: Part | None = field(repr=False)
    _like: Likeness = field(repr=False)
    _is_whole: bool = field(default=True, repr=False)

    @property
    def is_good(self) -> bool:
        """Whether nothing was found that one should mend or think about."""
        return all(finding.harm < Harm.DOUBT for finding in self.findings)

    def bad(self) -> tuple[Finding, ...]:
        """What should be mended before training."""
        return tuple(finding for finding in self.findings if finding.harm == Harm.HARM)

    def as_dict(self) -> dict[str, Any]:
        """Facts and findings as plain values, fit for JSON."""
        told = [
            {"harm": finding.harm.name.lower(), "topic": finding.topic, "text": finding.text}
            for finding in self.findings
        ]
        return {**self.facts.as_dict(), "findings": told}

    def __str__(self) -> str:
        """A line on the images, and below it the findings."""
        return self.text()

    def text(self, width: int = _WIDTH) -> str:
        """The same in lines of a width.

        Args:
            width: In letters.
        """
        lines = textwrap.wrap(self._headline(), width)
        for harm, heading in _HEADINGS.items():
            texts = [finding.text for finding in self.findings if finding.harm == harm]
            if texts:
                lines += ["", heading]
            for text in texts:
                lines += textwrap.wrap(
                    text,
                    width,
                    initial_indent="  - ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """The same as Markdown, with the topics in bold."""
        lines = [self._headline()]
        for harm, heading in _HEADINGS.items():
            told = [finding for finding in self.findings if finding.harm == harm]
            if told:
                lines += ["", f"**{heading}**", ""]
            lines += [f"- **{finding.topic}**: {_escaped(finding.text)}" for finding in told]
        return "\n".join(lines) + "\n"

    def _headline(self) -> str:
        facts = self.facts
        sizes = (
            "different sizes"
            if len(facts.sizes) > 1
            else "{}x{} pixels".format(*next(iter(facts.sizes)))
        )
        channels = " or ".join(str(number) for number in sorted(facts.channels))
        word = "channel" if channels == "1" else "channels"
        kinds = " and ".join(sorted(facts.kinds))
        some = "" if facts.looked_at == facts.images else f" ({facts.looked_at:,} looked at)"
        test = "" if self._test is None else f"; {plural(len(self._test.source), 'test image')}"
        return f"{plural(facts.images, 'image')}{some} of {sizes}, {channels} {word}, {kinds}{test}"

    def without_duplicates(self, *, near: bool = True, test: bool = True) -> ImageSource:
        """The images without copies, and without those that cannot be read.

        Of each set of copies the first stays; of near duplicates those that are none of one that
        stays, so that a slow film leaves more than one frame.

        Args:
            near: Whether near duplicates are left out too, and not only those of the same pixels.
            test: Whether images are left out that are test images as well, or nearly.

        Returns:
            A source that every supervisor takes, at any `image_size` unless `check` was told one;
            with the labels, where the images have some.

        Raises:
            ValueError: If no image would be left, or not all images were looked at.
        """
        return self._train.source_with_labels().subset(self.kept(near=near, test=test))

    def kept(self, *, near: bool = True, test: bool = True) -> list[int]:
        """Positions of the images that `without_duplicates` leaves."""
        if not self._is_whole:
            raise ValueError(
                "not all images were looked at: check() looks at all of a data set. Of a stream "
                "copies have to be left out where it is written"
            )
        index = self._train.looked.footprints.index
        number = len(index)
        is_kept = self._like.is_kept
        if not near:
            is_kept = self._like.first_of[:number] == np.arange(number)
        if test and self._test is not None:
            is_kept = is_kept & ~self._in_test(near=near)
        if not is_kept.any():
            raise ValueError("without copies no image would be left")
        return [int(place) for place in index[is_kept]]

    def _in_test(self, *, near: bool) -> Any:
        number = len(self._train.looked.footprints.index)
        like = self._like
        if not near:
            none = np.zeros(like.near.pairs, bool)
            like = like._replace(near=like.near.chosen(none))
        return in_test(like, number)

    def plot(self, path: str | os.PathLike[str] | None = None, pairs: int = 4) -> Figure:
        """Draws what was found: pairs of copies, films, empty images; see `sheet.plot_check`."""
        from super_selfish.evaluation.checking.sheet import plot_check

        return plot_check(self._train, self._test, self._like, path, pairs)


def check(
    images: Any,
    test: Any = None,
    *,
    image_size: int | Sequence[int] | None = None,
    in_channels: int | None = None,
    value_range: Range = None,
    pages: Pages = None,
    loader: Loader | None = None,
    threshold: float | None = None,
    num_workers: int | None = None,
    progress: bool = True,
) -> Check:
    """Looks at all images before anything is trained on them; needs no labels.

    Every image is read once, in its own size, and 1.1 KB of it are kept. What cannot be read is
    named. Of a stream the first thousand images are looked at.

    Args:
        images: For pretraining: whatever `ImageSource` takes, or `(images, labels)`.
        test: Images that accuracies will be of, the same way; none of them should be among those
            for pretraining.
        image_size: As for `ImageSource`, or as the supervisor will have it.
        in_channels: The same.
        value_range: The same.
        pages: The same.
        loader: The same.
        threshold: From which agreement of details on, -1 to 1, two images whose perceptual hashes
            are near count as near duplicates. Default: 0.8, or more where images are much alike.
        num_workers: Processes that read. Default: one a core for files, from 2,000 on, else none.
        progress: Whether to show a bar.

    Returns:
        Facts and findings; `print` it.

    Raises:
        ValueError: If no image can be read, or `threshold` lies outside of (0, 1].
        TypeError: If `images` is nothing that holds images.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(f"threshold is an agreement in (0, 1], got {threshold!r}")
    reading = {"value_range": value_range, "pages": pages, "loader": loader}
    data, remarks = _opened(images, image_size, in_channels, reading)
    train = _looked_over(data, "Checking", data.images, num_workers, progress)
    tested = None
    if test is not None:
        if not isinstance(test, ImageSource):
            known = data.images.value_range
            reading["value_range"] = value_range if known is None else known
        other, more = _opened(test, image_size, in_channels, reading)
        tested = _looked_over(other, "Checking test", data.images, num_workers, progress)
        remarks += more
    like = compare_parts(train, tested, threshold)
    facts = gather(train, tested, like, varies=varies(data.images), remarks=remarks)
    is_whole = not is_stream_of(images)
    return Check(facts, findings_of(facts), train, tested, like, is_whole)


def is_stream_of(images: Any) -> bool:
    """Whether images come one after the other."""
    return isinstance(images, StreamSource) or (
        not isinstance(images, ImageSource) and is_stream(images)
    )


def _opened(
    images: Any,
    image_size: Any,
    in_channels: int | None,
    reading: dict[str, Any],
) -> tuple[LabelledSource, list[str]]:
    """The images, and what of them will not be looked at."""
    if not is_stream_of(images):
        options = {"on_error": "skip", **reading}
        return open_data(images, image_size, in_channels, options), []
    if isinstance(images, StreamSource):
        stream: Any = images
    else:
        stream = as_source(images, image_size, in_channels, on_error="skip", **reading)
    first = stream.first(STREAMED)
    remark = (
        f"Of the stream the first {len(first):,} images were looked at; "
        "check(StreamSource(dataset).first(10_000)) looks at more, in memory."
    )
    return LabelledSource(first, None), [remark]


def _looked_over(
    data: LabelledSource,
    label: str,
    form: ImageSource,
    num_workers: int | None,
    progress: bool,
) -> Part:
    cover = form.image_size
    looked = look_over(
        data.images, label=label, cover=cover, num_workers=num_workers, progress=progress
    )
    return Part(data, looked)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")
