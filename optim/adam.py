"""Adam: momentum divided by the root of the gradient's average square."""

from __future__ import annotations

import threading
from operator import is_, itemgetter, setitem
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.adam import Numbers, Passes, adam_calls
from tinygrad_edu.kernels.blocks import Pool
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.optim.common import (
    check_betas,
    check_implementation,
    check_lr,
    check_not_negative,
    counted,
    counter,
    number,
    zeros_like,
)
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, Rows, State
from tinygrad_edu.tensor import Tensor

_options = itemgetter("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay")


def adam(
    x: Array, g: Array, m: Array, v: Array, v_max: Array | None, t: float,
    lr: float, beta1: float, beta2: float, eps: float,
    weight_decay: float = 0.0, decoupled: bool = False,
) -> tuple[Array, Array, Array, Array | None]:  # fmt: skip
    """The definition of Adam's step `t` = 1, 2, ...: the new `x`, `m`, `v`, `v_max`.

    A step makes the calls of `kernels.adam.adam_calls`, which compute the same in place.

    >>> import numpy as np
    >>> x, m, v, _ = adam(np.ones(1), np.full(1, 0.3), 0.0, 0.0, None, 1, 0.1, 0.9, 0.999, 0.0)
    >>> np.allclose(x, 0.9)  # the first step is lr, whatever the size of the gradient
    True
    """
    if weight_decay != 0 and decoupled:
        x = x * (1 - lr * weight_decay)
    elif weight_decay != 0:
        g = g + weight_decay * x
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    largest = v
    if v_max is not None:
        v_max = largest = np.maximum(v_max, v)
    m_hat = m / (1 - beta1**t)
    v_hat = largest / (1 - beta2**t)
    return x - lr * m_hat / (v_hat**0.5 + eps), m, v, v_max


class _Kept(threading.local):
    """What a thread keeps from step to step, for it costs more to find than a small step takes.

    Attributes:
        rows: for each parameter its arrays, but for the gradient, the numbers, and the passes.
        numbers: for each group and dtype its options, and the numbers made of them, if it has
            ordinary ones.
        pool: scratch arrays.
    """

    def __init__(self) -> None:
        self.rows: dict[Tensor, tuple[list[Any], Passes]] = {}
        self.numbers: dict[Any, tuple[Any, Numbers | None]] = {}
        self.pool: Pool = {}

    def numbers_of(self, group: Group, dtype: Any) -> Numbers | None:
        """What the passes multiply by; None if options are no plain numbers, or of this dtype."""
        options, place = _options(group), (id(group), dtype)
        before, numbers = self.numbers.get(place, (None, None))
        if before != options:
            lr, betas, eps, decay, decoupled = options
            flat = (lr, *betas, eps, decay)
            plain = all([n.__class__ in (float, int) for n in flat]) and dtype.char in "fd"
            if not (numbers and plain and numbers.follow(flat, decoupled)):
                numbers = Numbers(dtype, flat, decoupled) if plain else None
            self.numbers[place] = options, numbers
        return numbers

    def passes(self, p: Tensor, arrays: list[Array], numbers: Numbers) -> Passes | None:
        """Those over the arrays of a parameter; None if these do not lie alike in C order."""
        x, g, *others = arrays
        if not _alike(g, x):
            return None
        found, row = [x, numbers, *others], self.rows.get(p)
        if row is not None and len(row[0]) == len(found) and all(map(is_, row[0], found)):
            return row[1]
        if not (x.size and x.flags.c_contiguous and all([_alike(a, x) for a in others])):
            return None
        made = Passes(tuple(arrays), numbers, self.pool)
        self.rows[p] = found, made
        return made


def _alike(a: Array, x: Array) -> bool:
    return a.dtype is x.dtype and a.shape == x.shape and a.flags.c_contiguous


class Adam(Optimizer):
    """m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
    x <- x - lr m_hat / (sqrt(v_hat) + eps),  m_hat = m / (1 - beta1^t),  v_hat = v / (1 - beta2^t).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        betas: decay of the averages m and v, each in [0, 1).
        eps: >= 0, keeps the denominator from 0.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        amsgrad: divide by the root of the largest v so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink x itself instead of the penalty, as AdamW does.
        foreach, fused: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`, or `fused` together with `foreach`.

    Source: Kingma and Ba, Adam (ICLR 2015), algorithm 1; amsgrad: Reddi, Kale and Kumar, On the
    Convergence of Adam and Beyond (ICLR 2018), algorithm 2, with the bias corrections kept.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.Adam([w], lr=0.1)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    _averages = ("exp_avg",)

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None, decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        check_lr(lr)
        check_not_negative({"epsilon value": eps})
        check_betas(betas)
        check_not_negative({"weight_decay value": weight_decay})
        if not any([all([isinstance(b, kind) for b in betas]) for kind in (float, Tensor)]):
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor) and foreach and not capturable:
                raise ValueError(
                    f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
                )
            if isinstance(beta, Tensor) and beta.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element")
        check_implementation(foreach, differentiable, fused)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable, fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip
        self._kept = _Kept()
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._kept = _Kept()

    def _new_state(self, x: Array, group: Group) -> State:
        step = counter(0.0, x, group["capturable"])
        state = {"step": step, "exp_avg": zeros_like(x), "exp_avg_sq": zeros_like(x)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(x)
        return state

    def _row(self, x: Array, g: Array, state: State, group: Group) -> list[Array]:
        m, v = state["exp_avg"].array, state["exp_avg_sq"].array
        return [x, g, m, v, state["max_exp_avg_sq"].array if group["amsgrad"] else v]

    def _shared(self, state: State, group: Group) -> float | None:
        """The number of the step, or None if the GPU counts."""
        step = state["step"]
        return counted(step) + 1 if isinstance(step.array, np.ndarray) else None

    def _calls_together(
        self, rows: Rows, states: list[State], step: float | None, group: Group
    ) -> Calls:
        counts = [state["step"].array for state in states]
        before: Calls = []
        behind: Calls = [(setitem, count, ..., step) for count in counts]
        if step is None:  # the launch reads the counts
            before, behind = cuda.tensors.add_calls(counts, 1.0), []
            rows = [[*row, count] for row, count in zip(rows, counts, strict=True)]
        beta1, beta2 = (number(beta) for beta in group["betas"])
        launches = cuda.tensors.adam_calls(
            rows, step, number(group["lr"]), beta1, beta2, group["eps"], group["weight_decay"],
            group["decoupled_weight_decay"], group["amsgrad"], group["maximize"],
        )  # fmt: skip
        return [*before, *launches, *behind]

    def _update_parameter(self, p: Tensor, group: Group) -> None:
        x, grad, state = p.array, p._grad, self.state.get(p)
        if state and grad is not None and x.__class__ is np.ndarray:
            g = -grad.array if group["maximize"] else grad.array
            numbers = self._kept.numbers_of(group, x.dtype)
            arrays = self._row(x, g, state, group)[: 5 if group["amsgrad"] else 4]
            passes = None if numbers is None else self._kept.passes(p, arrays, numbers)
            if numbers is not None and passes is not None:
                count = state["step"].array
                t = float(count) + 1
                if numbers.t != t:
                    numbers.set(t)
                calls = passes.calls(g)
                calls.append((setitem, count, ..., t))
                p._storage.write()
                undivided(calls)
                return
        super()._update_parameter(p, group)  # the first step, and whatever is out of the ordinary

    def _update(self, x: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        t, (beta1, beta2) = counted(state["step"]) + 1, group["betas"]
        calls = adam_calls(
            x, g, state["exp_avg"].array, state["exp_avg_sq"].array,
            state["max_exp_avg_sq"].array if group["amsgrad"] else None, t,
            number(group["lr"]), number(beta1), number(beta2), group["eps"],
            group["weight_decay"], group["decoupled_weight_decay"],
        )  # fmt: skip
        calls.append((setitem, state["step"].array, ..., t))
        undivided(calls)
