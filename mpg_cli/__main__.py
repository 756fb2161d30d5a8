"""`python -m mpg_cli`, and the entry point of the `mpg` script."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run `mpg`; a Ctrl-C while its modules still load ends it as quietly as one later."""
    gc.disable()  # until a command runs: imports leave no garbage behind, and looking for it takes time
    try:
        from mpg_cli.cli.front import answered

        try:
            code = answered(sys.argv[1:])
        except OSError as error:  # the answer cannot be written
            from mpg_cli.cli.app import explained

            return explained(error)
        if code is not None:
            return code
        from mpg_cli.cli.app import main as run
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
