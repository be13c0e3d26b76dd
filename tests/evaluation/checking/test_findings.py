"""What is said of the facts, on both sides of each threshold."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from super_selfish.evaluation.checking import findings
from super_selfish.evaluation.checking.check import Check
from super_selfish.evaluation.checking.facts import Facts, Film, Shared
from super_selfish.evaluation.checking.findings import Finding, Harm, findings_of
from super_selfish.supervisors import SUPERVISORS

PLAIN = Facts(
    images=1000,
    looked_at=1000,
    image_size=(64, 64),
    sizes={(64, 64): 1000},
    channels={3: 1000},
    kinds={"uint8": 1000},
    threshold=0.8,
    idle=(0.0, 0.0, 0.0),
)

EMPTY = {"flat": 1000, "black": 1000, "flat_names": ("a",)}


def about(topic: str, **facts: Any) -> Finding | None:
    found = [finding for finding in findings_of(replace(PLAIN, **facts)) if finding.topic == topic]
    assert len(found) <= 1
    return found[0] if found else None


def harm_of(topic: str, **facts: Any) -> Harm | None:
    finding = about(topic, **facts)
    return None if finding is None else finding.harm


def test_of_clean_images_only_good_is_said() -> None:
    assert {finding.harm for finding in findings_of(PLAIN)} == {Harm.GOOD}


def test_algorithms_that_are_named_exist() -> None:
    for names in (findings.APART, findings.COLOURS, findings.PLACES, ("motion",)):
        assert set(names) <= SUPERVISORS.keys()


def test_findings_come_by_their_harm() -> None:
    found = findings_of(
        replace(PLAIN, copies=30, grey=1, unreadable=(("a", "broken"),), shared=Shared(10, 1))
    )
    assert [finding.topic for finding in found][:3] == ["test images", "unreadable files", "copies"]
    assert [finding.harm for finding in found] == sorted((f.harm for f in found), reverse=True)


@pytest.mark.parametrize(
    ("topic", "facts", "harm"),
    [
        ("test images", {"shared": Shared(10)}, Harm.GOOD),
        ("test images", {"shared": Shared(10, near=1)}, Harm.HARM),
        ("test images", {}, None),
        ("classes", {"shared": Shared(10, missing_classes=("cat",))}, Harm.HARM),
        ("copies", {"copies": 10}, Harm.NOTE),
        ("copies", {"copies": 6, "near": 5}, Harm.DOUBT),
        ("copies", {"copies": 300, "near": 200}, Harm.DOUBT),
        ("copies", {"copies": 300, "near": 201}, Harm.HARM),
        ("copies", {}, Harm.GOOD),
        ("copies", {"varies": True}, None),
        ("copies", {"images": 1001}, None),
        ("changing images", {"varies": True}, Harm.HARM),
        ("empty images", {"flat": 10, "flat_names": ("a",)}, Harm.NOTE),
        ("empty images", {"flat": 11, "flat_names": ("a",)}, Harm.DOUBT),
        ("empty images", {}, None),
        ("empty images", EMPTY, Harm.HARM),
        ("range", {"used": (0.0, 0.004), **EMPTY}, None),
        ("dead channels", {"dead": (0, 1, 2), **EMPTY}, None),
        ("colour", {"grey": 1000, **EMPTY}, None),
        ("range", {"used": (0.0, 0.0999)}, Harm.HARM),
        ("range", {"used": (0.0, 0.1)}, Harm.DOUBT),
        ("range", {"used": (0.5, 0.75)}, Harm.GOOD),
        ("colour", {"grey": 499}, Harm.NOTE),
        ("colour", {"grey": 500}, Harm.DOUBT),
        ("dead channels", {"dead": (1,)}, Harm.DOUBT),
        ("idle channels", {"idle": (0.01, 0.0, 0.0)}, None),
        ("idle channels", {"idle": (0.011, 0.0, 0.0)}, Harm.NOTE),
        ("idle channels", {"idle": (0.02,), "flat": 10, "flat_names": ("a",)}, None),
        ("idle channels", {"idle": (0.5,), "dead": (0,)}, None),
        ("labels", {"labels": {"a": 10, "b": 99}}, Harm.GOOD),
        ("labels", {"labels": {"a": 10, "b": 100}}, Harm.NOTE),
        ("labels", {"labels": {"a": 9, "b": 9}}, Harm.NOTE),
        ("labels", {"contradicting": 1}, Harm.DOUBT),
        ("frames of films", {"films": (Film(10, "a", "b"),)}, Harm.NOTE),
        ("frames of films", {"films": (Film(11, "a", "b"),)}, Harm.DOUBT),
        ("likeness", {"strangers": 0.49}, None),
        ("likeness", {"strangers": 0.5}, Harm.NOTE),
        ("kinds", {"channels": {1: 10, 3: 990}}, Harm.NOTE),
        ("kinds", {"kinds": {"uint8": 10, "uint16": 990}}, Harm.NOTE),
        ("sizes", {}, None),
        ("sizes", {"sizes": {(28, 28): 1000}}, Harm.NOTE),
        ("sizes", {"sizes": {(64, 64): 500, (32, 64): 500}}, Harm.NOTE),
        ("sizes", {"sizes": {(64, 64): 499, (32, 64): 501}}, Harm.DOUBT),
        ("not looked at", {"remarks": ("Nothing.",)}, Harm.NOTE),
        ("reading", {}, Harm.GOOD),
        ("unreadable files", {"unreadable": (("a", "broken"),)}, Harm.HARM),
    ],
)
def test_how_much_each_finding_matters(
    topic: str, facts: dict[str, Any], harm: Harm | None
) -> None:
    assert harm_of(topic, **facts) == harm


def test_numbers_are_told_with_their_share() -> None:
    copies = about("copies", copies=1)
    assert copies is not None and copies.text.startswith("1 of 1,000 images (0.1 %) is a copy of")
    assert "There are 999 different images." in copies.text
    shared = about("test images", shared=Shared(20_000, exact=1, near=1, examples=(("a", "b"),)))
    assert shared is not None
    assert shared.text.startswith("2 of 20,000 test images (less than 0.1 %) are among")
    assert shared.text.endswith("For instance a (training) and b (test).")
    everything = about("colour", grey=1000)
    assert everything is not None and everything.text.startswith("All 1,000 images have three")
    large = about("copies", copies=250, largest_group=9)
    assert (
        large is not None and "(25 %)" in large.text and "group of such images has 9" in large.text
    )


@pytest.mark.parametrize(
    ("number", "total", "words"),
    [
        (1, 1, "The only image"),
        (2, 2, "All 2 images"),
        (2000, 2000, "All 2,000 images"),
        (1, 2, "1 of 2 images (50 %)"),
        (1, 1001, "1 of 1,001 images (less than 0.1 %)"),
        (1, 1000, "1 of 1,000 images (0.1 %)"),
        (1, 200, "1 of 200 images (0.5 %)"),
        (99, 1000, "99 of 1,000 images (9.9 %)"),
        (10, 100, "10 of 100 images (10 %)"),
        (125, 1010, "125 of 1,010 images (12 %)"),
        (1234, 5000, "1,234 of 5,000 images (25 %)"),
        (989, 1000, "989 of 1,000 images (99 %)"),
        (999, 1000, "999 of 1,000 images (more than 99 %)"),
    ],
)
def test_a_part_is_told_with_its_rounded_share(number: int, total: int, words: str) -> None:
    assert findings._part(number, total, "image") == words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("a", "a"),
        ("ab", "a and b"),
        ("abcde", "a, b, c, d and e"),
        ("abcdef", "a, b, c, d, e and 1 more"),
        ("abcdefg", "a, b, c, d, e and 2 more"),
    ],
)
def test_of_many_names_five_are_told(names: str, words: str) -> None:
    assert findings._list(tuple(names)) == words


@pytest.mark.parametrize(
    ("topic", "facts", "words"),
    [
        (
            "classes",
            {"shared": Shared(10, missing_classes=("cat",))},
            "One class of the test images has no training image: cat. "
            "Nothing that learns from these labels can name it.",
        ),
        (
            "classes",
            {"shared": Shared(10, missing_classes=("cat", "dog"))},
            "2 classes of the test images have no training image: cat and dog. "
            "Nothing that learns from these labels can name them.",
        ),
        ("test images", {"shared": Shared(1)}, "None of 1 test image was found among"),
        (
            "test images",
            {"shared": Shared(1, exact=1)},
            "The only test image is among the training images as well: 1 with the same pixels, 0",
        ),
        ("test images", {"shared": Shared(9, exact=1)}, "without_duplicates() leaves it out of"),
        ("test images", {"shared": Shared(9, near=2)}, "without_duplicates() leaves them out of"),
        ("reading", {"looked_at": 1}, "All 1 image looked at can be read."),
        ("unreadable files", {"unreadable": (("a", "broken"),)}, "() leaves it out. a: broken."),
        ("labels", {"contradicting": 1}, "1 pair of copies or near duplicates has different"),
        ("labels", {"contradicting": 2}, "2 pairs of copies or near duplicates have different"),
        (
            "labels",
            {"labels": {"a": 9, "b": 1000, "c": 9}},
            "Classes have from 9 (a and c) to 1,000 images (b): look at balanced",
        ),
        ("labels", {"labels": {"a": 10, "b": 12}}, "2 classes of 10 to 12 images."),
        (
            "frames of films",
            {"films": (Film(9, "a", "b"), Film(8, "c", "d"))},
            "17 of 1,000 images (1.7 %) follow one another like frames of a film, in 2 parts; "
            "the longest, of 9, begins at a and ends at b.",
        ),
        ("copies", {"copies": 2, "near": 1, "mirrored": 1}, "quality, 1 of the pairs mirrored)"),
        ("copies", {"copies": 2}, "2 with the same pixels, 0 nearly the same (another size, brigh"),
        (
            "empty images",
            {"flat": 6, "black": 1, "white": 2, "flat_names": tuple("abcdef")},
            "6 of 1,000 images (0.6 %) are nearly empty (1 black, 2 white, 3 of one tone), "
            "such as a, b and c.",
        ),
        (
            "empty images",
            {"flat": 1, "black": 1, "flat_names": ("a",)},
            "1 of 1,000 images (0.1 %) is nearly empty (1 black), such as a.",
        ),
        (
            "empty images",
            EMPTY,
            "All 1,000 images are nearly empty (1,000 black), such as a. There is nothing in them "
            "to learn from. Look at some of them in another program: if it shows more, read",
        ),
        ("dead channels", {"dead": (1,)}, "Channel 1 (counted from 0) holds one and the same"),
        ("dead channels", {"dead": (0, 2)}, "Channels 0 and 2 (counted from 0) hold one and the"),
        (
            "idle channels",
            {"idle": (0.5, 0.0, 0.25)},
            "(counted from 0): channel 0 in 50% and channel 2 in 25% of them.",
        ),
        (
            "kinds",
            {"channels": {3: 990, 1: 10}, "kinds": {"uint8": 990, "uint16": 10}},
            "Images are of different kinds: 10 with 1 channel and 990 with 3 channels; "
            "10 uint16 and 990 uint8.",
        ),
        ("sizes", {"sizes": {(28, 32): 1000}}, "Images of 28x32 pixels become 64x64."),
        (
            "sizes",
            {"sizes": {(64, 64): 700, (32, 80): 1, (90, 100): 299}},
            "There are 3 sizes, from 32x80 to 90x100 pixels (height first; 64x64 700 times): all "
            "become 64x64, cut at the longer side. 1 of 1,000 images (0.1 %) lose more than half "
            "of it. 1 of 1,000 images (0.1 %) is enlarged",
        ),
        ("range", {"used": (0.25, 0.5)}, "lie between 25% and 50% of the way from black to white"),
        ("range", {"used": (0.25, 0.3)}, "99 % of the numbers lie between 25.0% and 30.0%, so"),
        (
            "likeness",
            {"strangers": 0.9, "threshold": 0.95},
            "the details agree by up to 0.90, where 1 is a copy), so that only what agrees by 0.95",
        ),
    ],
)
def test_what_was_found_is_told_in_words_for_one_and_for_many(
    topic: str, facts: dict[str, Any], words: str
) -> None:
    finding = about(topic, **facts)
    assert finding is not None and words in finding.text


def test_sixteen_times_the_same_image_is_one_image_with_fifteen_copies() -> None:
    facts = replace(PLAIN, images=16, looked_at=16, copies=15, largest_group=16)
    finding = next(each for each in findings_of(facts) if each.topic == "copies")
    assert finding.text.startswith("15 of 16 images (94 %) are copies of an earlier one: 15 with")
    assert "There is 1 different image. The largest group of such images has 16." in finding.text


@pytest.mark.parametrize(("largest", "is_told"), [(2, False), (3, True)])
def test_a_group_of_copies_is_told_where_it_is_more_than_a_pair(
    largest: int, is_told: bool
) -> None:
    finding = about("copies", copies=5, largest_group=largest)
    assert finding is not None and ("The largest group" in finding.text) == is_told


def test_long_images_lose_more_than_half() -> None:
    exactly = about("sizes", sizes={(64, 128): 10, (64, 64): 990})
    more = about("sizes", sizes={(64, 129): 10, (64, 64): 990})
    assert exactly is not None and "lose more than half" not in exactly.text
    assert more is not None and "10 of 1,000 images (1.0 %) lose more than half" in more.text


def test_only_some_unreadable_files_are_named() -> None:
    three = about("unreadable files", unreadable=tuple((name, "broken") for name in "abc"))
    four = about("unreadable files", unreadable=tuple((name, "broken") for name in "abcd"))
    assert three is not None and three.text.endswith("out. a: broken; b: broken; c: broken.")
    assert four is not None and "For instance a: broken" in four.text and "d:" not in four.text


def checked(test: int | None = None, **facts: Any) -> Check:
    told = replace(PLAIN, **facts)
    part: Any = None if test is None else SimpleNamespace(source=range(test))
    nothing: Any = None
    return Check(told, findings_of(told), nothing, part, nothing)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (checked(), "1,000 images of 64x64 pixels, 3 channels, uint8"),
        (
            checked(1, images=1, looked_at=1, sizes={(28, 32): 1}, channels={1: 1}),
            "1 image of 28x32 pixels, 1 channel, uint8; 1 test image",
        ),
        (
            checked(
                2000,
                images=9000,
                sizes={(28, 32): 1, (64, 64): 999},
                channels={3: 999, 1: 1},
                kinds={"uint8": 999, "uint16": 1},
            ),
            "9,000 images (1,000 looked at) of different sizes, 1 or 3 channels, uint16 and uint8; "
            "2,000 test images",
        ),
    ],
)
def test_a_check_begins_with_a_line_on_the_images(found: Check, line: str) -> None:
    assert found.text(200).partition("\n")[0] == line


def test_images_are_good_where_nothing_is_to_be_mended_or_thought_about() -> None:
    harmed, doubtful, noted = checked(used=(0, 0.05)), checked(grey=500), checked(grey=1)
    assert [found.is_good for found in (harmed, doubtful, noted)] == [False, False, True]
    assert [len(found.bad()) for found in (harmed, doubtful, noted)] == [1, 0, 0]
