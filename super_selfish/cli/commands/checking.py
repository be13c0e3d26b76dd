"""`super-selfish check`."""

from __future__ import annotations

from typing import Any

from super_selfish.cli.output import give, require_writable
from super_selfish.cli.places import require_images


def check(
    images: str,
    *,
    test: str | None = None,
    json: bool = False,
    out: list[str] | None = None,
    **given: Any,
) -> None:
    """Looks at all images before anything is trained on them; needs no labels.

    Args:
        images: A folder (class sub-folders are labels), a pattern, or a .csv of paths and labels.
        test: Images that accuracies will be of; none of them should be among the others.
        json: Writes facts and findings as JSON.
        out: Files besides: .json, .md, or .png for a sheet of what was found.
        **given: As for `super_selfish.check`.
    """
    require_images(images, test)
    from super_selfish.evaluation.checking import Check
    from super_selfish.evaluation.checking import check as function

    for path in out or []:
        require_writable(path, Check)
    give(function(images, test, **given), as_json=json, out=out)
