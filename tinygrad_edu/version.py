"""`torch.version`: this package's own version, and what it was built for.

`tinygrad_edu.__version__` is the version of tinygrad-edu. Where the package stands for torch
(`python -m tinygrad_edu`), `torch.__version__` is the version of PyTorch whose interface it has,
since that is what scripts ask for.
"""

from __future__ import annotations

import re
from typing import Any

__version__ = "0.1.0"
cuda = hip = xpu = None
git_version = "unknown"
debug = False


class TorchVersion(str):
    """A version that compares by its numbers, with strings and with tuples of numbers.

    >>> TorchVersion("2.13.0") >= "2.2", TorchVersion("2.13.0") < (2, 13, 1)
    (True, True)
    """

    __slots__ = ()

    @staticmethod
    def _numbers(version: Any) -> tuple[int, ...]:
        if isinstance(version, str):
            version = re.sub(r"[^\d.].*", "", version.removeprefix("v")).split(".")
        numbers = tuple([int(part) for part in version if part != ""])
        return (*numbers, 0, 0, 0)[: max(3, len(numbers))]

    def __lt__(self, other: object) -> bool:
        return self._numbers(self) < self._numbers(other)

    def __le__(self, other: object) -> bool:
        return self._numbers(self) <= self._numbers(other)

    def __gt__(self, other: object) -> bool:
        return self._numbers(self) > self._numbers(other)

    def __ge__(self, other: object) -> bool:
        return self._numbers(self) >= self._numbers(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (str, tuple)) and self._numbers(self) == self._numbers(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


torch_version = TorchVersion("2.13.0+tinygrad")
"""What `torch.__version__` is where this package stands for torch."""
