"""Watching nodes being made and rules being run, for tools that are rarely on.

Saved-tensor hooks and anomaly detection need to step in wherever an operation is recorded.  An
"is it on?" in that place would cost every operation of every program.  Instead, while somebody
watches, `Node.__init__` is exchanged for one that also calls the watchers; else it is as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_edu.autograd.graph import Node

_plain_init: Any = Node.__init__
_watchers: list[Callable[[Node], None]] = []


def _watched_init(self: Node, *args: Any) -> None:
    _plain_init(self, *args)
    for watcher in tuple(_watchers):
        watcher(self)


def watch(watcher: Callable[[Node], None]) -> None:
    """Call `watcher(node)` for every node made from now on, on any thread."""
    _watchers.append(watcher)
    Node.__init__ = _watched_init  # type: ignore[assignment,method-assign]


def unwatch(watcher: Callable[[Node], None]) -> None:
    """Stop that."""
    _watchers.remove(watcher)
    if not _watchers:
        Node.__init__ = _plain_init  # type: ignore[method-assign]
