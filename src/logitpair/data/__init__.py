"""Data sets, one a file, each yielding uint8 or [0, 1] float images ``[channels, height, width]`` and integer labels."""

from logitpair.data.base import Data, ImageData, MemoryImages, batches, check_data, collate, count, first, select, to_pixels
from logitpair.data.digits import Digits
from logitpair.data.folder import Folder
from logitpair.data.identity import identity
from logitpair.data.mnist import MNIST
from logitpair.data.photos import Photos

__all__ = [
    "MNIST",
    "Data",
    "Digits",
    "Folder",
    "ImageData",
    "MemoryImages",
    "Photos",
    "batches",
    "check_data",
    "collate",
    "count",
    "first",
    "identity",
    "select",
    "to_pixels",
]
