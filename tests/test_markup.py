from __future__ import annotations

import os

import pytest
from jinja2 import UndefinedError

from super_selfish.markup import Rows, Sentence, card, environment
from tests.cards import EVIL, Card


def test_no_text_of_a_card_is_ever_a_tag() -> None:
    rows = Rows([[EVIL, EVIL, 1.5]], (EVIL, EVIL, EVIL))
    shown = Card(
        card(
            EVIL,
            about=EVIL,
            verdict=Sentence(EVIL, "bad"),
            sentences=[EVIL],
            table=rows,
            remarks=[EVIL],
            more=rows,
            more_title=EVIL,
        )
    )
    assert shown.text.count(EVIL) == 16
    assert shown.cells == [[EVIL] * 3, [EVIL, EVIL, "1.5"]] * 2


@pytest.mark.parametrize("kind", ["good", "bad", ""])
def test_a_verdict_is_marked_and_all_else_is_left_out_where_there_is_nothing(kind: str) -> None:
    shown = Card(card("A title", verdict=Sentence("So it is.", kind)))
    assert shown.text == "A title So it is."
    assert shown.classes == ["super-selfish", "verdict", *([kind] if kind else [])]


def test_names_of_files_that_are_no_unicode_can_be_sent_to_a_notebook() -> None:
    written = card(os.fsdecode(b"caf\xe9"))
    assert "caf\\udce9" in written and written.encode()


def test_a_template_of_a_package_is_found_beside_those_that_all_share() -> None:
    for package in ("super_selfish", "super_selfish.evaluation.report"):
        assert environment(package).get_template("table.html")
    with pytest.raises(UndefinedError, match="title"):
        environment().get_template("card.html").render()
