"""Recurrent layers: RNN, LSTM and GRU; more/cells.py has their single steps."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_edu.amp.autocast_mode import is_autocast_enabled
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.nn.utils.packing import PackedSequence
from tinygrad_edu.ops import recurrent
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.ops.gathering import index_select
from tinygrad_edu.ops.joining import cat, stack
from tinygrad_edu.tensor import Tensor

State = tuple[Tensor, ...]


class RNNBase(Module):
    """Layers and directions, one after the other; what a step does is left to the subclasses.

    Layer k has weight_ih_lk, weight_hh_lk, bias_ih_lk, bias_hh_lk (and weight_hr_lk with
    projections); the backward direction's names end in _reverse.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        _check(self, dropout)
        self._ways = ("", "_reverse") if bidirectional else ("",)
        rows, out = self.gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            width = out * len(self._ways) if layer else input_size
            shapes: dict[str, Any] = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for way in self._ways:
                for name, shape in shapes.items():
                    values = Parameter(empty(shape, device=device, dtype=dtype))
                    self.register_parameter(f"{name}_l{layer}{way}", values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform on (-k, k) with k = 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing; torch puts the parameters into one block of memory here, for cuDNN."""

    def _weights(self, layer: int, way: str) -> tuple[Any, ...]:
        """weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; None for those that do not exist."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return tuple([getattr(self, f"{name}_l{layer}{way}", None) for name in names])

    @property
    def _all_weights(self) -> list[list[str]]:
        """The parameters' names, one list for each layer and direction: scripts set biases so."""
        names = list(self._parameters)
        each = len(names) // (self.num_layers * len(self._ways))
        return [names[i : i + each] for i in range(0, len(names), each)]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters, one list for each layer and direction."""
        return [
            [w for w in self._weights(layer, way) if w is not None]
            for layer in range(self.num_layers)
            for way in self._ways
        ]

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        ndim = input.ndim
        if ndim not in (2, 3):
            raise ValueError(f"{self.mode}: Expected input to be 2D or 3D, got {ndim}D instead")
        single = ndim == 2
        x = input.unsqueeze(0 if self.batch_first else 1) if single else input
        state = self._read_state(hx, 2 if single else 3)
        if single and state is not None:
            state = tuple([s.unsqueeze(1) for s in state])
        if self.batch_first:
            x = x.transpose(0, 1)
        time, n = x.shape[0], x.shape[1]
        self._check_input(x)
        if not time:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        state = self._begin(state, n, x)
        rows = x.reshape(time * n, x.shape[2])
        rows = shown_as(rows, "Clone" if rows.view_of is None else "~View")
        y, last = self._run(rows, state, (n,) * time)
        chain = getattr(y.grad_fn, "chain", "")
        y = shown_as(y.reshape(time, n, y.shape[1]), f"{chain}~")
        y = y.transpose(0, 1) if self.batch_first else y
        if single:
            y = y.squeeze(0 if self.batch_first else 1)
            last = tuple([s.squeeze(1) for s in last])
        return y, self._give_state(last)

    def _packed(self, input: PackedSequence, hx: object) -> Any:
        sizes = tuple([int(size) for size in input.batch_sizes.tolist()])
        self._check_input(input.data)
        state = self._read_state(hx, 3)
        if state is not None and input.sorted_indices is not None:
            order = input.sorted_indices
            state = tuple([index_select(s, 1, order) for s in state])
        y, last = self._run(input.data, self._begin(state, sizes[0], input.data), sizes)
        if input.unsorted_indices is not None:
            back = input.unsorted_indices
            last = tuple([index_select(s, 1, back) for s in last])
        packed = PackedSequence(y, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return packed, self._give_state(last)

    def _run(self, x: Tensor, state: State, sizes: tuple[int, ...]) -> tuple[Tensor, State]:
        """All layers on rows ordered by time (see kernels/recurrent.py): output, last states."""
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for way in self._ways:
                start = tuple([s[len(last)] for s in state])
                y, *end = self._layer(x, start, self._weights(layer, way), sizes, way != "")
                outputs.append(y)
                last.append(tuple(end))
            x = cat(outputs, 1) if len(outputs) > 1 else outputs[0]
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple([stack(parts) for parts in zip(*last, strict=True)])

    def _layer(
        self, x: Tensor, state: State, weights: Any, sizes: tuple[int, ...], reverse: bool
    ) -> Any:
        raise NotImplementedError("a subclass of RNNBase says what a step does")

    # The state ------------------------------------------------------------------------------------

    def _read_state(self, hx: Any, ndim: int) -> State | None:
        if hx is None:
            return None
        state = (hx,) if self.states == 1 else tuple(hx)
        for s in state:
            if s.ndim != ndim:
                kind = "unbatched 2-D" if ndim == 2 else "batched 3-D"
                raise RuntimeError(
                    f"For {kind} input, hx should also be {ndim}-D but got {s.ndim}-D tensor"
                )
        return state

    def _begin(self, state: State | None, n: int, x: Tensor) -> State:
        """The given states, checked; zeros if none were given."""
        count = self.num_layers * len(self._ways)
        widths = (self.proj_size or self.hidden_size, self.hidden_size)[: self.states]
        shapes = [(count, n, width) for width in widths]
        if state is None:
            return tuple([x.new_zeros(shape) for shape in shapes])
        for i, (s, shape) in enumerate(zip(state, shapes, strict=True)):
            if tuple(s.shape) != shape:
                which = (
                    f" {'hidden[0]' if i == 0 else 'hidden[1]'}" if self.states > 1 else " hidden"
                )
                raise RuntimeError(f"Expected{which} size {shape}, got {list(s.shape)}")
        return state

    def _give_state(self, last: State) -> Tensor | tuple[Tensor, ...]:
        return last[0] if self.states == 1 else last

    def _check_input(self, x: Tensor) -> None:
        dtype = self.weight_ih_l0.dtype
        if x.dtype != dtype and not any(map(is_autocast_enabled, ("cpu", "cuda"))):
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). Convert input:"
                f" input.to({dtype}), or convert model: model.to({x.dtype})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got"
                f" {x.shape[-1]}"
            )

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        usual = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False,
        }  # fmt: skip
        for name, value in usual.items():
            if getattr(self, name) != value:
                shown += f", {name}={getattr(self, name)}"
        return shown


def _check(layer: RNNBase, dropout: float) -> None:
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element"
            " being zeroed"
        )
    if dropout > 0 and layer.num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout"
            f" expects num_layers greater than 1, but got dropout={dropout} and num_layers=1",
            stacklevel=4,
        )
    for name, kind in (("bias", bool), ("batch_first", bool), ("input_size", int),
                       ("hidden_size", int)):  # fmt: skip
        v = getattr(layer, name)
        if not isinstance(v, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(v).__name__}")
    for name in ("input_size", "hidden_size", "num_layers"):
        if getattr(layer, name) <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if layer.proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if layer.proj_size >= layer.hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNN(RNNBase):
    """`h = tanh(W x + b + W' h + b')`, or relu, step by step.

    Args:
        input_size, hidden_size: the widths of x and h.
        num_layers: layers, each reading the states of the one before.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases.
        batch_first: inputs and outputs are (N, T, ...) instead of (T, N, ...).
        dropout: probability of dropping elements between layers.
        bidirectional: a second direction reads the sequence from its end.

    `forward(input, hx)`: input (T, N, input_size), (T, input_size) or packed; hx the first states
    (layers * directions, N, hidden_size), zeros unless given.  It returns all states of the last
    layer and the last states of all layers.

    Raises:
        ValueError, RuntimeError: sizes do not fit.

    >>> import tinygrad_edu as torch
    >>> y, h = torch.nn.RNN(10, 20, num_layers=2)(torch.ones(5, 3, 10))
    >>> y.shape, h.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    gates = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > 3:
            kwargs["nonlinearity"] = args[3]
            args = args[:3] + args[4:]
        self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(f"RNN_{self.nonlinearity.upper()}", *args, **kwargs)

    @composed(autocast="lower")
    def _layer(
        self, x: Tensor, state: State, weights: Any, sizes: tuple[int, ...], reverse: bool
    ) -> Any:
        w_ih, w_hh, b_ih, b_hh, _ = weights
        gx = F.linear(x, w_ih, b_ih)
        relu = self.nonlinearity == "relu"
        return recurrent.rnn(gx, state[0], w_hh, b_hh, relu, sizes, reverse)


class LSTM(RNNBase):
    """Long short-term memory: gates decide what a cell forgets, takes up and shows.

    Shape: (L, N, input_size) -> (L, N, directions * hidden_size), and the last states.

    Args:
        proj_size: if positive, states are multiplied by a matrix to this width.
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional: as of `RNN`.

    `forward(input, (h, c))` returns all states of the last layer and the last (h, c).

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997.

    >>> import tinygrad_edu as torch
    >>> y, (h, c) = torch.nn.LSTM(10, 20, batch_first=True)(torch.ones(3, 5, 10))
    >>> y.shape, c.shape
    (torch.Size([3, 5, 20]), torch.Size([1, 3, 20]))
    """

    gates, states = 4, 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    @composed(autocast="lower")
    def _layer(
        self, x: Tensor, state: State, weights: Any, sizes: tuple[int, ...], reverse: bool
    ) -> Any:
        w_ih, w_hh, b_ih, b_hh, w_hr = weights
        gx = F.linear(x, w_ih, b_ih)
        if w_hr is not None:
            return recurrent.projected_lstm(
                gx, state[0], state[1], w_hh, b_hh, w_hr, sizes, reverse
            )
        return recurrent.lstm_layer(gx, state[0], state[1], w_hh, b_hh, sizes, reverse)


class GRU(RNNBase):
    """Gated recurrent unit: gates decide how much of the state is read and replaced.

    Shape: (L, N, input_size) -> (L, N, directions * hidden_size), and the last states.

    Args: as of `RNN`, without `nonlinearity`.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; the
    product r * (W h + b) is torch's, which differs from the paper's W (r * h).

    >>> import tinygrad_edu as torch
    >>> y, h = torch.nn.GRU(10, 20, bidirectional=True)(torch.ones(5, 3, 10))
    >>> y.shape, h.shape
    (torch.Size([5, 3, 40]), torch.Size([2, 3, 20]))
    """

    gates = 3

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def _layer(
        self, x: Tensor, state: State, weights: Any, sizes: tuple[int, ...], reverse: bool
    ) -> Any:
        w_ih, w_hh, b_ih, b_hh, _ = weights
        return recurrent.gru(F.linear(x, w_ih, b_ih), state[0], w_hh, b_hh, sizes, reverse)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.modules.more.cells")
