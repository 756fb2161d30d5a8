"""`python -m mpg_cli`, and the entry point of the `mpg` script."""

from __future__ import annotations

import sys

from mpg_cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
