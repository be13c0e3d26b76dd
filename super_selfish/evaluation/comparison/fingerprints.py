"""Short names for settings, networks and data: equal for equal ones, in every process."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Subset

from super_selfish.data.files import FileList
from super_selfish.data.items import ArrayItems
from super_selfish.data.known_labels import known_labels
from super_selfish.data.paths import common_folder
from super_selfish.data.sources import ImageSource, Unreadable
from super_selfish.evaluation.features import LabelledSource

_PROBES = 16  # images of a source that are looked at


def fingerprint(description: Any) -> str:
    """Twelve hexadecimal digits of what `describe` makes of a value."""
    text = json.dumps(describe(description), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe(value: Any) -> Any:
    """A value as plain JSON that is the same in every process.

    Networks are told by their structure and all their weights, tensors by their entries, functions
    by name, code and what they enclose, other objects by their class and attributes.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [describe(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(describe(inner), sort_keys=True) for inner in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, nn.Module):
        weights = value.state_dict()
        return [repr(value), {name: describe(weights[name]) for name in sorted(weights)}]
    if isinstance(value, np.ndarray):
        return describe(torch.as_tensor(np.array(value, dtype=value.dtype.newbyteorder("="))))
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), _digest(value)]
    if isinstance(value, functools.partial):
        return ["partial", describe(value.func), describe(value.args), describe(value.keywords)]
    return _describe_object(value)


def describe_data(data: LabelledSource | ImageSource) -> Any:
    """Size and form of a data set, labels, some of its images, all in memory or files."""
    source, labels, masks = (data, None, None) if isinstance(data, ImageSource) else data
    labels = source.given_labels if labels is None else labels
    last = len(source) - 1
    probes = [source[last * number // (_PROBES - 1)] for number in range(_PROBES)]
    return [
        len(source),
        list(source.image_size),
        source.in_channels,
        [p.name if isinstance(p, Unreadable) else describe([p.image, p.label]) for p in probes],
        describe(labels),
        _describe_items(source.items),
        *([] if masks is None else [describe(masks.numbers)]),
    ]


def _describe_items(items: Any) -> Any:
    """All images that lie in one array or in files, and the labels that are known without reading.

    Files are told by name and size, wherever their folder lies and whenever it was copied there.
    """
    if isinstance(items, ArrayItems):
        return [describe(items.images), describe(items.labels)]
    if isinstance(items, Subset):
        return [describe(torch.as_tensor(items.indices)), _describe_items(items.dataset)]
    if isinstance(items, FileList):
        start = common_folder(items.files)
        digest = hashlib.sha256()
        for file in items.files:
            size = os.path.getsize(file) if os.path.isfile(file) else -1
            digest.update(json.dumps([file[start:], size]).encode())
        return [digest.hexdigest(), describe(items.labels)]
    known = known_labels(items)
    if isinstance(known, list) and all(type(label) is int for label in known):
        known = torch.tensor(known)
    return describe(known)


def _describe_object(value: Any) -> Any:
    """A class, function, method or any other object."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.MethodType):
        return ["method", describe(value.__self__), value.__func__.__qualname__]
    if isinstance(value, types.FunctionType):
        code = value.__code__
        return [
            f"{value.__module__}.{value.__qualname__}",
            hashlib.sha256(code.co_code).hexdigest(),
            [constant for constant in code.co_consts if isinstance(constant, int | float | str)],
            describe(value.__defaults__),
            describe(value.__kwdefaults__),
            [describe(cell.cell_contents) for cell in value.__closure__ or ()],
        ]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__dict__"):
        return [kind, describe(vars(value))]
    return [kind, repr(value)]


def _digest(tensor: Tensor) -> str:
    """Hash of a tensor's bytes."""
    if is_lazy(tensor):
        return "uninitialized"
    flat = tensor.detach().cpu().contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
