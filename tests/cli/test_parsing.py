"""From words to arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from super_selfish.cli.flags import Flag
from super_selfish.cli.line import is_flag
from super_selfish.cli.parsing import parsed
from super_selfish.cli.reading import Missing
from super_selfish.cli.wrong import WrongLineError

FLAGS = [
    Flag("images", str, Missing, "A folder. Or a file.", is_placed=True),
    Flag("test", str | None, None, "", is_placed=True),
    Flag("image_size", int | tuple[int, int] | None, None, ""),
    Flag("protocols", list[str], ("knn",), ""),
    Flag("seeds", int | list[int], 3, ""),
    Flag("overwrite", bool, False, ""),
    Flag("progress", bool, True, ""),
    Flag("lasts", bool | None, None, ""),
    Flag("pages", Literal["frames"] | int | None, None, ""),
    Flag(
        "value_range",
        tuple[float | list[float], float | list[float]] | Literal["percentile"] | None,
        *(None, ""),
    ),
    Flag("others", dict[str, str] | None, None, ""),
    Flag("choices", dict[str, Any] | str | None, None, ""),
    Flag("moco.temperature", float, 0.2, ""),
    Flag("rotate.rotations", list[int], (), ""),
]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("photos", {}),
        ("photos tested", {"test": "tested"}),
        ("--images photos", {}),
        ("photos --test=tested", {"test": "tested"}),
        ("photos --image-size 96", {"image_size": 96}),
        ("photos --image_size=96", {"image_size": 96}),
        ("photos --image-size 96 128", {"image_size": (96, 128)}),
        ("--image-size [96,128] photos", {"image_size": (96, 128)}),
        ("--image-size 96 photos", {"image_size": 96}),
        ("photos --protocols knn", {"protocols": ["knn"]}),
        ("photos --protocols 1% finetune-from-a.b", {"protocols": ["1%", "finetune-from-a.b"]}),
        ("photos --seeds 5", {"seeds": 5}),
        ("photos --seeds 5 6", {"seeds": [5, 6]}),
        ("--overwrite photos", {"overwrite": True}),
        ("photos --overwrite false", {"overwrite": False}),
        ("--no-progress photos", {"progress": False}),
        ("photos --no-lasts", {"lasts": False}),
        ("photos --pages 2", {"pages": 2}),
        ("photos --pages frames", {"pages": "frames"}),
        ("--value-range percentile photos", {"value_range": "percentile"}),
        ("--value-range -1000 4095 photos", {"value_range": (-1000.0, 4095.0)}),
        ("photos --value-range [[0,0],[1,2]]", {"value_range": ([0.0, 0.0], [1.0, 2.0])}),
        ("photos --others a=x=y b=z", {"others": {"a": "x=y", "b": "z"}}),
        ("--choices choices.json photos", {"choices": "choices.json"}),
        ("photos --choices a=1 b=x", {"choices": {"a": 1, "b": "x"}}),
        ("photos --moco.temperature 1e-1", {"moco": {"temperature": 0.1}}),
        ("photos --rotate.rotations 0 -90", {"rotate": {"rotations": [0, -90]}}),
    ],
)
def test_people_may_type_it_in_several_forms(line: str, expected: dict[str, Any]) -> None:
    assert parsed(line.split(), FLAGS) == {"images": "photos", **expected}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "IMAGES is missing: A folder"),
        ("a b c", "'c' is a word too many"),
        ("a --protocol knn", "there is no --protocol: did you mean --protocols?"),
        ("a --temperature 1", "there is no --temperature: did you mean --moco.temperature?"),
        ("a --no-image-size", "there is no --no-image-size"),
        ("a -x", "there is no -x"),
        ("a --protocols", "--protocols takes several times text, but nothing follows it"),
        ("a --moco.temperature hot", "--moco.temperature takes a number, got 'hot'"),
        ("a --image-size 1 2 3", "--image-size takes a whole number or 2 times a whole number"),
        ("a --pages all", "--pages takes 'frames' or a whole number, got 'all'"),
        ("a --others x", "--others takes NAME=VALUE, got 'x'"),
        ("a --overwrite=perhaps", "--overwrite takes true or false, got 'perhaps'"),
        ("a --config there.yaml", "there.yaml"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(line: str, message: str) -> None:
    with pytest.raises(WrongLineError) as raised:
        parsed(line.split(), FLAGS)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_gives_flags_and_words_stand_above_it(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("images: photos\nimage_size: [96, 128]\nmoco: {temperature: 0.3}\nseeds: 2\n")
    expected = {"images": "photos", "image_size": (96, 128), "moco": {"temperature": 0.3}}
    assert parsed(["--config", str(file)], FLAGS) == {**expected, "seeds": 2}
    given = parsed(["others", f"--config={file}", "--seeds", "1", "2"], FLAGS)
    assert given == {**expected, "images": "others", "seeds": [1, 2]}


def test_a_name_that_a_file_has_and_nobody_knows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("images: photos\nimages_size: 96\n")
    with pytest.raises(WrongLineError, match="'images_size': did you mean image_size"):
        parsed(["--config", str(file)], FLAGS)
    file.write_text("images: photos\nseeds: many\n")
    with pytest.raises(WrongLineError, match="--seeds takes a whole number or"):
        parsed(["--config", str(file)], FLAGS)


def test_a_negative_number_is_no_flag() -> None:
    words = ("-90", "-.5", "-1e-3", "-5min", "-x", "--x", "-", "x")
    assert [word for word in words if is_flag(word)] == ["-x", "--x"]
