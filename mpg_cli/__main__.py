"""`python -m mpg_cli`, and the entry point of the `mpg` script."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run `mpg` and return its exit code; Ctrl-C during the imports gives no traceback either."""
    gc.disable()  # until a command runs: imports make no garbage, collecting costs half a bare start
    try:
        from mpg_cli.cli.app import main as run
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
