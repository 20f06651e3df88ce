"""`Tensor`: an array, its gradient, and the node that made it.

Its operations are bound in methods.py; what Python and NumPy ask of it is in python_protocol.py
and array_protocol.py.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import device as Device
from tinygrad_edu.backend import device_of, to_device
from tinygrad_edu.dtypes import dtype, from_numpy, get_default_dtype, is_floating
from tinygrad_edu.engine import half  # noqa: F401  (waits for the first 16-bit float)
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.gradients import backward
from tinygrad_edu.engine.graph import INFERENCE, Leaf, Node, Storage, TensorBase
from tinygrad_edu.engine.hooks import AfterAccumulate, RemovableHandle, hooks_of, on_gradient
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.nodes import AccumulateGrad
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.kernels.memory_order import axes_of
from tinygrad_edu.methods import Methods
from tinygrad_edu.methods.array_protocol import ArrayProtocol
from tinygrad_edu.methods.memory import MemoryMethods
from tinygrad_edu.methods.more import MoreMethods
from tinygrad_edu.methods.python_protocol import PythonProtocol
from tinygrad_edu.ops import casting, creation
from tinygrad_edu.out_of_memory import told
from tinygrad_edu.size import Size, read_dim

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike, Dtype


class Tensor(Methods, MoreMethods, MemoryMethods, PythonProtocol, ArrayProtocol, TensorBase):
    """An array of numbers that remembers how it was made.

    Make one with `torch.tensor(data)`; `Tensor(data)` makes floats of the default dtype and
    `Tensor(2, 3)` uninitialised floats of that shape, as in torch.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    def __init__(self, *data: Any, device: Any = None) -> None:
        sizes = all([isinstance(d, (int, np.integer)) and not isinstance(d, bool) for d in data])
        if sizes:
            made = creation.empty(*data) if data else creation.empty(0)
        else:
            if len(data) != 1:
                raise TypeError(f"Tensor() takes sizes or one sequence of data, not {data!r}")
            made = creation.tensor(data[0], dtype=get_default_dtype())
        self.array = made.array if device is None else to_device(made.array, Device(device))
        self._storage = made._storage

    # ---------------------------------------------------------------- what it is

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self.array.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return Size(self.array.shape)
        if not self.array.ndim:
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        return self.array.shape[read_dim(dim, self.array.ndim)]

    @property
    def dtype(self) -> dtype:
        """The type of its elements."""
        return from_numpy(self.array.dtype)

    @property
    def device(self) -> Device:
        """Where its memory is."""
        return device_of(self.array)

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return int(self.array.ndim)

    def dim(self) -> int:
        """How many dimensions it has."""
        return int(self.array.ndim)

    ndimension = dim

    def numel(self) -> int:
        """How many elements it has."""
        return int(self.array.size)

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return int(self.array.itemsize)

    @property
    def itemsize(self) -> int:
        return int(self.array.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self.array.nbytes)

    def stride(self, dim: int | None = None) -> Any:
        """For each dimension, how many elements lie between neighbours in memory."""
        array = self.array
        steps = tuple([step // array.itemsize for step in array.strides])
        if not array.size:  # NumPy has no steps where there is nothing; torch has
            sizes = [max(size, 1) for size in array.shape]
            steps = tuple([math.prod(sizes[i + 1 :]) for i in range(len(sizes))])
        return steps if dim is None else steps[read_dim(dim, self.array.ndim)]

    def storage_offset(self) -> int:
        """How many elements of the memory that it shares lie before its first one."""
        base: Any = self
        while base.view_of is not None:  # a leaf may be the base of views, and a view itself
            base = base.view_of.base
        count: int = (self.data_ptr() - base.data_ptr()) // self.array.itemsize
        return count

    def data_ptr(self) -> int:
        """The address of its first element."""
        array = self.array
        return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)

    def is_contiguous(self, memory_format: object = None) -> bool:
        """Whether its elements lie in order in memory, or in the order of another format."""
        if memory_format is None:
            return bool(self.array.flags.c_contiguous)
        return casting.follows(self.array, axes_of(memory_format, self.array.ndim))

    def is_floating_point(self) -> bool:
        return is_floating(self.array.dtype)

    def is_complex(self) -> bool:
        return False

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        """Whether it was made under `inference_mode`."""
        return self._storage is INFERENCE

    is_sparse = is_quantized = is_mkldnn = is_nested = is_sparse_csr = False
    is_ipu = is_maia = is_mps = is_mtia = is_vulkan = is_xla = is_xpu = False
    is_meta = property(lambda self: self.device.type == "meta")
    names = None
    layout = "torch.strided"

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a GPU."""
        return not isinstance(self.array, np.ndarray) and self.device.type == "cuda"

    is_cpu = property(lambda self: isinstance(self.array, np.ndarray))

    # ---------------------------------------------------------------- its gradient

    @property
    def requires_grad(self) -> bool:
        """Whether the backward pass computes a gradient for it."""
        return current_node(self) is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient, or stop asking; returns the tensor.

        Raises:
            RuntimeError: its elements are not floats, or it was computed from others.
        """
        if not self.is_leaf:
            if requires_grad:
                return self
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a"
                " computed variable in a subgraph that doesn't require differentiation use"
                " var_no_grad = var.detach()."
            )
        if not requires_grad:
            self.node = None  # its leaf stays: nothing is added to `.grad` while it is not the node
        elif self.node is None or self.node is not self.leaf:
            if not is_floating(self.array.dtype):
                raise RuntimeError(
                    "only Tensors of floating point dtype can require gradients, not"
                    f" {self.dtype!r}"
                )
            if self._storage is INFERENCE and not state.mode.inference:
                raise RuntimeError(
                    "Setting requires_grad=True on inference tensor outside InferenceMode is not"
                    " allowed."
                )
            self.node = self.leaf or AccumulateGrad(self)
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward passes have accumulated, or None."""
        grad = self._grad
        if grad is None:
            node = self.node
            if node is not None and not node.is_leaf and not self.retains_grad:
                _no_grad_here(self)
        return grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    "assigned grad expected to be a Tensor or None but got grad of type"
                    f" {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value.array.dtype != self.array.dtype:
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{value.dtype}' to a tensor with"
                    f" dtype '{self.dtype}'. The gradient must match the tensor's dtype."
                )
            if value.array.shape != self.array.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of"
                    f" size '{list(self.shape)}'. Please ensure that the gradient and the tensor"
                    " are the same size"
                )
            if value.device != self.device:
                raise RuntimeError(
                    f"attempting to assign a gradient with device '{value.device}' to a tensor"
                    f" with device '{self.device}'"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that made it; None for a leaf."""
        node = current_node(self)
        return None if node is None or node.is_leaf else node.whole or node

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not computed from tensors that need a gradient."""
        node = current_node(self)
        return node is None or node.is_leaf

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf it was computed from.

        Arguments and errors as for `autograd.backward`.
        """
        backward((self,), (gradient,), retain_graph, create_graph, inputs=inputs)

    def retain_grad(self) -> None:
        """Let the backward pass fill `.grad` although this is not a leaf.

        Raises:
            RuntimeError: it needs no gradient.
        """
        node = current_node(self)
        if node is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if node.is_leaf or self.retains_grad:
            return
        self.retains_grad = True
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            tensor = me()
            if tensor is not None:
                if tensor._grad is not None:
                    tensor._grad = tensor._grad + g
                else:
                    tensor._grad = g.clone(memory_format="torch.contiguous_format")

        hooks_of(node).retain = keep

    retains_grad = False

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` when the gradient of this tensor is complete; it may replace it.

        Raises:
            RuntimeError: it needs no gradient.
        """
        node = current_node(self)
        if node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return on_gradient(node, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook(tensor)` each time a backward pass has added to this leaf's `.grad`."""
        node = current_node(self)
        if not isinstance(node, Leaf):
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        if node.after_accumulate is None:
            node.after_accumulate = AfterAccumulate()
        return RemovableHandle(node.after_accumulate.functions, hook)

    @heard("detach")
    def detach(self) -> Tensor:
        """The same values in the same memory, cut off from the graph.

        >>> import tinygrad_edu as torch
        >>> x = torch.ones(2, requires_grad=True); x.detach().requires_grad
        False
        """
        y = wrap(self.array, None, self._storage)
        if state.mode.level is not None:
            state.mode.level.detached(self, y)
        return y

    def detach_(self) -> Tensor:
        """Cut this tensor itself off from the graph."""
        if self.view_of is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self.node = None
        return self

    @property
    @heard("data")
    def data(self) -> Tensor:
        """The same values in the same memory, unknown to the graph: writes go unnoticed."""
        if state.mode.level is not None:
            state.mode.level.check_data(self)
            return self.detach()
        return wrap(self.array, None, INFERENCE if self._storage is INFERENCE else Storage())

    @data.setter
    @heard("set_data")
    def data(self, value: Tensor) -> None:
        if not isinstance(value, TensorBase):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        refuse_captured(self, "set_", value)
        if state.mode.level is not None:
            state.mode.level.check_set_data(self, value)
        if self.node is not None and not is_floating(value.array.dtype):
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex"
                " dtype"
            )
        self.array, self.plain = value.array, False

    @property
    def _version(self) -> int:
        """How often its memory has been written in place."""
        return self._storage.version

    @property
    def _base(self) -> Tensor | None:
        return None if self.view_of is None else self.view_of.base

    def _is_view(self) -> bool:
        """Whether it shares the memory of another tensor, and its history."""
        return self.view_of is not None

    # ---------------------------------------------------------------- identity, printing, copies

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        from tinygrad_edu.methods.printing import format_tensor  # many programs print none

        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        if self.array.ndim == 0 and type(self) is Tensor:
            return format(self._host().item(), spec)
        return object.__format__(self, spec)

    @told
    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy"
                " protocol at the moment."
            )
        if id(self) in memo:
            found: Tensor = memo[id(self)]
            return found
        from tinygrad_edu.methods.copying import with_its_memory  # few programs need it

        array, storage = with_its_memory(self, memo)
        memo[id(self)] = copied = self._like_me(array, self.requires_grad, storage)
        if self._grad is not None:
            copied._grad = self._grad.__deepcopy__(memo)
        return copied

    def _like_me(self, array: object, requires_grad: bool, storage: Any = None) -> Tensor:
        """A leaf of this very class around an array."""
        made = object.__new__(type(self))
        made.array, made._storage = array, storage or wrap(array)._storage
        made.__dict__.update({k: v for k, v in self.__dict__.items() if k not in _OWN})
        if requires_grad:
            made.node = AccumulateGrad(made)
        return made

    def __reduce_ex__(self, protocol: object) -> Any:
        array = self.data.cpu().array
        own = {k: v for k, v in self.__dict__.items() if k not in _OWN}
        return (_rebuild, (type(self), array, self.requires_grad), own or None)

    # ---------------------------------------------------------------- new tensors like this one

    def new_tensor(self, data: object, *, dtype: Dtype = None, device: DeviceLike = None,
                   requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
        """A tensor from data, with this one's dtype and device."""
        return creation.tensor(data, dtype=dtype or self.dtype, device=device or self.device,
                               requires_grad=requires_grad)  # fmt: skip

    def _new(self, make: Any, size: Any, kwargs: Any) -> Tensor:
        options = {"dtype": self.dtype, "device": self.device}
        options.update({k: v for k, v in kwargs.items() if v is not None})
        made: Tensor = make(*size, **options)
        return made

    def new_zeros(self, *size: int | Sequence[int], **kwargs: object) -> Tensor:
        """Zeros of that shape, with this tensor's dtype and device."""
        return self._new(creation.zeros, size, kwargs)

    def new_ones(self, *size: int | Sequence[int], **kwargs: object) -> Tensor:
        """Ones of that shape, with this tensor's dtype and device."""
        return self._new(creation.ones, size, kwargs)

    def new_empty(self, *size: int | Sequence[int], **kwargs: object) -> Tensor:
        """Uninitialised memory of that shape, with this tensor's dtype and device."""
        return self._new(creation.empty, size, kwargs)

    def new_full(
        self, size: int | Sequence[int], fill_value: float | Tensor, **kwargs: object
    ) -> Tensor:
        """One value everywhere, with this tensor's dtype and device."""
        return self._new(creation.full, (size, fill_value), kwargs)


@heard("grad_of_result")
def _no_grad_here(t: Tensor) -> None:
    warnings.warn(_NO_GRAD_HERE, stacklevel=users_level())


_NO_GRAD_HERE = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad"
    " attribute won't be populated during autograd.backward(). If you indeed want the .grad field"
    " to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you"
    " access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead. See"
    " github.com/pytorch/pytorch/pull/30531 for more information."
)

_OWN = (
    "array", "_storage", "plain", "node", "leaf", "_grad", "view_of", "rebased", "turns",
    "retains_grad",
)  # fmt: skip
"""Attributes that a copy does not take over."""


def _rebuild(cls: type, array: object, requires_grad: bool) -> Any:
    """Undo pickling."""
    made: Any = object.__new__(cls)
    made.array, made._storage = array, wrap(array)._storage
    if requires_grad:
        made.node = AccumulateGrad(made)
    return made


TensorBase.results = Tensor

parameter_class: list[type[Tensor]] = []
"""`nn.Parameter`, which registers itself here, because the engine does not import nn."""
