"""`python -m mirex`."""

import sys

from mirex.cli import main

if __name__ == "__main__":
    sys.exit(main())
