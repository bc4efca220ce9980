"""``python -m logitpair``, and ``torchrun -m logitpair train ...``."""

import sys

from logitpair.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
