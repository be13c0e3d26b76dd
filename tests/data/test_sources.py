from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from super_selfish.data.opening import as_source
from super_selfish.data.samples import DatasetError
from super_selfish.data.sources import (
    ImageSource,
    Sample,
    Unreadable,
    images_at,
    labels_of,
)

COUNT, HEIGHT, WIDTH = 5, 40, 48


def pixels(seed: int = 0, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> Any:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width].copy()


ARRAYS = np.stack([pixels(seed) for seed in range(COUNT)])  # [N, H, W, 3]
TENSORS = torch.from_numpy(ARRAYS).permute(0, 3, 1, 2)  # [N, 3, H, W]
LABELS = torch.tensor([0, 1, 0, 2, 1])


class Items(Dataset[Any]):
    """A home-made dataset of one function."""

    def __init__(self, give: Callable[[int], Any], count: int = COUNT) -> None:
        self.give = give
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.give(index)


def pil(index: int) -> Image.Image:
    return Image.fromarray(ARRAYS[index])


def write(folder: Path, name: str, array: Any = None, **options: Any) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels() if array is None else array).save(path, **options)
    return str(path)


def sample(source: ImageSource, index: int) -> Sample:
    got = source[index]
    assert isinstance(got, Sample)
    return got


LABELLED: dict[str, Any] = {
    "tuple of PIL and int": Items(lambda i: (pil(i), int(LABELS[i]))),
    "tuple of tensor and 0-d tensor": Items(lambda i: (TENSORS[i], LABELS[i])),
    "tuple of array and numpy int": Items(lambda i: (ARRAYS[i], np.int32(LABELS[i]))),
    "dict with image and label": Items(lambda i: {"image": pil(i), "label": int(LABELS[i])}),
    "dict with img and labels": Items(lambda i: {"img": ARRAYS[i], "labels": int(LABELS[i])}),
    "dict with pixel_values and target": Items(
        lambda i: {"pixel_values": TENSORS[i], "target": LABELS[i]}
    ),
    "TensorDataset": TensorDataset(TENSORS, LABELS),
    "tensors in a tuple": (TENSORS, LABELS),
    "array and list in a tuple": (ARRAYS, LABELS.tolist()),
    "list of pairs": [(pil(i), int(LABELS[i])) for i in range(COUNT)],
}
UNLABELLED: dict[str, Any] = {
    "PIL": Items(pil),
    "uint8 tensors": Items(lambda i: TENSORS[i]),
    "float tensors": Items(lambda i: TENSORS[i].double() / 255),
    "channels-last tensors": Items(lambda i: TENSORS[i].permute(1, 2, 0)),
    "channels-first arrays": Items(lambda i: ARRAYS[i].transpose(2, 0, 1)),
    "float arrays": Items(lambda i: (ARRAYS[i] / 255).astype(np.float32)),
    "reversed arrays": Items(lambda i: np.flip(ARRAYS[i], 0).copy()[::-1]),
    "tuple with a name": Items(lambda i: (pil(i), "cat")),
    "tuple with a numpy name": Items(lambda i: (pil(i), np.str_("cat"))),
    "dict without a label": Items(lambda i: {"image": pil(i), "caption": "cat"}),
    "tensor": TENSORS,
    "array": ARRAYS,
    "read-only array": np.frombuffer(ARRAYS.tobytes(), np.uint8).reshape(ARRAYS.shape),
    "list of PIL": [pil(i) for i in range(COUNT)],
    "tuple of PIL": tuple(pil(i) for i in range(COUNT)),
    "list of tensors": list(TENSORS),
}


@pytest.mark.parametrize("kind", [*LABELLED, *UNLABELLED])
def test_every_kind_of_data_gives_the_same_images(kind: str) -> None:
    source = ImageSource((LABELLED | UNLABELLED)[kind])

    assert len(source) == COUNT
    assert source.image_size == (HEIGHT, WIDTH)
    assert source.in_channels == 3
    for index in range(COUNT):
        image, position, _ = sample(source, index)
        expected = TENSORS[index]
        if image.dtype == torch.float32:
            torch.testing.assert_close(image, expected / 255)
        else:
            assert image.dtype == torch.uint8
            assert torch.equal(image, expected)
        assert position == index


@pytest.mark.parametrize("kind", LABELLED)
def test_labels_are_scalar_integers(kind: str) -> None:
    source = ImageSource(LABELLED[kind])

    for index in range(COUNT):
        label = sample(source, index).label
        assert label is not None and label.dtype == torch.int64 and label.ndim == 0
        assert label == LABELS[index]
    labels = labels_of(source)
    assert labels is not None and torch.equal(labels, LABELS)


@pytest.mark.parametrize("kind", UNLABELLED)
def test_data_without_labels_has_none(kind: str) -> None:
    source = ImageSource(UNLABELLED[kind])

    assert sample(source, 0).label is None
    assert labels_of(source) is None


def test_a_label_may_be_any_tensor() -> None:
    targets = torch.rand(COUNT, 7)
    source = ImageSource(TensorDataset(TENSORS, targets))

    label = sample(source, 3).label
    assert label is not None and torch.equal(label, targets[3])
    labels = labels_of(source)
    assert labels is not None and torch.equal(labels, targets)


# Folders and lists of files


def test_a_folder_is_searched_to_its_bottom_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/deep/1.png", "a/3.bmp", "a/.hidden.png", ".cache/1.png"):
        write(tmp_path, name)
    (tmp_path / "a" / "notes.txt").write_text("no image")

    source = ImageSource(tmp_path)

    names = [Path(source.name(i)).relative_to(tmp_path).as_posix() for i in range(len(source))]
    assert names == ["a/3.bmp", "b/2.PNG", "b/deep/1.png"]
    assert source.classes == ["a", "b"]
    labels = labels_of(source)
    assert labels is not None and labels.tolist() == [0, 1, 1]
    assert [int(sample(source, i).label) for i in range(3)] == [0, 1, 1]  # type: ignore[arg-type]


def test_a_folder_with_images_at_its_top_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png")
    write(tmp_path, "2.png")

    source = ImageSource(str(tmp_path))

    assert source.classes is None
    assert labels_of(source) is None
    assert sample(source, 0).label is None
    assert source.raw(0) == str(tmp_path / "2.png")


def test_a_folder_linked_into_itself_is_searched_once(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)

    assert len(ImageSource(tmp_path)) == 1


def test_a_list_of_files_keeps_its_order(tmp_path: Path) -> None:
    files = [tmp_path / "b.png", tmp_path / "a.png"]
    for seed, file in enumerate(files):
        write(tmp_path, file.name, pixels(seed))

    source = ImageSource(files)

    assert torch.equal(images_at(source, [0, 1]), TENSORS[:2])


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere' is missing"):
        ImageSource(tmp_path / "nowhere")


def test_an_empty_folder_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no image in .* end in .jpg, .jpeg"):
        ImageSource(tmp_path)


def test_one_file_is_a_source_of_one_image(tmp_path: Path) -> None:
    source = ImageSource(write(tmp_path, "1.png"))

    assert len(source) == 1
    assert torch.equal(sample(source, 0).image, TENSORS[0])


# Modes, depths, channels


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [
        ("1", 1, torch.uint8),
        ("L", 1, torch.uint8),
        ("LA", 1, torch.uint8),
        ("La", 1, torch.uint8),
        ("I;16", 1, torch.uint16),
        ("I", 1, torch.uint16),
        ("F", 1, torch.float32),
        ("P", 3, torch.uint8),
        ("PA", 3, torch.uint8),
        ("RGB", 3, torch.uint8),
        ("RGBA", 3, torch.uint8),
        ("CMYK", 3, torch.uint8),
        ("YCbCr", 3, torch.uint8),
        ("HSV", 3, torch.uint8),
    ],
)
def test_every_pil_mode_has_its_channels_and_depth(
    mode: str, channels: int, dtype: torch.dtype
) -> None:
    image = Image.new(mode, (40, 32))
    if mode.upper() in ("LA", "PA", "RGBA"):  # of which alpha is left out, and nothing lost
        image.putalpha(255) if mode == mode.upper() else image.paste((0, 255), (0, 0, 40, 32))
    source = ImageSource([image, image])

    assert source.in_channels == channels
    assert sample(source, 1).image.dtype == dtype
    assert sample(source, 1).image.shape == (channels, 32, 40)


@pytest.mark.parametrize("kind", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("form", ["file", "PIL"])
def test_alpha_is_told_of_where_it_says_something_and_kept_on_demand(
    tmp_path: Path, kind: str, form: str
) -> None:
    image = Image.fromarray(pixels())
    alpha = Image.fromarray(pixels(7, channels=1)[..., 0])
    if kind == "P":
        image = image.quantize(8)
        image.info["transparency"] = bytes([0, 128, 255])
    else:
        image = image.convert(kind)
        image.putalpha(alpha)
    image.save(tmp_path / "1.png")
    data: Any = tmp_path if form == "file" else [image]
    colours = 1 if kind == "LA" else 3

    with pytest.warns(UserWarning, match="an alpha channel is left out .* in_channels=4"):
        without = sample(ImageSource(data), 0).image
    whole = sample(ImageSource(data, in_channels=colours + 1), 0).image

    assert without.shape == (colours, HEIGHT, WIDTH)
    expected = np.asarray(image.convert("LA" if kind == "LA" else "RGBA")).transpose(2, 0, 1)
    assert np.array_equal(whole.numpy(), expected)
    assert np.array_equal(without.numpy(), expected[:colours])


def test_alpha_that_says_nothing_is_left_out_without_a_word(tmp_path: Path) -> None:
    image = Image.fromarray(pixels()).convert("RGBA")
    image.save(tmp_path / "1.png")
    assert torch.equal(sample(ImageSource(tmp_path), 0).image, TENSORS[0])


def test_sixteen_bits_survive_a_file_and_a_stack(tmp_path: Path) -> None:
    deep = np.arange(32 * 40, dtype=np.uint16).reshape(32, 40) * 50
    write(tmp_path, "1.png", deep)
    write(tmp_path, "2.tif", deep)

    images = images_at(ImageSource(tmp_path), [1, 0])

    assert images.dtype == torch.uint16
    assert np.array_equal(images.numpy(), np.stack([deep, deep])[:, None])


def test_big_endian_arrays_are_read() -> None:
    deep = 51 * np.arange(32 * 40, dtype=">u2").reshape(1, 32, 40)

    assert np.array_equal(sample(ImageSource(deep), 0).image.numpy(), deep.astype(np.uint16))


def test_more_than_sixteen_bits_are_refused_by_name() -> None:
    image = Image.new("I", (32, 32), 70_000)
    with pytest.raises(ValueError, match=r"item 0: .* got int32 of 70000\.\.70000"):
        ImageSource([image])


def test_bool_is_black_and_white() -> None:
    mask = torch.rand(1, 32, 32) > 0.5

    assert torch.equal(sample(ImageSource(mask), 0).image, mask.to(torch.uint8) * 255)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.int8])
def test_other_integers_are_refused_with_a_hint(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"got int\d+ of .* convert to uint8"):
        ImageSource(TENSORS.to(dtype))
    with pytest.raises(ValueError, match=r"got int\d+ of .* convert to uint8"):
        ImageSource(TENSORS.to(dtype).numpy())


@pytest.mark.parametrize("skip", ["raise", "skip"])
def test_normalised_floats_are_refused_and_never_skipped(skip: Any) -> None:
    data = Items(lambda i: (TENSORS[i] / 255 - 0.5) * 4)
    with pytest.raises(ValueError, match=r"item 0: .* lie in \[0, 1\], got -2.*leave Normalize"):
        ImageSource(data, on_error=skip)


def test_floats_slightly_out_of_range_are_clamped() -> None:
    image = torch.linspace(-0.0005, 1.0005, 32 * 32).reshape(1, 32, 32)

    clamped = sample(ImageSource([image]), 0).image

    assert clamped.min() == 0 and clamped.max() == 1


def test_nan_is_refused() -> None:
    image = torch.rand(3, 32, 32)
    image[1, 2, 3] = float("nan")
    with pytest.raises(ValueError, match="must be finite, got NaN"):
        ImageSource([image])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_is_kept(channels: int) -> None:
    arrays = np.stack([pixels(seed, channels=channels) for seed in range(2)])

    source = ImageSource(arrays, image_size=32)

    assert source.in_channels == channels
    assert images_at(source, [0, 1]).shape == (2, channels, 32, 32)


def test_a_tie_of_axes_puts_channels_first_in_tensors_and_last_in_arrays_if_they_are_meant() -> (
    None
):
    cube = 9 * np.arange(27, dtype=np.uint8).reshape(3, 3, 3)

    first = ImageSource([torch.from_numpy(cube)], image_size=3, in_channels=3)
    last = ImageSource([cube], image_size=3, in_channels=3)

    assert torch.equal(sample(first, 0).image, torch.from_numpy(cube))
    assert torch.equal(sample(last, 0).image, torch.from_numpy(cube).permute(2, 0, 1))


def test_grey_among_colour_is_repeated_and_colour_becomes_luminance_on_demand() -> None:
    grey = pil(1).convert("L")

    colour = ImageSource([pil(0), grey])
    single = ImageSource([pil(0), grey], in_channels=1)

    assert colour.in_channels == 3
    assert torch.equal(sample(colour, 1).image, torch.from_numpy(np.array(grey)).repeat(3, 1, 1))
    expected = torch.from_numpy(np.array(pil(0).convert("L")))[None]
    assert torch.equal(sample(single, 0).image, expected)


def test_other_changes_of_channels_are_refused_by_name() -> None:
    many = [pil(number % COUNT) for number in range(100)]
    many[50:51] = [pixels(channels=5)]  # where no look was taken
    advice = "or give in_channels=5 if it is meant"
    for given in (None, 3):
        with pytest.raises(ValueError, match="item 50: cannot turn 5 channels into 3") as caught:
            ImageSource(many, in_channels=given)[50]
        assert (advice in str(caught.value)) is (given is None)
        left_out = ImageSource(many, in_channels=given, on_error="skip")[50]
        assert isinstance(left_out, Unreadable) and "cannot turn 5" in left_out.reason


def test_an_image_of_another_kind_is_told_of_at_the_start_or_left_out(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, f"{number}.tif", pixels(number))
    tifffile.imwrite(tmp_path / "5.tif", pixels(5, channels=4), photometric="rgb", extrasamples=[0])
    for given in (None, 3, 4):
        with pytest.raises(
            ValueError, match=r"1 of 4 channels \(such as .*5\.tif\).*'skip'"
        ) as told:
            ImageSource(tmp_path, in_channels=given)
        assert "5 of 3 channels" in str(told.value) and "in_channels" not in str(told.value)
    source = ImageSource(tmp_path, on_error="skip")
    assert source.in_channels == 3
    assert [type(source[i]) for i in range(6)] == [Sample] * 5 + [Unreadable]
    assert source[5].name.endswith("5.tif")  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="cannot all be turned into 2 channels"):
        ImageSource(tmp_path, in_channels=2, on_error="skip")


@pytest.mark.parametrize(("wrong", "kind"), [("3", TypeError), (2.5, ValueError), (0, ValueError)])
def test_channels_are_a_whole_number(wrong: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="in_channels must be"):
        ImageSource(ARRAYS, in_channels=wrong)


def test_types_that_differ_are_stacked_as_floats() -> None:
    images = [torch.full((1, 32, 32), 255, dtype=torch.uint8), torch.full((1, 32, 32), 0.5)]

    stacked = images_at(ImageSource(images), [0, 1])

    assert stacked.dtype == torch.float32
    assert stacked[:, 0, 0, 0].tolist() == [1.0, 0.5]


# Sizes


def test_grey_images_of_28_pixels_become_32() -> None:
    source = ImageSource(torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8))

    assert source.image_size == (32, 32)
    assert images_at(source, torch.arange(3)).shape == (3, 1, 32, 32)


def test_mixed_sizes_become_the_default_size(tmp_path: Path) -> None:
    write(tmp_path, "1.png", pixels(height=64, width=50))
    write(tmp_path, "2.png", pixels(height=50, width=300))

    source = ImageSource(tmp_path)

    assert source.image_size == (225, 225)
    assert images_at(source, [0, 1]).shape == (2, 3, 225, 225)


@pytest.mark.parametrize("size", [(32, 32), (20, 44), (60, 40), (57, 91), (3, 48)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_resizing_agrees_with_pil_to_one_grey_level(size: tuple[int, int], mode: str) -> None:
    image = pil(0).convert(mode)
    height, width = size
    scale = max(height / HEIGHT, width / WIDTH)
    covering = (max(width, round(WIDTH * scale)), max(height, round(HEIGHT * scale)))
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    resized = image.resize(covering, Image.Resampling.BILINEAR)
    expected = np.array(resized.crop((left, top, left + width, top + height)))

    result = sample(ImageSource([image], image_size=size), 0).image

    difference = result.permute(1, 2, 0).squeeze(2).int() - torch.from_numpy(expected).int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float32])
def test_deep_images_are_resized_like_bytes(dtype: torch.dtype) -> None:
    full = 65535 if dtype == torch.uint16 else 1.0
    deep = (TENSORS[0].to(torch.float32) * (full / 255)).numpy()
    array = deep.astype(np.uint16) if dtype == torch.uint16 else deep

    result = sample(ImageSource([array], image_size=32), 0).image
    expected = sample(ImageSource([TENSORS[0]], image_size=32), 0).image

    assert result.dtype == dtype
    distance = result.to(torch.float32) * (255 / full) - expected.to(torch.float32)
    assert distance.abs().max() < 1


def test_a_size_that_fits_costs_no_copy() -> None:
    source = ImageSource(TENSORS)

    assert sample(source, 2).image.data_ptr() == TENSORS[2].data_ptr()


def test_a_very_long_strip_is_cropped_before_it_is_resized() -> None:
    strip = np.zeros((4, 100_000), np.uint8)
    strip[:, 49_000:51_000] = 200

    image = sample(ImageSource([strip], image_size=64), 0).image

    assert image.shape == (1, 64, 64)
    assert image.min() == 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_image_and_size(tmp_path: Path, orientation: int) -> None:
    stored = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "1.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "1.jpg") as opened:
        plain = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
    upright = {
        1: plain,
        2: plain.flip(2),
        3: plain.flip(1, 2),
        4: plain.flip(1),
        5: plain.transpose(1, 2),
        6: plain.rot90(-1, (1, 2)),
        7: plain.transpose(1, 2).flip(1, 2),
        8: plain.rot90(1, (1, 2)),
    }[orientation]

    source = ImageSource(tmp_path)

    assert source.image_size == tuple(upright.shape[1:])
    assert torch.equal(sample(source, 0).image, upright)


def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path: Path) -> None:
    large = Image.fromarray(pixels()).resize((720, 600), Image.Resampling.BICUBIC)
    large.save(tmp_path / "1.jpg", quality=95)
    with Image.open(tmp_path / "1.jpg") as opened:
        whole = ImageSource([opened.copy()], image_size=60)  # no file: no fraction

    difference = sample(ImageSource(tmp_path, 60), 0).image.int() - sample(whole, 0).image.int()

    assert difference.abs().float().mean() < 1
    assert difference.abs().max() <= 8


@pytest.mark.parametrize("size", [0, (32,), (32, 32, 3), (0, 32)])
def test_impossible_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="image_size must be"):
        ImageSource(TENSORS, image_size=size)


# Broken images


def broken_folder(folder: Path) -> Path:
    write(folder, "1.png")
    whole = Path(write(folder, "2.jpg"))
    whole.write_bytes(whole.read_bytes()[:-200])  # the header is whole
    write(folder, "3.png")
    return folder


@pytest.mark.parametrize("size", [(1, 40), (2, 40), (40, 2), (40, 1)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_file_one_or_two_pixels_wide_keeps_its_colours(
    tmp_path: Path, size: tuple[int, int], ending: str
) -> None:
    Image.new("RGB", size, (250, 120, 10)).save(tmp_path / f"strip.{ending}")
    sample = ImageSource(tmp_path, 32)[0]
    assert isinstance(sample, Sample)
    difference = sample.image.int() - torch.tensor([250, 120, 10])[:, None, None]
    assert sample.image.shape == (3, 32, 32) and int(difference.abs().max()) <= 3


def test_a_broken_file_is_fatal_and_named(tmp_path: Path) -> None:
    source = ImageSource(broken_folder(tmp_path))
    with pytest.raises(OSError, match=r"cannot read image .*2\.jpg: OSError: .*truncated") as info:
        source[1]
    assert isinstance(info.value.__cause__, OSError)


def test_a_broken_file_is_skipped_on_request(tmp_path: Path) -> None:
    source = ImageSource(broken_folder(tmp_path), on_error="skip")

    got = source[1]

    assert isinstance(got, Unreadable)
    assert got.index == 1
    assert got.name == str(tmp_path / "2.jpg")
    assert "truncated" in got.reason
    assert isinstance(source[2], Sample)
    with pytest.raises(ValueError, match=r"cannot read image .*2\.jpg"):
        images_at(source, [0, 1])


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_a_file_that_is_no_image_is_found_by_its_header(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "2.png").write_bytes(content)

    with pytest.raises((OSError, ValueError), match=r"cannot read image .*2\.png"):
        ImageSource(tmp_path)
    source = ImageSource(tmp_path, on_error="skip")
    assert source.image_size == (HEIGHT, WIDTH)
    assert isinstance(source[1], Unreadable)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    files = [write(tmp_path, "1.png"), write(tmp_path, "2.png")]
    source = ImageSource(files)
    Path(files[1]).unlink()
    with pytest.raises(OSError, match=r"cannot read image .*2\.png: FileNotFoundError"):
        source[1]


def test_nothing_readable_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none can be read of 1 image looked at; .*1\.png"):
        ImageSource(tmp_path, on_error="skip")


def refuse(index: int) -> tuple[Image.Image, int]:
    if index == 1:
        raise OSError("disk on fire")
    return pil(index), int(LABELS[index])


def test_an_item_that_a_dataset_cannot_read_is_named_or_skipped() -> None:
    with pytest.raises(OSError, match="cannot read image item 1: OSError: disk on fire"):
        ImageSource(Items(refuse))

    source = ImageSource(Items(refuse), on_error="skip")

    assert source[1] == Unreadable(1, "item 1", "OSError: disk on fire")
    labels = labels_of(source)
    assert labels is not None and labels.tolist() == [0, -1, 0, 2, 1]


def test_a_bug_in_a_dataset_is_never_skipped_and_names_the_item() -> None:
    def bug(index: int) -> Image.Image:
        raise KeyError("colour")

    with pytest.raises(DatasetError, match=r"^Items\[0\] fails .*: KeyError: 'colour'") as caught:
        ImageSource(Items(bug), on_error="skip")
    assert isinstance(caught.value.__cause__, KeyError)


def test_labels_of_different_shapes_cannot_be_stacked() -> None:
    source = ImageSource(Items(lambda i: (TENSORS[i], torch.zeros(i + 1))))
    with pytest.raises(ValueError, match="labels must be of one shape"):
        labels_of(source)


# Use


def test_raw_gives_the_item_as_it_came() -> None:
    data = Items(lambda i: {"image": TENSORS[i], "text": "x"})
    source = ImageSource(data)

    assert source.dataset is data
    assert source.raw(2)["text"] == "x"


def test_negative_indices_count_from_the_end_and_others_are_out_of_range() -> None:
    source = ImageSource(TENSORS)

    assert sample(source, -1).index == COUNT - 1
    with pytest.raises(IndexError):
        source[COUNT]


def test_a_source_passes_through_as_source() -> None:
    source = ImageSource(TENSORS)

    assert as_source(source) is source
    assert as_source(source, (HEIGHT, WIDTH), 3) is source
    with pytest.raises(ValueError, match="the source gives 3 channels"):
        as_source(source, in_channels=1)


def test_a_source_takes_another_size_unless_somebody_has_said_its_own(tmp_path: Path) -> None:
    source = ImageSource(TENSORS)
    part = source.subset([2, 0]).with_labels([5, 6])
    other = as_source(part, 32)
    assert other.image_size == (32, 32) and sample(other, 0).image.shape == (3, 32, 32)
    assert torch.equal(sample(other, 0).image, sample(ImageSource(TENSORS, image_size=32), 2).image)
    assert other.label(1) == 6
    assert sample(part, 0).image.shape == (3, HEIGHT, WIDTH) and source.image_size == (
        HEIGHT,
        WIDTH,
    )
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    for said in (
        ImageSource(TENSORS, image_size=(HEIGHT, WIDTH)),
        ImageSource(TENSORS, image_size=(HEIGHT, WIDTH)).subset([0]),
        ImageSource([str(tmp_path / "a.png")]).cached(tmp_path / "cache", progress=False),
        as_source(source, 36),
    ):
        with pytest.raises(ValueError, match=r"the source gives images of \(\d+, \d+\), but image"):
            as_source(said, 32)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (3, TypeError, "expected a dataset .* got int"),
        ({"train": TENSORS}, TypeError, r"got dict; choose one of \['train'\]"),
        ([], ValueError, "empty dataset"),
        (TENSORS[0, 0], ValueError, r"must be \[N, C, H, W\]"),
        ((TENSORS, LABELS[:2]), ValueError, "5 images but 2 labels"),
        ([{"picture": TENSORS[0]}], TypeError, r"one of \['image'.* keys \['picture'\]"),
        ([None], ValueError, "item 0: .* gives None instead of an image.* on_error='skip'"),
    ],
)
def test_data_that_holds_no_images_is_refused(data: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        ImageSource(data)


def test_images_with_more_channels_than_those_that_were_looked_at_are_told() -> None:
    gray = Image.fromarray(ARRAYS[0]).convert("L")
    data = Items(lambda i: pil(0) if i in (2, 4) else gray, 100)  # 32 of 100 are looked at
    source = ImageSource(data)
    assert source.in_channels == 1
    with pytest.warns(
        UserWarning, match="item 2 has 3 channels, but .* give in_channels=3, or"
    ) as w:
        assert [sample(source, i).image.shape[0] for i in (2, 4)] == [1, 1]
    assert len(w) == 1
    asked = ImageSource(data, in_channels=1)
    assert sample(asked, 2).image.shape[0] == 1  # without a word


def test_where_all_that_is_looked_at_is_broken_the_next_readable_image_tells(
    tmp_path: Path,
) -> None:
    def give(index: int) -> Image.Image:
        if index != 70:
            raise OSError("gone")
        return pil(0)

    source = ImageSource(Items(give, 100), on_error="skip")
    assert source.image_size == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="none can be read of 60 images looked at; item 0"):
        ImageSource(Items(give, 60), on_error="skip")


def test_an_unknown_way_with_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        ImageSource(TENSORS, on_error="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["folder", "tensor", "array"])
def test_a_source_can_be_pickled(kind: str, tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    data = {"folder": tmp_path, "tensor": TENSORS, "array": ARRAYS}[kind]
    source = ImageSource(data, image_size=36)

    copy = pickle.loads(pickle.dumps(source))

    assert copy.image_size == (36, 36)
    assert torch.equal(copy[0].image, sample(source, 0).image)


def stack(samples: list[Sample]) -> tuple[Tensor, list[int]]:
    return torch.stack([s.image for s in samples]), [s.index for s in samples]


def test_files_are_named_through_subsets_of_a_folder(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        write(tmp_path, name)
    whole = ImageFolder(str(tmp_path))
    source = ImageSource(Subset(Subset(whole, [2, 1, 0]), [0, 2]), image_size=8, in_channels=3)
    assert [source.name(i) for i in range(2)] == [whole.samples[2][0], whole.samples[0][0]]
    (tmp_path / "b" / "3.png").write_bytes(b"broken")
    with pytest.raises(OSError, match=r"cannot read image .*3\.png"):
        source[0]


def test_two_workers_read_a_folder(tmp_path: Path) -> None:
    for seed in range(COUNT):
        write(tmp_path, f"{seed}.png", pixels(seed))
    loader = DataLoader(ImageSource(tmp_path), batch_size=2, num_workers=2, collate_fn=stack)

    batches = list(loader)

    assert torch.equal(torch.cat([images for images, _ in batches]), TENSORS)
    assert [i for _, indices in batches for i in indices] == list(range(COUNT))


def test_a_part_of_a_source_keeps_images_and_labels() -> None:
    images = 80 * torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 32, 32)
    source = ImageSource((images, torch.tensor([5, 6, 7, 8])))
    part = ImageSource(torch.utils.data.Subset(source, [2, 3]))
    sample = part[1]
    assert isinstance(sample, Sample)
    assert sample.label is not None
    assert (int(sample.image[0, 0, 0]), int(sample.label), sample.index) == (240, 8, 1)


def test_the_label_of_an_item_that_is_none_is_that_of_a_skipped_one() -> None:
    items: list[Any] = [(pil(0), 1), None, (pil(1), 0), {"image": None}, (None, 2)]
    source = ImageSource(items, on_error="skip")
    labels = labels_of(source)
    assert labels is not None and labels.tolist() == [1, -1, 0, -1, 2]
    rows = [(pil(0), np.array([0, 1])), None]
    several = labels_of(ImageSource(rows, on_error="skip"))
    assert several is not None and several.tolist() == [[0, 1], [-1, -1]]
    many = [(pil(number % COUNT), 1) for number in range(100)]
    many[50:51] = [None]  # type: ignore[list-item]  # where no look was taken
    with pytest.raises(ValueError, match=r"cannot read image item 50: .*gives None instead"):
        labels_of(ImageSource(many))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_items_may_be_the_bytes_of_files(kind: str, images: Tensor, tmp_path: Path) -> None:
    files = []
    for number, image in enumerate(images[:3]):
        files.append(tmp_path / f"{number}.{kind.lower()}")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(files[-1], kind)
    given: Any = [[file.read_bytes() for file in files]]
    given += [[{"image": {"bytes": data, "path": None}, "label": 1} for data in given[0]]]
    given += [[{"image": {"bytes": None, "path": str(file)}, "label": 1} for file in files]]
    expected = images_at(ImageSource(files), range(3))
    for items in given:
        assert torch.equal(images_at(ImageSource(items), range(3)), expected)
    with pytest.raises(ValueError, match="reads files by their paths, but the dataset gives their"):
        ImageSource(given[0], loader=lambda path: images[0])
    broken = ImageSource([given[0][0], given[0][0][:40]], on_error="skip")
    assert isinstance(broken[1], Unreadable)


@pytest.mark.parametrize("form", ["tensor", "list"])
def test_several_positions_are_checked_as_one_is(form: str) -> None:
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    images[:, 0] = torch.tensor([0, 80, 160, 255], dtype=torch.uint8).view(4, 1, 1)
    source = ImageSource(images if form == "tensor" else list(images))
    given = source.__getitems__([-1, 1, -4])
    assert [sample.index for sample in given] == [3, 1, 0]
    assert [int(sample.image[0, 0, 0]) for sample in given] == [255, 80, 0]  # type: ignore[union-attr]
    for wrong in (4, -5):
        with pytest.raises(IndexError):
            source.__getitems__([0, wrong])
