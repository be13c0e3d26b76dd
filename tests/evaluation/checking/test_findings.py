"""What is said of the facts, on both sides of each threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from super_selfish.evaluation.checking import findings
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
    idle=(0.0, 0.0, 0.0),
)


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
        ("copies", {}, Harm.GOOD),
        ("copies", {"varies": True}, None),
        ("copies", {"images": 1001}, None),
        ("changing images", {"varies": True}, Harm.HARM),
        ("empty images", {"flat": 10, "flat_names": ("a",)}, Harm.NOTE),
        ("empty images", {"flat": 11, "flat_names": ("a",)}, Harm.DOUBT),
        ("empty images", {}, None),
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
    assert copies is not None and copies.text.startswith("1 of 1,000 images (0.1 %) is there twice")
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
