"""Images on their way to the networks: sources, collators, loaders."""

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.clips import FramePairs
from super_selfish.data.collate import Batch, Collator, LabelCollator, Labelled
from super_selfish.data.mask_folder import MaskFolder
from super_selfish.data.opening import as_source
from super_selfish.data.photographs import photographs
from super_selfish.data.pictures import Picture, picture
from super_selfish.data.sampled import SampledItems
from super_selfish.data.sources import ImageSource, Sample, Unreadable
from super_selfish.data.stream_source import StreamSource
from super_selfish.data.windows import dicom_window

__all__ = [
    "Batch",
    "Collator",
    "FramePairs",
    "ImageSource",
    "LabelCollator",
    "Labelled",
    "MaskFolder",
    "Picture",
    "Sample",
    "SampledItems",
    "StreamSource",
    "Unreadable",
    "as_source",
    "dicom_window",
    "photographs",
    "picture",
    "to_unit_range",
]
