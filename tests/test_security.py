"""Every line of SECURITY.md has its test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_line_of_the_security_page_is_held_by_a_test_that_is_there() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\| (?!a stranger|---)", line)]
    assert len(rows) >= 15
    for row in rows:
        assert re.search(r"\| `tests/\S+::test_\w+` \|$", row), row
    for path, name in re.findall(r"`(tests/\S+?)::(test_\w+)`", page):
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.M), f"{path}::{name}"
