"""`einsum`: sums of products of tensors whose dimensions have names.

    einsum("bij,bjk->bik", a, b)      a letter per dimension; those missing behind -> are summed

Two tensors are contracted with one `matmul`: the letters that both have and the result keeps are
its batch, those that both have and nobody needs any more are summed by it.  More than two tensors
are contracted pair by pair, the pair with the smallest result first.  All steps are operations with
derivatives of their own, so einsum needs no rule.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.boundary import type_name
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.more.diagonals import diagonal
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.ops.shape import _permute, movedim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

Labels = list[Any]
"""One entry per dimension: a letter, or an int below 0 for a dimension of the ellipsis."""


def einsum(*args: Any) -> Tensor:
    """Sums of products of tensors, written with a letter for each dimension.

    Args:
        args: an equation such as "ij,jk->ik" and the tensors, as arguments or as one list.  "..."
            stands for any further dimensions, which broadcast.  Without "->" the result has the
            letters that occur once, in alphabetical order.  A letter that a tensor has twice takes
            its diagonal.  Or, instead of letters, lists of ints behind each tensor:
            `einsum(a, [0, 1], b, [1, 2], [0, 2])`.

    Raises:
        RuntimeError: the equation is malformed or does not fit the tensors.

    >>> import tinygrad_edu as torch
    >>> torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 1))
    tensor([[3.],
            [3.]])
    >>> torch.einsum("ii", torch.ones(3, 3))
    tensor(3.)
    """
    if not args:
        raise ValueError("einsum(): must specify the equation string and at least one operand")
    if isinstance(args[0], str):
        equation, tensors = args[0], args[1:]
        if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
            tensors = tuple(tensors[0])
    else:
        equation, tensors = _from_lists(args)
    for i, x in enumerate(tensors):
        if not isinstance(x, TensorBase):
            raise TypeError(f"expected Tensor as element {i} in argument 1, but got {type_name(x)}")
    inputs, output = _parse(equation, [x.array.shape for x in tensors])
    operands = [_take_diagonals(x, labels) for x, labels in zip(tensors, inputs, strict=True)]
    operands = _squeeze_broadcast(operands)
    while len(operands) > 1:
        i, j = _cheapest(operands, output)
        second, first = operands.pop(j), operands.pop(i)
        needed = {label for _, labels in operands for label in labels} | set(output)
        operands.append(_contract(first, second, needed, output))
    return _finish(*operands[0], output)


def _from_lists(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation and the tensors of `einsum(a, [0, 1], b, [1, 2], [0, 2])`."""

    def word(entries: Any) -> str:
        for entry in entries:
            if entry is not Ellipsis and not 0 <= entry < 52:
                raise RuntimeError(
                    f"einsum(): not within the expected range [0, 52): subscript {entry}"
                )
        return "".join(
            ["..." if e is Ellipsis else chr(e + (65 if e < 26 else 71)) for e in entries]
        )

    pairs = len(args) // 2
    equation = ",".join([word(labels) for labels in args[1 : 2 * pairs : 2]])
    if len(args) % 2:
        equation += "->" + word(args[-1])
    return equation, args[0 : 2 * pairs : 2]


def _letters(text: str, where: str) -> list[str]:
    """The letters of one term; "..." is one entry."""
    found: list[str] = []
    i = 0
    while i < len(text):
        if text.startswith("...", i):
            if "..." in found:
                raise RuntimeError(
                    f"einsum(): found '.' for {where} for which an ellipsis was already found"
                )
            found.append("...")
            i += 3
            continue
        if text[i] == ".":
            raise RuntimeError(f"einsum(): found '.' for {where} that is not part of any ellipsis")
        if not (text[i].isascii() and text[i].isalpha()):
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {i} in the equation string,"
                " subscripts must be in [a-zA-Z]"
            )
        found.append(text[i])
        i += 1
    return found


def _parse(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[Labels], Labels]:
    """The labels of each tensor's dimensions and of the result's."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        which = "fewer" if len(terms) > len(shapes) else "more"
        raise RuntimeError(
            f"einsum(): {which} operands were provided than specified in the equation"
        )
    inputs = [
        _label(_letters(term, f"operand {i}"), shape, i)
        for i, (term, shape) in enumerate(zip(terms, shapes, strict=True))
    ]
    every = [label for labels in inputs for label in labels]
    dots = sorted({label for label in every if isinstance(label, int)})
    _check_sizes(inputs, shapes)
    letters = [label for label in every if isinstance(label, str)]
    if not arrow:
        return inputs, dots + sorted({x for x in letters if letters.count(x) == 1})
    output: Labels = []
    for letter in _letters(right, "the output"):
        if letter == "...":
            output += dots
            continue
        if letter in output:
            raise RuntimeError(
                f"einsum(): output subscript {letter} appears more than once in the output"
            )
        if letter not in letters:
            raise RuntimeError(
                f"einsum(): output subscript {letter} does not appear in the equation for any"
                " input operand"
            )
        output.append(letter)
    return inputs, output


def _label(letters: list[str], shape: tuple[int, ...], i: int) -> Labels:
    """The letters of one tensor, its ellipsis replaced by -n, ..., -1: counted from the back."""
    named = len(letters) - ("..." in letters)
    if named > len(shape) or ("..." not in letters and named < len(shape)):
        hint = " and no ellipsis was given" if "..." not in letters else ""
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) does not match the"
            f" number of dimensions ({len(shape)}) for operand {i}{hint}"
        )
    labels: Labels = []
    for letter in letters:
        labels += range(named - len(shape), 0) if letter == "..." else [letter]
    return labels


def _check_sizes(inputs: list[Labels], shapes: list[tuple[int, ...]]) -> None:
    sizes: dict[Any, int] = {}
    for i, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        own: dict[Any, int] = {}
        for label, size in zip(labels, shape, strict=True):
            if own.setdefault(label, size) != size:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand {i} but the sizes don't"
                    f" match, {size} != {own[label]}"
                )
            if sizes.get(label, 1) == 1:
                sizes[label] = size
            elif size not in (1, sizes[label]):
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {size} for operand {i} which does not"
                    f" broadcast with previously seen size {sizes[label]}"
                )


def _take_diagonals(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """The tensor with every repeated label taken along its diagonal."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)  # the joint dimension comes last
            del labels[second], labels[first]
            labels.append(label)
    return x, labels


def _squeeze_broadcast(operands: list[tuple[Any, Labels]]) -> list[tuple[Any, Labels]]:
    """Leave out dimensions of size 1 that another tensor has in full: they broadcast."""
    sizes: dict[Any, int] = {}
    for x, labels in operands:
        for label, size in zip(labels, x.array.shape, strict=True):
            sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
    result = []
    for x, labels in operands:
        shape = x.array.shape
        keep = [i for i, label in enumerate(labels) if shape[i] == sizes[label]]
        if len(keep) < len(labels):
            x, labels = x.reshape(tuple([shape[i] for i in keep])), [labels[i] for i in keep]
        result.append((x, labels))
    return result


def _cheapest(operands: list[tuple[Any, Labels]], output: Labels) -> tuple[int, int]:
    """The pair whose contraction is the smallest tensor."""

    def size(pair: tuple[int, int]) -> int:
        others = [labels for k, (_, labels) in enumerate(operands) if k not in pair]
        needed = set(output).union(*others)
        sizes: dict[Any, int] = {}
        for k in pair:
            sizes.update(zip(operands[k][1], operands[k][0].array.shape, strict=True))
        return math.prod([n for label, n in sizes.items() if label in needed])

    return min(itertools.combinations(range(len(operands)), 2), key=size)


def _contract(
    first: tuple[Any, Labels], second: tuple[Any, Labels], needed: set[Any], output: Labels
) -> tuple[Any, Labels]:
    """The product of two tensors, summed over the labels that nobody needs any more.

    As far as possible its dimensions are in the order of `output`, and so lie in memory.
    """
    a, a_labels = _sum_unneeded(*first, needed | set(second[1]))
    b, b_labels = _sum_unneeded(*second, needed | set(a_labels))
    sizes = {
        **dict(zip(a_labels, a.array.shape, strict=True)),
        **dict(zip(b_labels, b.array.shape, strict=True)),
    }
    own = [[x for x in output if x in one and x not in other] for one, other in
           ((a_labels, b_labels), (b_labels, a_labels))]  # fmt: skip
    if all(own) and output.index(own[1][0]) < output.index(own[0][0]):
        a, a_labels, b, b_labels = b, b_labels, a, a_labels
    place = {label: i for i, label in enumerate(output)}
    a_labels_sorted = sorted(a_labels, key=lambda label: place.get(label, len(place)))
    b_labels_sorted = sorted(b_labels, key=lambda label: place.get(label, len(place)))
    both = [label for label in a_labels_sorted if label in b_labels]
    batch = [label for label in both if label in needed]
    summed = [label for label in both if label not in needed]
    rows = [label for label in a_labels_sorted if label not in b_labels]
    columns = [label for label in b_labels_sorted if label not in a_labels]
    if not summed:  # nothing to add up: an elementwise product is enough
        result = [*batch, *rows, *columns]
        result.sort(key=lambda label: place.get(label, len(place)))
        return _aligned(a, a_labels, result) * _aligned(b, b_labels, result), result

    def arrange(x: Tensor | float, labels: Labels, *groups: Labels) -> Any:
        order = [label for group in groups for label in group]
        x = _permute(x, tuple([labels.index(label) for label in order]))
        return x.reshape(
            (*[sizes[n] for n in batch], *[math.prod([sizes[n] for n in g]) for g in groups[1:]])
        )

    product: Any = matmul(
        arrange(a, a_labels, batch, rows, summed), arrange(b, b_labels, batch, summed, columns)
    )
    result = [*batch, *rows, *columns]
    return product.reshape(tuple([sizes[n] for n in result])), result


def _sum_unneeded(x: Any, labels: Labels, needed: set[Any]) -> tuple[Any, Labels]:
    extra = [i for i, label in enumerate(labels) if label not in needed]
    if not extra:
        return x, labels
    return sum(x, tuple(extra)), [label for label in labels if label in needed]


def _aligned(x: Any, labels: Labels, result: Labels) -> Any:
    """`x` with its dimensions in the order of `result`, of size 1 where it has none."""
    mine = [label for label in result if label in labels]
    x = _permute(x, tuple([labels.index(label) for label in mine]))
    sizes = dict(zip(mine, x.array.shape, strict=True))
    return x.reshape(tuple([sizes.get(label, 1) for label in result]))


def _finish(x: Tensor, labels: Labels, output: Labels) -> Tensor:
    if set(labels) != set(output):  # in the order of the output first: so it then lies in memory
        order = [*output, *[label for label in labels if label not in output]]
        x, labels = _permute(x, tuple([labels.index(label) for label in order])), order
    x, labels = _sum_unneeded(x, labels, set(output))
    if labels == output:
        return x
    return movedim(x, tuple([labels.index(label) for label in output]), tuple(range(len(output))))


__all__ = ["einsum"]
