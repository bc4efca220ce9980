"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 pixels."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from logitpair.data.dataset import ImageData, MemoryImages
from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_torchvision

logger = logging.getLogger("logitpair")
_KEPT = 55_000  # of the 60,000 training images; the last 5,000 are for validation
_BYTES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


@dataclass(frozen=True, kw_only=True)
class MNIST(ImageData):
    """MNIST in torchvision's layout (``root/MNIST/raw/*-ubyte``): 55,000 / 5,000 / 10,000 examples.

    Args:
        root: folder that holds ``MNIST/raw``; where the files are missing they are downloaded into it.

    Raises:
        InputError: when used, if the files are truncated, or missing and out of reach.
    """

    root: Path | str = Path("data")
    name = "MNIST"

    @property
    def classes(self) -> Sequence[str]:
        return [str(digit) for digit in range(10)]

    def train(self) -> MemoryImages:
        return self._read(train=True).part(0, _KEPT)

    def validation(self) -> MemoryImages:
        return self._read(train=True).part(_KEPT, 60_000)

    def test(self) -> MemoryImages:
        return self._read(train=False)

    def _read(self, train: bool) -> MemoryImages:
        raw = Path(self.root) / "MNIST" / "raw"
        for file, size in _BYTES.items():
            path = raw / file
            if path.exists() and path.stat().st_size != size:
                raise InputError(f"--data-dir: {path} has {path.stat().st_size:,} bytes instead of {size:,}; it is truncated or not MNIST")
        complete = all((raw / file).exists() for file in _BYTES)
        if not complete:
            if ((within := Path(self.root) / "mnist") / "MNIST").is_dir():
                raise InputError(f"--data-dir: no MNIST under '{self.root}', but there is '{within}'; give that")
            logger.info(f"--data-dir: no MNIST under '{self.root}'; it is downloaded to there")
        made = [folder for folder in (raw, *raw.parents) if not folder.exists()]
        try:
            mnist = import_torchvision().datasets.MNIST(self.root, train=train, download=not complete)
        except (AssertionError, LookupError, TypeError, ValueError) as error:  # what torchvision raises depends on the bytes
            raise InputError(f"--data-dir: the files in '{raw}' are damaged or not MNIST's; delete them to have them downloaded") from error
        except (RuntimeError, OSError) as error:
            for folder in made:
                with suppress(OSError):  # one that something was downloaded into stays
                    folder.rmdir()
            places = (raw, raw.parent, Path(self.root) / "raw", Path(self.root))
            near = [str(path) for folder in places for path in sorted(folder.glob("*ubyte*")) if path.name not in _BYTES or folder != raw]
            found = f"; what was found must be unpacked, named and placed so: {', '.join(near[:4])}" if near else ""
            raise InputError(
                f"--data-dir: no MNIST under '{self.root}', and it could not be downloaded; "
                f"MNIST/raw there must hold {', '.join(_BYTES)}{found}"
            ) from error
        return MemoryImages(mnist.data[:, None], mnist.targets.long())
