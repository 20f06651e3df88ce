"""`import torch` in a process that a script has started: this package, as in the script itself.

`python -m tinygrad_edu` puts the folder of this file on PYTHONPATH.  A process of the same Python
finds it before anything else of that name; a process of another Python goes on without it.
"""

import importlib
import os
import sys

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [_path for _path in sys.path if os.path.abspath(_path) != _FOLDER]
del sys.modules["torch"]
if os.environ.get("TINYGRAD_EDU_PYTHON") == os.path.dirname(sys.executable):
    try:
        _standin = importlib.import_module("tinygrad_edu.standin")
    except ModuleNotFoundError:  # the script found it in its current folder
        sys.path.append(os.path.abspath(os.path.join(_FOLDER, *[os.pardir] * 3)))
        _standin = importlib.import_module("tinygrad_edu.standin")
    _standin.install()
importlib.invalidate_caches()
sys.modules["torch"] = importlib.import_module("torch")
