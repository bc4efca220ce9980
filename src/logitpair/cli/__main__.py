"""``python -m logitpair.cli``, the older spelling of ``python -m logitpair``."""

import sys

from logitpair.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
