"""Nested containers of tensors, as libraries take them apart by `torch.utils._pytree`.

`tree_flatten` gives the leaves and a `TreeSpec`, which says how to put them together again.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from tinygrad_edu.engine.types import Call

__all__ = [
    "LeafSpec", "PyTree", "TreeSpec", "register_pytree_node", "tree_all", "tree_any",
    "tree_flatten", "tree_iter", "tree_leaves", "tree_map", "tree_map_", "tree_map_only",
    "tree_structure", "tree_unflatten",
]  # fmt: skip

PyTree = Any
IsLeaf = Callable[[Any], bool] | None


class _Kind(NamedTuple):
    """How containers of a class are taken apart and put together: (children, context) and back."""

    flatten_fn: Callable[[Any], tuple[Iterable[Any], Any]]
    unflatten_fn: Callable[[list[Any], Any], Any]


def _mapping(make: Callable[[Any], Any]) -> _Kind:
    return _Kind(
        lambda d: (list(d.values()), list(d)),
        lambda children, keys: make(zip(keys, children, strict=True)),
    )


SUPPORTED_NODES: dict[Any, _Kind] = {
    list: _Kind(lambda x: (x, None), lambda children, _: children),
    tuple: _Kind(lambda x: (x, None), lambda children, _: tuple(children)),
    dict: _mapping(dict),
    OrderedDict: _mapping(OrderedDict),
    defaultdict: _Kind(
        lambda d: (list(d.values()), [d.default_factory, list(d)]),
        lambda children, how: defaultdict(how[0], zip(how[1], children, strict=True)),
    ),
    deque: _Kind(lambda d: (list(d), d.maxlen), lambda children, maxlen: deque(children, maxlen)),
    namedtuple: _Kind(lambda x: (list(x), type(x)), lambda children, kind: kind(*children)),
}
"""Each class of containers; that of all named tuples is `collections.namedtuple`."""


def register_pytree_node(
    cls: type, flatten_fn: Call, unflatten_fn: Call, **options: object
) -> None:
    """Let objects of a class be containers.

    Args:
        flatten_fn: returns the list of what is in one, and a context.
        unflatten_fn: makes one of such a list and context.
        options: accepted; they are for export.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = _Kind(flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _get_node_type(tree: object) -> Any:
    named = isinstance(tree, tuple) and hasattr(tree, "_fields")
    return namedtuple if named else type(tree)


@dataclass
class TreeSpec:
    """The structure of a tree: the class of the container, its context, and what is in it.

    Attributes:
        type, context: of the container; None for a leaf.
        children_specs: the structures of what is in it.
        num_leaves, num_nodes, num_children: how many there are.
    """

    type: Any
    context: Any
    children_specs: list[TreeSpec]

    def __post_init__(self) -> None:
        inside = self.children_specs
        self.num_children = len(inside)
        self.num_leaves: int = sum([c.num_leaves for c in inside]) if self.type else 1
        self.num_nodes: int = 1 + sum([c.num_nodes for c in inside])

    def is_leaf(self) -> bool:
        """Whether it is that of a single leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The structures of what is in it."""
        return list(self.children_specs)

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """See `tree_unflatten`."""
        given = list(leaves)
        if len(given) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(given)} but the spec refers"
                f" to a pytree that holds {self.num_leaves} items ({self})."
            )
        if self.type is None:
            return given[0]
        rest = iter(given)
        children = [c.unflatten(islice(rest, c.num_leaves)) for c in self.children_specs]
        return SUPPORTED_NODES[self.type].unflatten_fn(children, self.context)

    def flatten_up_to(self, tree: object) -> list[Any]:
        """What stands in a larger tree where this one has leaves; ValueError if they differ."""
        if self.type is None:
            return [tree]
        children, found = tree_flatten(tree, lambda branch: branch is not tree)
        alike = found.type is self.type and found.context == self.context
        if not alike or len(children) != self.num_children:
            raise ValueError(f"the trees differ: {found.type} is no {self.type} of that size")
        pairs = zip(self.children_specs, children, strict=True)
        return [leaf for spec, child in pairs for leaf in spec.flatten_up_to(child)]

    def __hash__(self) -> int:
        return hash((self.type, self.num_leaves, self.num_nodes))

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        inside = ", ".join(map(repr, self.children_specs))
        return f"TreeSpec({self.type.__name__}, {self.context}, [{inside}])"


def LeafSpec() -> TreeSpec:
    """The structure of a single leaf."""
    return TreeSpec(None, None, [])


def tree_flatten(tree: object, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves of a tree in order, and its structure.

    Args:
        tree: lists, tuples, dicts and registered containers in each other; all else is a leaf.
        is_leaf: a function that says of a container that it counts as a leaf.

    >>> from tinygrad_edu.utils._pytree import tree_flatten, tree_unflatten
    >>> leaves, spec = tree_flatten({"a": [1, 2], "b": (3,)})
    >>> leaves, tree_unflatten([x * 10 for x in leaves], spec)
    ([1, 2, 3], {'a': [10, 20], 'b': (30,)})
    """
    kind = _get_node_type(tree)
    if (is_leaf is not None and is_leaf(tree)) or kind not in SUPPORTED_NODES:
        return [tree], LeafSpec()
    children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    parts = [tree_flatten(child, is_leaf) for child in children]
    leaves = [leaf for found, _ in parts for leaf in found]
    return leaves, TreeSpec(kind, context, [spec for _, spec in parts])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """A tree of that structure with these leaves; ValueError if their number is another."""
    return treespec.unflatten(leaves)


def tree_leaves(tree: object, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: object, is_leaf: IsLeaf = None) -> Iterable[Any]:
    """The leaves, one after the other."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: object, is_leaf: IsLeaf = None) -> TreeSpec:
    """The structure."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Call, tree: object, *rests: object, is_leaf: IsLeaf = None) -> Any:
    """The tree of `func` of each leaf, and of what stands in its place in the other trees."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [spec.flatten_up_to(rest) for rest in rests]
    return spec.unflatten([func(*given) for given in zip(leaves, *others, strict=True)])


def tree_map_(func: Call, tree: object, *rests: object, is_leaf: IsLeaf = None) -> Any:
    """`tree_map` for what `func` does; returns the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def _only(which: Any, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
    test = which if callable(which) and not isinstance(which, type) else None
    return lambda x: func(x) if (test(x) if test else isinstance(x, which)) else x


def tree_map_only(which: Any, func: Any, tree: Any, is_leaf: IsLeaf = None) -> Any:
    """`tree_map`, but leaves that are not of the types `which` (or fail that test) stay."""
    return tree_map(_only(which, func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: object, is_leaf: IsLeaf = None) -> bool:
    """Whether it holds for all leaves."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: object, is_leaf: IsLeaf = None) -> bool:
    """Whether it holds for one leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))
