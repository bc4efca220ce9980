"""Data sets, one a file, each yielding uint8 or [0, 1] float images ``[channels, height, width]`` and integer labels."""

from logitpair.data.augmentation import Augmentation
from logitpair.data.base import Data, ImageData, MemoryImages, batches, check_data, collate, count, first, select, to_pixels
from logitpair.data.digits import Digits
from logitpair.data.folder import Folder
from logitpair.data.hugging_face import HuggingFace
from logitpair.data.identity import identity
from logitpair.data.imagenet import ImageNet
from logitpair.data.mnist import MNIST
from logitpair.data.photos import Photos
from logitpair.data.shards import Shards
from logitpair.data.svhn import SVHN
from logitpair.data.tiny_imagenet import TinyImageNet
from logitpair.data.write_shards import write_shards

__all__ = [
    "MNIST",
    "SVHN",
    "Augmentation",
    "Data",
    "Digits",
    "Folder",
    "HuggingFace",
    "ImageData",
    "ImageNet",
    "MemoryImages",
    "Photos",
    "Shards",
    "TinyImageNet",
    "batches",
    "check_data",
    "collate",
    "count",
    "first",
    "identity",
    "select",
    "to_pixels",
    "write_shards",
]
