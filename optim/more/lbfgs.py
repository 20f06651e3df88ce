"""L-BFGS: a quasi-Newton method that knows the curvature from its last steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
        search, change = group["line_search_fn"], group["tolerance_change"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        closure = enable_grad()(closure)
        state = self.state[self._params[0]]
        state.setdefault("n_iter", 0)
        state["func_evals"] = state.get("func_evals", 0) + 1
        end = state["func_evals"] - 1 + group["max_eval"]
        first = closure()
        loss, g = _number(first), _gradient(self._params)
        for left in reversed(range(group["max_iter"])):
            if _largest(g) <= group["tolerance_grad"]:
                break
            d = self._direction(g, group["history_size"])
            t = float(group["lr"])
            if state["n_iter"] == 1:
                t *= min(1.0, 1.0 / np.abs(g).sum())
            state.update(d=wrap(d), t=t, prev_flat_grad=wrap(g), prev_loss=loss)
            start = _Point(0, loss, g, g.dot(d))
            if start.slope > -change:
                break
            line = _Line(self._params, closure, start, d)
            if search is not None:
                now = line.search(t, change, end - state["func_evals"])
                line.move(now.t)
                state["t"] = now.t
            elif left:
                now = line.at(t)
            else:
                line.move(t)
                break
            state["func_evals"] += line.calls
            loss, g = now.loss, now.g
            stands = _largest(d * now.t) <= change or abs(loss - start.loss) < change
            if stands or state["func_evals"] >= end:
                break
        return first

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
            xp = module_of(g)
            for kept, new in zip((ys, ss, rhos), (y, s, 1.0 / curvature), strict=True):
                if len(kept) == history_size:
                    kept.pop(0)
                kept.append(wrap(xp.asarray(new)))
            state["H_diag"] = wrap(xp.asarray(curvature / y.dot(y)))
        q, alphas = -g, []
        for y, s, rho in zip(ys[::-1], ss[::-1], rhos[::-1], strict=True):
            alphas.append(s.array.dot(q) * rho.array)
            q -= alphas[-1] * y.array
        h = state["H_diag"]
        r = q * (h.array if isinstance(h, Tensor) else h)
        for y, s, rho, alpha in zip(ys, ss, rhos, alphas[::-1], strict=True):
            r += s.array * (alpha - y.array.dot(r) * rho.array)
        return r


def _gradient(params: Sequence[Tensor]) -> Array:
    """All gradients, one after the other."""
    parts = [np.zeros_like(p.array) if p.grad is None else p.grad.array for p in params]
    return module_of(parts[0]).concatenate(parts, axis=None)


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
    """The points `start + t d`, and the search for one that fulfils the strong Wolfe conditions.

    Args:
        params: what is moved.
        closure: computes the loss and its gradients.
        start: where the parameters are.
        d: the direction.

    Attributes:
        calls: how often the loss was evaluated.
    """

    def __init__(
        self, params: Sequence[Tensor], closure: Callable[[], Any], start: _Point, d: Array
    ) -> None:
        self.params, self.closure, self.start, self.d = params, closure, start, d
        self.values = [p.array.copy() for p in params]
        self.calls = 0

    def move(self, t: Any) -> None:
        """Put the parameters at `start + t d`."""
        at = 0
        for p, x in zip(self.params, self.values, strict=True):
            p.array[...] = x + float(t) * self.d[at : at + x.size].reshape(x.shape)
            p._storage.write()
            at += x.size

    def at(self, t: Any) -> _Point:
        """Go there and look."""
        self.move(t)
        self.calls += 1
        loss, g = _number(self.closure()), _gradient(self.params)
        return _Point(t, loss, g, g.dot(self.d))

    def search(self, t: Any, tolerance: float, most: int) -> _Point:
        """The point that is good enough, or the best found.

        Args:
            t: the step length that is tried first.
            tolerance: an interval in which no parameter changes by more is not divided.
            most: how many points are tried after the first.
        """
        before, now = self.start, self.at(t)
        for trial in range(most):  # algorithm 3.5: go on until a minimum is enclosed
            high = self._too_high(now) or (trial > 1 and now.loss >= before.loss)
            if not high and self._flat_enough(now):
                return now
            if high or now.slope >= 0:
                return self._zoom(before, now, most - trial, tolerance)
            further = (now.t + 0.01 * (now.t - before.t), now.t * 10)
            before, now = now, self.at(_minimum(before, now, further))
        return min(self.start, now, key=lambda point: point.loss)

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
            left, right = ends
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
                continue
            if self._flat_enough(now):
                return now
            if now.slope * (ends[1 - low].t - ends[low].t) >= 0:
                ends[1 - low] = ends[low]
            ends[low] = now
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
