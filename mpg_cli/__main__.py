"""`python -m mpg_cli`, and the entry point of the `mpg` script."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run `mpg`; a Ctrl-C while its modules still load ends it as quietly as one later."""
    gc.disable()  # until a command runs: imports leave no garbage, and collecting costs half a bare start
    try:
        from mpg_cli.cli.app import main as run
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
