"""Nodes as torch shows them: their class, their name, what they lead to, what they saved.

An operation says what torch calls it as a chain, written like a call: `"Exp"`, or, where torch
takes several steps that are one here, `"View(Addmm(bias, View(input), T(weight)))"`.  The names
inside are the operation's arguments, or, as in `gx.bias`, arguments of the operation that made one.
The class of the node is called by the outermost name; the others are links, made when somebody asks
for `next_functions`.  A chain that ends in `~` stands for the operation before it as well; one that
begins so is left out.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tinygrad_edu.dtypes import NumpyDtype
from tinygrad_edu.engine import versions
from tinygrad_edu.engine.graph import Leaf, Node, Part
from tinygrad_edu.engine.hooks import RemovableHandle, copy_as, hooks_of
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.types import Options, Values

Result = TypeVar("Result")
Edges = tuple[tuple[Any, int], ...]


class Named:
    """What torch calls it."""

    def name(self) -> str:
        """torch's name for it: `MulBackward0`, `torch::autograd::CopySlices`."""
        found = type(self).__name__
        return found if "Backward" in found else f"torch::autograd::{found}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


class Link(Named):
    """A step of torch's that is part of one operation here: a name between nodes."""

    def __init__(self, next_functions: Edges) -> None:
        self.next_functions = next_functions


class Shown(Named, Node):
    """What torch's nodes offer besides being walked."""

    @property
    def metadata(self) -> Options:
        """A dictionary for the user's own notes."""
        found: Options = self.__dict__.setdefault("_metadata", {})
        return found

    def register_hook(self, fn: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call `fn(grad_inputs, grad_outputs)` behind its backward step.

        Both are tuples of tensors and None; it may return other gradients of the inputs.
        """
        return RemovableHandle(hooks_of(self._operation()).after, fn)

    def register_prehook(self, fn: Callable[[Values], Any]) -> RemovableHandle:
        """Call `fn(grad_outputs)` before its backward step; it may return other ones."""
        return RemovableHandle(hooks_of(self._operation()).before, fn)

    def _operation(self) -> Node:
        return self


class TorchNode(Shown):
    """A recorded operation."""

    chain = ""
    part_class: type[TorchPart]

    chain_links: Edges | None = None
    sources: Mapping[str, Node | None] | None = None
    """What the chain names, where that is not what the operation was called with."""

    @property
    def next_functions(self) -> Edges:
        """The nodes that its gradients go to, each with the index of the output it stands for."""
        if self.chain.endswith("~"):
            before: Any = self.edges[0]
            result: Edges = before.next_functions
            return result
        if "(" not in self.chain:
            return tuple([_edge(e) for e in self.edges[: _shown(self)]])
        if self.chain_links is None:  # made once: who walks a graph compares nodes
            self.chain_links = _Parser(self).links()
        return self.chain_links

    def part(self, index: int, shape: tuple[int, ...], dtype: NumpyDtype) -> Part:
        """The node of one of its outputs."""
        return self.part_class(self, index, shape, dtype)

    def refused(self, why: str) -> Exception:
        """torch's error for a node that cannot be made, or run backward."""
        if why == "inference":
            return RuntimeError(versions.INFERENCE)
        return RuntimeError(versions.FREED if why == "freed" else versions.modified(self))

    def check_versions(self) -> None:
        """Raise, if an array was written that a rule needs, and not only the definition."""
        if versions.any_written(self.guards[: self.plan.by_rules], self.number):
            raise self.refused("modified")

    def __dir__(self) -> list[str]:
        names = [*super().__dir__()]
        return [n for n in names if not n.startswith("_saved_") or hasattr(self, n)]

    def saved(self, name: str) -> Any:
        """What it keeps of an argument or of the output, under the operation's name for it."""
        if self.kept is None:
            raise RuntimeError(versions.FREED)
        kept = dict(zip(self.plan.names, self.kept, strict=False))
        if name not in kept:
            raise AttributeError(
                f"{type(self).__name__!r} object keeps no {name!r} but"
                f" {', '.join(kept) or 'nothing'}"
            )
        value = kept[name]
        return wrap(value) if hasattr(value, "dtype") else value


_THEIRS = {
    "y": "result", "x": "self", "a": "self", "b": "other", "dims": "dim", "p": "ord",
    "size": "normalized_shape",
}  # fmt: skip
"""What torch calls, as a rule, what an operation keeps under these names; others are the same."""
_OF_NODES = {
    "Mm b": "mat2", "Bmm b": "mat2", "Mv b": "vec", "Dot b": "tensor", "Addmm x": "mat1",
    "Convolution x": "input", "NativeLayerNorm x": "input", "NativeBatchNorm x": "input",
    "Max index": "indices", "Min index": "indices", "Embedding index": "indices",
    "Index index": "indices", "Permute dims": "dims",
}  # fmt: skip


def _saved(word: str, name: str) -> dict[str, property]:
    """The attributes by which nodes called `word` show what they keep of an argument."""
    theirs = _OF_NODES.get(f"{word} {name}") or _THEIRS.get(name, name)
    value: Any = property(lambda node: node.saved(name))
    shape: Any = property(lambda node: node.saved(f"{name}_shape"))
    return {f"_saved_{theirs}": value, f"_saved_{theirs}_sym_sizes": shape}


def _shown(node: Node) -> int:
    """How many edges torch shows: those of arguments that may need a gradient."""
    op = node.plan.op
    ruled = [i for i, name in enumerate(op.inputs) if name in op.rules] if op.inputs else []
    whole = op.variadic or op.joint is not None or not ruled
    return len(node.edges) if whole else max(ruled) + 1


def _edge(node: Any) -> tuple[Any, int]:
    while getattr(node, "chain", "").startswith("~"):
        node = node.edges[0]
    return (node.whole, node.index) if isinstance(node, Part) else (node, 0)


def class_name(word: str) -> str:
    """`Exp` is `ExpBackward0`; what has a number or needs none stays."""
    if "Backward" in word or word.startswith("Copy"):
        return word
    return re.sub(r"\d[a-z]", lambda match: match[0].upper(), word) + "Backward0"  # Log1P


@functools.cache
def node_class(chain: str, parameters: tuple[str, ...] = ()) -> type[TorchNode]:
    """The class of the nodes of the operations with this chain and these arguments, made once.

    What it keeps are properties of the class: a `__getattr__` would slow all attributes down.
    """
    word = class_name(re.split(r"[^\w:]", chain.lstrip("~"), maxsplit=1)[0])
    part = type(word, (TorchPart,), {"__module__": __name__})
    own: Options = {}
    for name in (*parameters, "y"):
        own |= _saved(word.partition("Backward")[0], name)
    own |= {"chain": chain, "part_class": part, "__module__": __name__}
    return type(word, (TorchNode,), own)


def shown_as(result: Result, chain: str, **inputs: Any) -> Result:
    """The result of several operations, shown as torch's chain of these `inputs`."""
    node = getattr(result, "node", None)
    if node is not None and not node.is_leaf:
        cls = node_class(chain, getattr(node.plan.op, "names", ()))
        made = copy_as(node, cls.part_class if isinstance(node, Part) else cls)
        if inputs:
            made.sources = {name: current_node(t) for name, t in inputs.items()}
        shown: Any = result
        shown.node = made
    return result


def lasting(result: Result) -> Result:
    """The result of an operation that keeps only what was made of sizes and numbers of the caller.

    In torch there is nothing to free then, and so the graph may be walked again: here, too.
    """
    node = getattr(result, "node", None)
    if node is not None and not node.is_leaf:
        node.plan = _lasting(node.plan)
    return result


@functools.cache
def _lasting(plan: Any) -> Any:
    made = copy.copy(plan)
    made.arrays = None
    return made


def absorbing(op: Any, before: Any) -> Any:
    """The sum or mean of losses, which torch computes together with them, if they are its own."""
    chain: str = getattr(getattr(before, "node", None), "chain", "")
    if "Loss" in chain or "CrossEntropy" in chain:
        return _absorbing(op, chain)
    return op


@functools.cache
def _absorbing(op: Any, chain: str) -> Any:
    return op.called(f"{chain}~")


@functools.cache
def _link_class(word: str) -> type[Link]:
    return type(class_name(word), (Link,), {"__module__": __name__})


def _arguments_of(node: Node) -> Mapping[str, Node | None]:
    return dict(zip(node.plan.op.inputs, node.edges, strict=False))


class _Parser:
    """Reads a chain and makes its links."""

    def __init__(self, node: TorchNode) -> None:
        self.edges = _arguments_of(node) if node.sources is None else node.sources
        self.words: list[str] = re.findall(r"[\w.]+|[()]", node.chain)[::-1]

    def links(self) -> Edges:
        self.words.pop()  # the node itself
        return self._arguments()

    def _arguments(self) -> Edges:
        found = []
        self.words.pop()
        while self.words[-1] != ")":
            found.append(self._argument())
        self.words.pop()
        return tuple(found)

    def _argument(self) -> tuple[Any, int]:
        word = self.words.pop()
        if not self.words or self.words[-1] != "(":
            name, *further = word.split(".")
            node = self.edges.get(name)
            for name in further:
                node = None if node is None else _arguments_of(node).get(name)
            return _edge(node)
        below = self._arguments()
        if all([node is None for node, _ in below]):
            return None, 0
        return _link_class(word)(below), 0


class TorchPart(Shown, Part):
    """One output of several, shown as the operation it belongs to."""

    def _operation(self) -> Node:
        return self.whole

    @property
    def next_functions(self) -> Edges:
        """Those of the operation."""
        whole: Any = self.whole
        found: Edges = whole.next_functions
        return found


class AccumulateGrad(Shown, Leaf):
    """The end of a path."""

    next_functions: Edges = ()

    @property
    def variable(self) -> Any:
        """The tensor, while it lives."""
        return self.tensor()


Primitive.node_class = staticmethod(node_class)
