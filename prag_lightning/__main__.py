"""``python -m prag_lightning`` is ``prag``."""

import sys

from prag_lightning.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
