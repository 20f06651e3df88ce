"""Nested containers of tensors: taken apart into a flat list, and put together again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def flatten(tree: object) -> list[Any]:
    """The leaves of nested tuples, lists and dictionaries, in order."""
    leaves: list[Any] = []
    todo = [tree]
    while todo:
        branch = todo.pop()
        if isinstance(branch, (tuple, list)):
            todo.extend(reversed(branch))
        elif isinstance(branch, dict):
            todo.extend(reversed(branch.values()))
        else:
            leaves.append(branch)
    return leaves


def rebuild(tree: object, leaves: list[Any]) -> Any:
    """A tree of the same structure with other leaves."""
    following = iter(leaves)
    return change(tree, lambda _: next(following))


def change(tree: object, function: Callable[[Any], Any]) -> Any:
    """The tree with `function` applied to every leaf."""
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[change(branch, function) for branch in tree])
    if isinstance(tree, (tuple, list)):
        return type(tree)(change(branch, function) for branch in tree)
    if isinstance(tree, dict):
        return type(tree)((k, change(branch, function)) for k, branch in tree.items())
    return function(tree)


def broadcast(values: object, tree: object) -> list[Any] | None:
    """One value per leaf of `tree`, where a value higher up counts for all below it.

    None if the structures differ.
    """
    if isinstance(tree, (tuple, list, dict)) and isinstance(values, (tuple, list, dict)):
        if type(values) is not type(tree) or len(values) != len(tree):
            return None
        keys: Any = tree if isinstance(tree, dict) else range(len(tree))
        if isinstance(values, dict) and any(k not in values for k in keys):
            return None
        pairs = [(values[k], tree[k]) for k in keys]
        found: list[Any] = []
        for value, branch in pairs:
            below = broadcast(value, branch)
            if below is None:
                return None
            found += below
        return found
    if isinstance(values, (tuple, list, dict)):
        return None
    return [values] * len(flatten(tree))
