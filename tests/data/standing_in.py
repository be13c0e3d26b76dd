"""Data sets as TorchGeo and MONAI give them, item by item, for where these are not installed.

Their shapes were looked up in torchgeo 0.8.1 and monai 1.6.1, and what was looked up is written
beside each. `modules()` has them under the names under which people import them.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler


def numbers(index: int, *shape: int, high: int = 4000) -> Tensor:
    generator = torch.Generator().manual_seed(index)
    return torch.randint(0, high, shape, generator=generator)


# torchgeo.datasets.geo: a NonGeoDataset gives {"image": float32 [C, H, W], "label": int64 []}; one
# for segmentation {"image": ..., "mask": int64 [H, W]}, without "label".


class NonGeoDataset(Dataset[dict[str, Any]]):
    def __init__(self, root: str = "data", is_masked: bool = False) -> None:
        self.is_masked = is_masked

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample: dict[str, Any] = {"image": numbers(index, 13, 64, 64).float()}
        if self.is_masked:
            sample["mask"] = numbers(index, 64, 64, high=4)
        else:
            sample["label"] = torch.tensor(index % 2)
        return sample


# A GeoDataset is asked by three slices, (x, y, time); of a number it raises
# "TypeError: object of type 'int' has no len()". Its len() is the number of its files. It gives
# {"crs": ..., "bounds": the query, "image": float32 [C, H, W]}.


class GeoDataset(Dataset[dict[str, Any]]):
    def __init__(self, paths: str = "data") -> None:
        self.image = numbers(0, 4, 96, 96)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, query: Any) -> dict[str, Any]:
        x, y, _ = tuple(query)
        image = self.image[:, y.start : y.stop, x.start : x.stop].float()
        return {"crs": object(), "bounds": query, "image": image}


class RasterDataset(GeoDataset):
    pass


class GridGeoSampler(Sampler[tuple[slice, slice, slice]]):
    """It comes to an end, and gives the places of patches."""

    def __init__(self, dataset: GeoDataset, size: int, stride: int) -> None:
        self.starts = range(0, 96 - size + 1, stride)
        self.size = size

    def __iter__(self) -> Iterator[tuple[slice, slice, slice]]:
        for top in self.starts:
            for left in self.starts:
                patch = (slice(left, left + self.size), slice(top, top + self.size))
                yield *patch, slice(0, 1)


# monai.data.MetaTensor is a subclass of Tensor that operations keep, with a dict `meta`.
# monai.data.Dataset(data, transform) gives what the transform makes of an entry; LoadImaged gives
# float32 in the units of the file, width first; EnsureChannelFirstd puts channels before them.


class MetaTensor(Tensor):
    meta: dict[str, Any]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, MetaTensor):  # what made it is copied, or it is broken
            origin = next((each for each in args if isinstance(each, MetaTensor)), None)
            result.meta = {} if origin is None else dict(origin.meta)
        return result


class ListDataset(Dataset[Any]):
    def __init__(self, data: Sequence[Any], transform: Callable[[Any], Any] | None = None) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        entry = self.data[index]
        return entry if self.transform is None else self.transform(entry)


class LoadImaged:
    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        read = torch.from_numpy(np.array(Image.open(entry[self.key]), np.float32))
        image = read.transpose(0, 1).as_subclass(MetaTensor)
        image.meta = {"filename_or_obj": entry[self.key]}
        return {**entry, self.key: image}


class EnsureChannelFirstd(LoadImaged):
    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, self.key: entry[self.key].permute(2, 0, 1)}


class Compose:
    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, entry: Any) -> Any:
        for transform in self.transforms:
            entry = transform(entry)
        return entry


def modules() -> dict[str, types.ModuleType]:
    """What to put into `sys.modules`."""
    given: dict[str, dict[str, Any]] = {
        "torchgeo": {},
        "torchgeo.datasets": {"EuroSAT": NonGeoDataset, "RasterDataset": RasterDataset},
        "torchgeo.samplers": {"GridGeoSampler": GridGeoSampler},
        "monai": {},
        "monai.data": {"Dataset": ListDataset, "MetaTensor": MetaTensor},
        "monai.transforms": {
            "Compose": Compose,
            "EnsureChannelFirstd": EnsureChannelFirstd,
            "LoadImaged": LoadImaged,
        },
    }
    found = {}
    for name, members in given.items():
        found[name] = types.ModuleType(name)
        vars(found[name]).update(members)
    return found


def folder_of_pictures(folder: Path, count: int = 8) -> list[str]:
    """Paths of small pictures of noise, 40 high and 32 wide."""
    paths = []
    for index in range(count):
        picture = numbers(index, 40, 32, 3, high=256).numpy().astype(np.uint8)
        paths.append(str(folder / f"{index}.png"))
        Image.fromarray(picture).save(paths[-1])
    return paths


# The class of TorchGeo is known by its name and where it stands.
GeoDataset.__module__ = "torchgeo.datasets.geo"
