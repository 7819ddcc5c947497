"""`python -m keyturn` is the command line, wherever the package can be imported."""

from __future__ import annotations

import sys

from keyturn.cli import main

if __name__ == "__main__":
    sys.exit(main())
