"""One step of a recurrent network: what `RNN`, `LSTM` and `GRU` do at each time."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops import recurrent
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor

State = tuple[Tensor, ...]


class RNNCellBase(Module):
    """The parameters of one step."""

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self.gates * hidden_size

        def make(*shape: int) -> Parameter:
            return Parameter(empty(shape, device=device, dtype=dtype))

        self.weight_ih, self.weight_hh = make(rows, input_size), make(rows, hidden_size)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, make(rows) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform on (-k, k) with k = 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        name = self.__class__.__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.shape[-1]} expected"
                f" {self.input_size}"
            )
        single = input.ndim == 1
        x = input.unsqueeze(0) if single else input
        state: Any = hx if self.states > 1 or hx is None else (hx,)
        if state is None:
            state = [x.new_zeros(x.shape[0], self.hidden_size) for _ in range(self.states)]
        elif single:
            state = [s.unsqueeze(0) for s in state]
        self._check_state(state, len(x), hx is not None, single)
        found = self._step(F.linear(x, self.weight_ih, self.bias_ih), tuple(state), (len(x),))
        found = [s.squeeze(0) for s in found] if single else found
        return found[0] if self.states == 1 else tuple(found)

    def _check_state(self, state: State, n: int, given: bool, single: bool) -> None:
        for i, s in enumerate(state):
            if s.ndim != 2:
                which = "hidden" if self.states == 1 else f"hx[{i}]"
                raise ValueError(
                    f"{self.__class__.__name__}: Expected {which} to be 1D or 2D, got"
                    f" {s.ndim - single}D instead"
                )
            if s.shape[0] != n:
                raise RuntimeError(
                    f"Input batch size {n} doesn't match hidden{i} batch size {s.shape[0]}"
                )
            if s.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{i} has inconsistent hidden_size: got {s.shape[1]}, expected"
                    f" {self.hidden_size}"
                )

    def _step(self, gx: Tensor, state: State, sizes: tuple[int, ...]) -> Any:
        raise NotImplementedError("a subclass of RNNCellBase says what a step does")

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        if not self.bias:
            shown += ", bias=False"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            shown += f", nonlinearity={self.nonlinearity}"
        return shown


class RNNCell(RNNCellBase):
    """One step of an `RNN`: (N, input_size), (N, hidden_size) -> (N, hidden_size).

    >>> import tinygrad_edu as torch
    >>> torch.nn.RNNCell(10, 20)(torch.ones(3, 10)).shape
    torch.Size([3, 20])
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def _step(self, gx: Tensor, state: State, sizes: tuple[int, ...]) -> Any:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        relu = self.nonlinearity == "relu"
        return recurrent.rnn(gx, state[0], self.weight_hh, self.bias_hh, relu, sizes, False)[1:]


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`: (N, input_size), (h, c) -> (h, c).

    >>> import tinygrad_edu as torch
    >>> h, c = torch.nn.LSTMCell(10, 20)(torch.ones(3, 10)); c.shape
    torch.Size([3, 20])
    """

    gates, states = 4, 2

    def _step(self, gx: Tensor, state: State, sizes: tuple[int, ...]) -> Any:
        h, c = state
        return recurrent.lstm(gx, h, c, self.weight_hh, self.bias_hh, sizes, False)[1:]


class GRUCell(RNNCellBase):
    """One step of a `GRU`: (N, input_size), (N, hidden_size) -> (N, hidden_size).

    >>> import tinygrad_edu as torch
    >>> torch.nn.GRUCell(10, 20)(torch.ones(3, 10)).shape
    torch.Size([3, 20])
    """

    gates = 3

    def _step(self, gx: Tensor, state: State, sizes: tuple[int, ...]) -> Any:
        return recurrent.gru(gx, state[0], self.weight_hh, self.bias_hh, sizes, False)[1:]
