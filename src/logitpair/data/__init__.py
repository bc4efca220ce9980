"""Data sets, one a file, each yielding uint8 or [0, 1] float images ``[channels, height, width]`` and integer labels."""

from logitpair.data.batching import Data, batches, collate, count, first, select, to_pixels
from logitpair.data.cifar import CIFAR10, CIFAR100
from logitpair.data.data_fingerprint import fingerprint
from logitpair.data.dataset import ImageData, MemoryImages, check_data
from logitpair.data.digits import Digits
from logitpair.data.evaluation_folder import Photos
from logitpair.data.huggingface import HuggingFace
from logitpair.data.image_folder import Folder, ImageNet
from logitpair.data.mnist import MNIST
from logitpair.data.svhn import SVHN
from logitpair.data.tiny_imagenet import TinyImageNet
from logitpair.data.transforms import Augmentation
from logitpair.data.webdataset import Shards, write_shards

__all__ = [
    "CIFAR10",
    "CIFAR100",
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
    "fingerprint",
    "first",
    "select",
    "to_pixels",
    "write_shards",
]
