"""The script once more, in a process that it has spawned.

A process started by "spawn" (a worker of a DataLoader on macOS or Windows) first runs the main
module again, to have its functions and classes.  It would do so without the stand-in for torch; so
`python -m tinygrad_edu` names this module as the main one.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "TINYGRAD_EDU_SCRIPT"
"""The environment variable that tells a spawned process where the script is."""

if __name__ == "__mp_main__":
    from tinygrad_edu import standin

    standin.install()
    __file__ = os.environ[VARIABLE]
    sys.path[0] = os.path.dirname(os.path.realpath(__file__))
    with open(__file__, "rb") as _script:
        exec(compile(_script.read(), __file__, "exec"), globals())
