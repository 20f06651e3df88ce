"""The questions that `examine` asks of an operation."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, float32, float64, is_floating
from tinygrad_edu.engine.gradients import grad
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.testing.strategies import LAYOUTS, _laid_out

STEP = 1e-5
RTOL, ATOL = 1e-4, 1e-6
"""Of derivatives against finite differences, in double precision."""
SINGLE = 1e-3
"""Of single precision against double, relative to the greatest value."""


Example = tuple[Any, ...]


class Finding(AssertionError):
    """What is wrong, and with which argument: with its rule, unless `forward` says otherwise."""

    def __init__(self, message: str, argument: int | None = None, *, forward: bool = False) -> None:
        super().__init__(message)
        self.argument, self.forward = argument, forward


class Refused(Exception):
    """The operation raised an error, which it may."""


def _parameters(operation: Callable[..., Any]) -> list[str]:
    primitive = getattr(operation, "primitive", None)
    if primitive is not None:
        return list(primitive.parameters)
    try:
        signature = inspect.signature(operation)
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in signature.parameters.values() if p.kind in kinds]


class _Run:
    """One call: its tensors, and what came out."""

    def __init__(
        self,
        operation: Callable[..., Any],
        example: Example,
        *,
        dtype: Any = float64,
        layout: str = "contiguous",
        live: Sequence[bool] | None = None,
        constants: Sequence[int] = (),
    ) -> None:
        self.inputs: list[tuple[int, Any]] = []
        args = []
        for i, value in enumerate(example):
            if isinstance(value, Tensor):
                array = value.array.copy()
                floating = is_floating(array.dtype)
                array = array.astype(dtype.numpy) if floating else array
                value = wrap(_laid_out(array, layout))
                if floating and i not in constants:
                    if live is None or live[len(self.inputs)]:
                        value.requires_grad_()
                    self.inputs.append((i, value))
            args.append(value)
        self.args = args
        try:
            result = operation(*args)
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        found = result if isinstance(result, (tuple, list)) else [result]
        self.outputs = [y for y in found if isinstance(y, Tensor)]
        self.live = [t for _, t in self.inputs if t.requires_grad]
        self.floats = [y for y in self.outputs if is_floating(y.array.dtype)]
        self.results = [y for y in self.floats if y.requires_grad]

    def cotangents(self) -> list[Any]:
        """One for each output, none of whose elements is near 0."""
        random = np.random.default_rng(7)
        made = []
        for y in self.floats:
            shape = y.array.shape
            u = random.uniform(0.5, 1.5, shape) * random.choice([-1.0, 1.0], shape)
            made.append(wrap(np.asarray(u).astype(y.array.dtype)))
        return made

    def gradients(self, us: Sequence[Any], create: bool = False, retain: bool = False) -> list[Any]:
        """Of the live inputs; zeros where none arrives."""
        pairs = [(y, u) for y, u in zip(self.floats, us, strict=True) if y.requires_grad]
        if not pairs:
            return [wrap(np.zeros_like(t.array)) for t in self.live]
        try:
            found = grad(
                [y for y, _ in pairs], self.live, [u for _, u in pairs], create_graph=create,
                retain_graph=create or retain, allow_unused=True,
            )  # fmt: skip
        except Exception as error:
            text = f"the backward pass raises {type(error).__name__}: {error}"
            raise Finding(text) from error
        return [
            wrap(np.zeros_like(t.array)) if g is None else g
            for g, t in zip(found, self.live, strict=True)
        ]


class Examiner:
    """The checks of one operation; each raises `Finding` or `Refused`, or finds nothing."""

    def __init__(self, operation: Callable[..., Any], reference: Callable[..., Any] | None) -> None:
        self.operation, self.reference = operation, reference
        self.names = _parameters(operation)
        primitive = getattr(operation, "primitive", None)
        constants = primitive.constants if primitive is not None else ()
        self.constants = [i for i, name in enumerate(self.names) if name in constants]
        self.rules: dict[str, Any] = {}
        if primitive is not None:
            joint = dict.fromkeys(primitive.inputs if primitive.joint else (), primitive.joint)
            self.rules = {**primitive.rules, **joint}

    def checks(self) -> Iterator[tuple[str, Callable[[Example], None]]]:
        """Each with its name."""
        yield "computes", self.computes
        yield "determinism", self.determinism
        if self.reference is not None:
            yield "values", self.values
        yield "first derivative", self.first
        yield "second derivative", self.second
        yield "arguments alone", self.alone
        yield "broadcasting", self.broadcasting
        yield "memory layouts", self.layouts
        yield "empty and 0-d", self.extremes
        yield "single precision", self.single
        yield "in-place writes", self.writes

    def run(self, example: Example, **options: Any) -> _Run:
        return _Run(self.operation, example, constants=self.constants, **options)

    def only(self, example: Example, fails: Callable[[_Run, list[Any]], bool]) -> int | None:
        """The one argument of which alone this is true, if there is one."""
        count = len(self.run(example).inputs)
        found = []
        for place in range(count):
            run = self.run(example, live=[k == place for k in range(count)])
            if fails(run, run.cotangents()):
                found.append(run.inputs[place][0])
        return found[0] if len(found) == 1 else None

    def raising(self, example: Example) -> int | None:
        """The one argument whose gradient, asked for alone, cannot be computed."""

        def raises(run: _Run, us: list[Any]) -> bool:
            try:
                run.gradients(us, retain=True)
                run.gradients(us, create=True)
            except Finding:
                return True
            return False

        return self.only(example, raises)

    def computes(self, example: Example) -> None:
        """Does it at all, backward too, and leave its inputs alone?"""
        run = self.run(example)
        if not run.outputs:
            raise Finding("it returns no tensor")
        for i, (value, before) in enumerate(zip(run.args, example, strict=True)):
            if isinstance(before, Tensor) and not np.array_equal(
                value.array, before.array.astype(value.array.dtype), equal_nan=True
            ):
                raise Finding("the operation writes into it", i, forward=True)
        run.gradients(run.cotangents())

    def values(self, example: Example) -> None:
        """Are values, and gradients if the reference has some, the reference's?"""
        assert self.reference is not None
        run = self.run(example)
        try:
            other = _Run(self.reference, example)
            pairs = list(zip(run.outputs, other.outputs, strict=False))
        except Refused:  # it may be for arrays, or for tensors that need no gradient
            other, pairs = _Run(lambda: None, ()), []
        if not pairs:
            raw = self.reference(*[a.detach() if isinstance(a, Tensor) else a for a in run.args])
            pairs = [(run.outputs[0], wrap(np.asarray(raw)))]
        for y, expected in pairs:
            _compare(y.array, expected.array, "it gives", "the reference", None)
        if other.results and run.results and len(other.results) == len(run.results):
            us = run.cotangents()
            found = zip(run.inputs, run.gradients(us), other.gradients(us), strict=True)
            for (i, _), g, expected in found:
                _compare(g.array, expected.array, "its gradient is", "the reference's", i)

    def first(self, example: Example) -> None:
        """Are gradients those of finite differences, of the right shape and type?"""
        run = self.run(example)
        us = run.cotangents()
        from_these = "from the cotangent " + ", ".join([str(u.array.tolist()) for u in us])

        def value(args: Sequence[Array]) -> float:
            return _dot(self.run(self._with(example, run, args)).floats, us)

        points = [t.array for t in run.live]
        for place, ((i, x), g) in enumerate(zip(run.inputs, run.gradients(us), strict=True)):
            if g.array.shape != x.array.shape or g.array.dtype != x.array.dtype:
                raise Finding(f"its gradient is {g.array.dtype}{list(g.array.shape)}", i)
            expected = _differences(value, points, place)
            if not run.results and np.abs(expected).max(initial=0.0) > ATOL:
                text = "the result depends on it, but does not require grad"
                raise Finding(text, i, forward=True)
            _compare(g.array, expected, f"{from_these} comes", "finite differences give", i)

    def second(self, example: Example) -> None:
        """Are derivatives of gradients those of finite differences, by inputs and cotangents?"""
        run = self.run(example)
        if not run.results:
            return
        plain = run.gradients(run.cotangents(), retain=True)
        us = [u.requires_grad_() for u in run.cotangents()]
        firsts = run.gradients(us, create=True)
        for (i, _), g, e in zip(run.inputs, firsts, plain, strict=True):
            _compare(g.array, e.array, "with create_graph its gradient is", "without", i)
        vs = [
            wrap(np.asarray(np.random.default_rng(8 + k).standard_normal(g.array.shape)))
            for k, g in enumerate(firsts)
        ]
        live = [(g, v) for g, v in zip(firsts, vs, strict=True) if g.requires_grad]
        points = [t.array for t in (*run.live, *us)]
        wanted = [*run.live, *us]
        if live:
            gs, their = zip(*live, strict=True)
            found = grad(list(gs), wanted, list(their), allow_unused=True)
        else:
            found = (None,) * len(wanted)

        def value(args: Sequence[Array]) -> float:
            count = len(run.live)
            again = self.run(self._with(example, run, args[:count]))
            return _dot(again.gradients([wrap(u) for u in args[count:]]), vs)

        for place, g in enumerate(found):
            expected = _differences(value, points, place)
            ours = np.zeros_like(points[place]) if g is None else g.array
            blame = run.inputs[place][0] if place < len(run.live) else None
            what = "it gives" if blame is not None else "by the cotangent it gives"
            _compare(ours, expected, what, "finite differences of the first give", blame)

    def alone(self, example: Example) -> None:
        """Is each gradient the same, whichever others are asked for?"""
        run = self.run(example)
        us = run.cotangents()
        whole = run.gradients(us)
        for live in itertools.product([True, False], repeat=len(run.inputs)):
            if all(live) or not any(live):
                continue
            part = self.run(example, live=live)
            if len(part.results) != len(run.results):
                continue  # an output that does not depend on these
            expected = [g for g, one in zip(whole, live, strict=True) if one]
            indices = [i for (i, _), one in zip(run.inputs, live, strict=True) if one]
            for i, g, e in zip(indices, part.gradients(us), expected, strict=True):
                _compare(g.array, e.array, "asked for alone, its gradient is", "with others", i)

    def broadcasting(self, example: Example) -> None:
        """Is the gradient of a repeated argument the sum over the repetitions?"""
        run = self.run(example)
        asked = False
        for place, (i, x) in enumerate(run.inputs):
            for dim in range(x.array.ndim):
                if x.array.shape[dim] < 2:
                    continue
                thin = x.array.take([0], dim)
                wide = np.repeat(thin, x.array.shape[dim], dim)
                try:
                    small = self.run((*example[:i], wrap(thin), *example[i + 1 :]))
                    large = self.run((*example[:i], wrap(wide), *example[i + 1 :]))
                except Refused:
                    continue
                if not _same_values(small, large):
                    continue  # it does not go element by element here
                asked = True
                us = large.cotangents()
                g = small.gradients(us)[place].array
                expected = large.gradients(us)[place].array.sum(dim, keepdims=True)
                _compare(g, expected, "repeated, its gradient is", "summed, of a full one", i)
        if not asked:
            raise Refused("no argument is repeated")

    def layouts(self, example: Example) -> None:
        """Are results the same for inputs and cotangents that lie in memory otherwise?"""
        run = self.run(example)
        us = run.cotangents()
        expected = run.gradients(us, retain=True)
        for layout in LAYOUTS[1:]:
            other = self.run(example, layout=layout)
            for y, e in zip(other.outputs, run.outputs, strict=True):
                _compare(y.array, e.array, f"of {layout} inputs it gives", "of others", None)
            turned = [wrap(_laid_out(u.array, layout)) for u in us]
            for (i, _), g, e in zip(run.inputs, other.gradients(turned), expected, strict=True):
                _compare(g.array, e.array, f"{layout}, its gradient is", "contiguous", i)
        ones = [wrap(np.broadcast_to(np.float64(1.0), y.array.shape)) for y in run.floats]
        full = [wrap(np.ones(y.array.shape)) for y in run.floats]
        for (i, _), g, e in zip(
            run.inputs, run.gradients(ones, retain=True), run.gradients(full), strict=True
        ):
            _compare(g.array, e.array, "of an expanded cotangent, it is", "of a full one", i)

    def extremes(self, example: Example) -> None:
        """Does it take tensors without elements, and without dimensions?"""
        run = self.run(example)
        computed = False
        if run.inputs and all([isinstance(a, Tensor) for a in example]):
            for make in (_emptied, _one_number):
                small = tuple([wrap(make(a.array)) if a.array.size else a for a in example])
                try:
                    self.first(small)
                except Refused:
                    continue
                except Finding as finding:
                    text = f"of tensors of shape {small[0].array.shape}, {finding}"
                    who = finding.argument
                    who = self.raising(small) if who is None else who
                    raise Finding(text, who, forward=finding.forward) from None
                computed = True
        if not computed:
            raise Refused("it takes none")

    def single(self, example: Example) -> None:
        """Does float32 stay float32, with about the same values and gradients?"""
        run, narrow = self.run(example), self.run(example, dtype=float32)
        for y, e in zip(narrow.outputs, run.outputs, strict=True):
            if is_floating(e.array.dtype):
                if y.array.dtype != np.float32:
                    raise Finding(f"of float32 it makes {y.array.dtype}")
                _compare(y.array, e.array, "in float32 it gives", "in float64", None, SINGLE)
        us = run.cotangents()
        short = [u.to(float32) for u in us]
        for (i, _), g, e in zip(
            run.inputs, narrow.gradients(short), run.gradients(us), strict=True
        ):
            if g.array.dtype != np.float32:
                raise Finding(f"its gradient is {g.array.dtype}", i)
            _compare(g.array, e.array, "in float32 its gradient is", "in float64", i, SINGLE)

    def writes(self, example: Example) -> None:
        """After a write into an input or output: the right gradient, or an error, never another.

        And a second backward pass gives what the first gave: rules write nothing they were given.
        """
        run = self.run(example)
        us = run.cotangents()
        kept = [u.array.copy() for u in us]
        expected = run.gradients(us, retain=True)
        for (i, _), g, e in zip(run.inputs, run.gradients(us), expected, strict=True):
            _compare(g.array, e.array, "in a second backward pass it is", "in the first", i)
        for u, before in zip(us, kept, strict=True):
            if not np.array_equal(u.array, before, equal_nan=True):
                _compare(u.array, before, "it writes into the cotangent, now", "it was",
                         self.only(example, _spoils))  # fmt: skip
        for place in range(len(run.args) + len(run.outputs)):
            again = self.run(example)
            targets = [*again.args, *again.outputs]
            if not _overwrite(targets[place]):
                continue
            what = f"argument {place}" if place < len(run.args) else "the result"
            try:
                grads = again.gradients(us)
            except Finding as error:
                if "modified by an inplace operation" in str(error):
                    continue
                raise Finding(f"after a write into {what} {error}") from error
            for (i, _), g, e in zip(run.inputs, grads, expected, strict=True):
                text = f"after a write into {what} its gradient is"
                _compare(g.array, e.array, text, "without", i)

    def determinism(self, example: Example) -> None:
        """Are two runs equal, bit for bit?"""
        one, other = self.run(example), self.run(example)
        us = one.cotangents()
        for y, e in zip(other.outputs, one.outputs, strict=True):
            if not np.array_equal(y.array, e.array, equal_nan=True):
                raise Finding("two runs give different values")
        for (i, _), g, e in zip(one.inputs, other.gradients(us), one.gradients(us), strict=True):
            if not np.array_equal(g.array, e.array, equal_nan=True):
                raise Finding("two runs give different gradients", i)

    def _with(self, example: Example, run: _Run, arrays: Sequence[Array]) -> Example:
        """The example with these in place of its differentiable inputs."""
        changed = list(example)
        for (i, _), array in zip(run.inputs, arrays, strict=True):
            changed[i] = wrap(array)
        return tuple(changed)


def _spoils(run: _Run, us: list[Any]) -> bool:
    """Whether the backward pass writes into the cotangents."""
    before = [u.array.copy() for u in us]
    run.gradients(us)
    return not all(map(np.array_equal, [u.array for u in us], before))


def _emptied(array: Array) -> Array:
    return np.atleast_1d(array)[:0]


def _one_number(array: Array) -> Array:
    return np.asarray(array.ravel()[0])


def _dot(ys: Sequence[Any], us: Sequence[Any]) -> float:
    return float(sum([(y.array * u.array).sum() for y, u in zip(ys, us, strict=False)]))


def _differences(
    value: Callable[[Sequence[Array]], float], points: Sequence[Array], place: int
) -> Array:
    """Central differences by the elements of one of the points."""
    found = np.zeros(points[place].shape)
    for index in np.ndindex(points[place].shape):
        ends = []
        for step in (STEP, -STEP):
            moved = points[place].copy()
            moved[index] += step
            ends.append(value([*points[:place], moved, *points[place + 1 :]]))
        found[index] = (ends[0] - ends[1]) / (2 * STEP)
    return found


def _compare(
    found: Array, expected: Array, ours: str, theirs: str, argument: int | None, rtol: float = RTOL
) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise Finding(f"{ours} of shape {found.shape}, {theirs} {expected.shape}", argument)
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0) if expected.size else 0.0
    limit = max(ATOL, rtol * float(largest))
    if not np.allclose(found, expected, rtol=rtol, atol=limit, equal_nan=True):
        raise Finding(f"{ours}\n  {found.tolist()}\n{theirs}\n  {expected.tolist()}", argument)


def _same_values(a: _Run, b: _Run) -> bool:
    pairs = list(zip(a.outputs, b.outputs, strict=True))
    shapes_agree = all([y.array.shape == z.array.shape for y, z in pairs])
    return shapes_agree and all([np.allclose(y.array, z.array, equal_nan=True) for y, z in pairs])


def _overwrite(t: Any) -> bool:
    """Change a float tensor in place; False if it is none, or cannot be written."""
    if not isinstance(t, Tensor) or not is_floating(t.array.dtype) or not t.array.size:
        return False
    try:
        with no_grad():
            t.add_(0.375)
    except RuntimeError:
        return False
    return True
