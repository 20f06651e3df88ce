"""torch's older name of `run`."""

from __future__ import annotations

import sys

from tinygrad_edu.distributed.run import main

if __name__ == "__main__":
    sys.exit(main())
