"""L-BFGS: a quasi-Newton method that knows the curvature from its last steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import enable_grad
from tinygrad_edu.optim.common import check_lr
from tinygrad_edu.optim.optimizer import Optimizer, Params
from tinygrad_edu.tensor import Tensor

_ARMIJO, _CURVATURE = 1e-4, 0.9


class LBFGS(Optimizer):
    """x <- x - t H g;  H is the inverse Hessian as the last steps s and changes y of g show it.

    One `step` takes up to `max_iter` such steps and evaluates the closure before each.

    Args:
        params: parameters, in one group.
        lr: the step length t; with a line search the first one that is tried.
        max_iter: steps per call of `step`.
        max_eval: evaluations of the closure per call; 5/4 `max_iter` by default.
        tolerance_grad: end when no component of the gradient is larger.
        tolerance_change: end when neither the loss nor a parameter changes by more.
        history_size: how many steps are remembered.
        line_search_fn: None, or "strong_wolfe" for steps that decrease the loss enough.

    Raises:
        ValueError: more than one group, or a negative `lr`.
        RuntimeError: another line search.

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4, 7.5, 3.5 and 3.6.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([-1.5, 2.0], requires_grad=True)
    >>> optimizer = torch.optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(3):
    ...     loss = optimizer.step(closure)
    >>> [round(value, 3) for value in x.tolist()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        defaults = dict(
            lr=lr, max_iter=max_iter, max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad, tolerance_change=tolerance_change,
            history_size=history_size, line_search_fn=line_search_fn,
        )  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take up to `max_iter` steps.

        Args:
            closure: clears the gradients, computes the loss, calls `backward`, returns the loss.

        Returns:
            the loss before the first step.
        """
        if closure is None:
            raise TypeError("LBFGS.step() needs a closure that computes the loss anew")
        group = self.param_groups[0]
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[self._params[0]]
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        loss, g = _number(first), self._gradient()
        evaluations = 1
        lr, change = float(group["lr"]), group["tolerance_change"]
        flat = _largest(g) <= group["tolerance_grad"]
        for iteration in range(0 if flat else group["max_iter"]):
            d = self._direction(g, group["history_size"])
            t: Any = lr if state["n_iter"] > 1 else min(1.0, 1.0 / np.abs(g).sum()) * lr
            state["prev_flat_grad"], state["prev_loss"] = wrap(g.copy()), loss
            state["d"], state["t"], before = wrap(d), t, loss
            slope = g.dot(d)
            if slope > -change:
                break
            calls = 0
            if search is not None:
                start = [p.array.copy() for p in self._params]
                line = _Line(functools.partial(self._try, closure, start, d), d)
                (t, loss, g, _), calls = line.search(
                    _Point(t, loss, g, slope), change, group["max_eval"] - evaluations
                )
                state["t"] = t
                self._move(start, t, d)
            else:
                self._move([p.array for p in self._params], t, d)
                if iteration + 1 < group["max_iter"]:
                    with enable_grad():
                        loss, g, calls = _number(closure()), self._gradient(), 1
            evaluations += calls
            state["func_evals"] += calls
            if (
                evaluations >= group["max_eval"]
                or _largest(g) <= group["tolerance_grad"]
                or _largest(d * t) <= change
                or abs(loss - before) < change
            ):
                break
        return first

    def _gradient(self) -> Array:
        """All gradients, one after the other."""
        parts = [
            np.zeros_like(p.array).reshape(-1) if p.grad is None else p.grad.array.reshape(-1)
            for p in self._params
        ]
        return module_of(parts[0]).concatenate(parts)

    def _direction(self, g: Array, history_size: int) -> Array:
        """-H g, after the last step has been added to what H is made of (algorithm 7.4)."""
        state = self.state[self._params[0]]
        state["n_iter"] += 1
        if state["n_iter"] == 1:
            state |= {"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1}
            return -g
        ys, ss, rhos = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = g - state["prev_flat_grad"].array, state["d"].array * state["t"]
        curvature = y.dot(s)
        if curvature > 1e-10:
            if len(ys) == history_size:
                for kept in (ys, ss, rhos):
                    kept.pop(0)
            ys.append(wrap(y))
            ss.append(wrap(s))
            rhos.append(wrap(np.asarray(1.0 / curvature)))
            state["H_diag"] = wrap(np.asarray(curvature / y.dot(y)))
        q, alphas = -g, []
        for y, s, rho in zip(ys[::-1], ss[::-1], rhos[::-1], strict=True):
            alphas.append(s.array.dot(q) * rho.array)
            q -= alphas[-1] * y.array
        h = state["H_diag"]
        r = q * (h.array if isinstance(h, Tensor) else h)
        for y, s, rho, alpha in zip(ys, ss, rhos, alphas[::-1], strict=True):
            r += s.array * (alpha - y.array.dot(r) * rho.array)
        return r

    def _move(self, start: list[Array], t: float, d: Array) -> None:
        """Put the parameters at `start + t d`."""
        at = 0
        for p, x in zip(self._params, start, strict=True):
            p.array[...] = x + float(t) * d[at : at + x.size].reshape(x.shape)
            p._storage.write()
            at += x.size

    def _try(
        self, closure: Callable[[], Any], start: list[Array], d: Array, t: float
    ) -> tuple[float, Array]:
        """The loss and its gradient at `start + t d`."""
        self._move(start, t, d)
        with enable_grad():
            loss = _number(closure())
        return loss, self._gradient()


def _number(loss: Any) -> float:
    return float(loss.item() if isinstance(loss, Tensor) else loss)


def _largest(x: Array) -> Any:
    return np.abs(x).max() if x.size else 0.0


class _Point(NamedTuple):
    """A place on the line: how far, the loss there, its gradient, and its slope along the line."""

    t: Any
    loss: float
    g: Array
    slope: Any


class _Line:
    """The search for a step length that fulfils the strong Wolfe conditions.

    Args:
        evaluate: the loss and its gradient at a step length.
        d: the direction.
    """

    def __init__(self, evaluate: Callable[[Any], tuple[float, Array]], d: Array) -> None:
        self.evaluate, self.d, self.calls = evaluate, d, 0

    def at(self, t: float | Tensor) -> _Point:
        self.calls += 1
        loss, g = self.evaluate(t)
        return _Point(t, loss, g, g.dot(self.d))

    def search(self, first: _Point, tolerance: float, most: int) -> tuple[_Point, int]:
        """The point that is good enough, or the best found, and how often the loss was evaluated.

        Args:
            first: where the line starts, with the step length that is tried first.
            tolerance: an interval in which no parameter changes by more is not divided.
            most: how many points are tried after the first.
        """
        self.start = first._replace(t=0)
        before, now = self.start, self.at(first.t)
        trials = 0
        while trials < most:  # algorithm 3.5: go on until a minimum is enclosed
            if self._too_high(now) or (trials > 1 and now.loss >= before.loss):
                return self._zoom(before, now, most - trials, tolerance), self.calls
            if self._flat_enough(now):
                return now, self.calls
            if now.slope >= 0:
                return self._zoom(before, now, most - trials, tolerance), self.calls
            further = (now.t + 0.01 * (now.t - before.t), now.t * 10)
            before, now = now, self.at(_minimum(before, now, further))
            trials += 1
        return min(self.start, now, key=lambda point: point.loss), self.calls

    def _too_high(self, point: _Point) -> bool:
        start = self.start
        return bool(point.loss > start.loss + _ARMIJO * point.t * start.slope)

    def _flat_enough(self, point: _Point) -> bool:
        return bool(abs(point.slope) <= -_CURVATURE * self.start.slope)

    def _zoom(self, left: _Point, right: _Point, most: int, tolerance: float) -> _Point:
        """Algorithm 3.6: make the interval smaller until a point in it is good enough."""
        ends, reach, stuck = [left, right], _largest(self.d), False
        low = int(right.loss < left.loss)  # which of the two ends is the lower one
        for _ in range(most):
            a, b = min(left.t, right.t), max(left.t, right.t)
            if (b - a) * reach < tolerance:
                break
            t, margin = _minimum(left, right, (a, b)), 0.1 * (b - a)
            near = min(b - t, t - a) < margin
            if near and (stuck or t >= b or t <= a):  # twice at the border: step away from it
                t, near = (b - margin if abs(t - b) < abs(t - a) else a + margin), False
            stuck = near
            now = self.at(t)
            if self._too_high(now) or now.loss >= ends[low].loss:
                ends[1 - low] = now
                low = int(ends[1].loss < ends[0].loss)
            else:
                if not self._flat_enough(now) and now.slope * (ends[1 - low].t - ends[low].t) >= 0:
                    ends[1 - low] = ends[low]
                ends[low] = now
                if self._flat_enough(now):
                    break
            left, right = ends
        return ends[low]


def _minimum(p: _Point, q: _Point, bounds: tuple[Any, Any]) -> Any:
    """Where the cubic through two points with their slopes is lowest, within the bounds."""
    if p.t > q.t:
        p, q = q, p
    d1 = p.slope + q.slope - 3 * (p.loss - q.loss) / (p.t - q.t)
    square = d1 * d1 - p.slope * q.slope
    if square < 0:
        return (bounds[0] + bounds[1]) / 2.0
    d2 = math.sqrt(square)
    t = q.t - (q.t - p.t) * ((q.slope + d2 - d1) / (q.slope - p.slope + 2 * d2))
    return min(max(t, bounds[0]), bounds[1])
