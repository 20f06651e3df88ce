"""What all optimizers share: parameter groups, the loop over parameters, saving and loading.

An optimizer of this package is its equation: a subclass says what it remembers of a parameter
(`_new_state`) and how one array moves along its gradient (`_update`).  A user's own optimizer may
instead override `step`, as in torch.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from operator import setitem
from typing import Any, ClassVar, TypeAlias

import numpy as np

from tinygrad_edu import backend, dtypes
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.hooks import RemovableHandle
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import enable_grad
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.nn.parameter import clear_gradient
from tinygrad_edu.ops.arguments import plain
from tinygrad_edu.optim.common import together
from tinygrad_edu.out_of_memory import out_of_memory
from tinygrad_edu.tensor import Tensor

Group: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Any]
Params: TypeAlias = Iterable[Tensor] | Iterable[Group] | Iterable[tuple[str, Tensor]]

Rows: TypeAlias = list[list[Array]]
"""For each parameter of a launch its arrays."""

Hooks: TypeAlias = OrderedDict[int, Callable[..., Any]]

_global_pre_hooks: Hooks = OrderedDict()
_global_post_hooks: Hooks = OrderedDict()


def _with_hooks(function: Callable[..., Any]) -> Callable[..., Any]:
    """A class's `step` with the hooks around it, unless it is reached through `super()`."""

    @heard("optimizer_step")
    @functools.wraps(function)
    def step(self: Optimizer, *args: object, **kwargs: object) -> Any:
        if type(self).step is not step or not hasattr(self, "_hooks"):  # no `super().__init__()`
            return function(self, *args, **kwargs)
        for group in self.param_groups:
            _without_numpy(group)
        everything = (self, *args)
        for before in (*_global_pre_hooks.values(), *self._hooks["step_pre"].values()):
            changed = before(self, everything, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{function} must return None or a tuple of (new_args, new_kwargs),"
                        f" but got {changed}."
                    )
                everything, kwargs = changed
        result = function(*everything, **kwargs)
        for after in (*self._hooks["step_post"].values(), *_global_post_hooks.values()):
            after(self, everything, kwargs)
        return result

    return step


def _without_numpy(group: Group) -> None:
    """Make Python's numbers of options that are NumPy's, which would widen what they multiply."""
    for name, value in group.items():
        if isinstance(value, np.generic):
            group[name] = plain(value)
        elif isinstance(value, tuple) and any([isinstance(part, np.generic) for part in value]):
            group[name] = tuple(map(plain, value))


class Optimizer:
    """The base class of all optimizers.

    Args:
        params: parameters, or (name, parameter) pairs, or dicts that each describe a group: its
            "params" and the options in which it differs from `defaults`.
        defaults: the options of groups that do not set them.

    Attributes:
        param_groups: one dict per group: "params" and every option.
        state: for each parameter, what the optimizer remembers of it.

    Raises:
        TypeError: `params` is a tensor or a set, or holds something that is not a tensor.
        ValueError: no parameters, a parameter in two groups, a tensor that is not a leaf, names
            for some parameters only.

    >>> import tinygrad_edu as torch
    >>> class SignDescent(torch.optim.Optimizer):
    ...     @torch.no_grad()
    ...     def step(self, closure=None):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p -= group["lr"] * p.grad.sign()
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SignDescent([w], {"lr": 0.5})
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, -1.5]
    """

    _averages: ClassVar[tuple[str, ...]] = ()
    """The names of averages in the state, which must have the dtype of the parameter."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    @heard("optimizer")
    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts,"
                f" but got {params.type()}"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._hooks: defaultdict[str, Hooks] = defaultdict(OrderedDict)
        given: list[Any] = list(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    # One step -------------------------------------------------------------------------------------

    @_with_hooks  # for subclasses `__init_subclass__` does it
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: a function that clears the gradients, computes the loss, calls `backward`
                and returns the loss; it runs with grad enabled.

        Returns:
            what `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if backend.switches.capturing and not all(
            [g.get("capturable", True) for g in self.param_groups]
        ):
            raise RuntimeError(
                "Attempting CUDA graph capture of step() for an instance of"
                f" {type(self).__name__} but param_groups' capturable is False."
            )
        for group in self.param_groups:
            moving = [p for p in group["params"] if p._grad is not None]
            try:
                with np.errstate(all="ignore"):  # a warning would run Python amid the writes
                    for p in self._update_together(moving, group):
                        self._update_parameter(p, group)
            except MemoryError as error:
                raise out_of_memory(f"{type(self).__name__}.step", error) from None
        return loss

    def _update_together(self, params: list[Tensor], group: Group) -> list[Tensor]:
        """Update in few launches those parameters on a GPU that allow it; returns the others."""
        if not together(params) or type(self)._calls_together is Optimizer._calls_together:
            return params
        rest: list[Tensor] = []
        batches: defaultdict[Any, list[tuple[list[Array], State]]] = defaultdict(list)
        for p in params:
            assert p._grad is not None
            x, g = p.array, p._grad.array
            if isinstance(x, np.ndarray) or not cuda.tensors.fit(x, g):
                rest.append(p)
                continue
            state = self._state_of(p, group)
            row = self._row(x, g, state, group)
            if not cuda.tensors.fit(*row):
                rest.append(p)
                continue
            batches[x.dtype, x.device.id, self._shared(state, group)].append((row, state))
            p._storage.write()
        for (*_, shared), batch in batches.items():
            rows, states = [row for row, _ in batch], [state for _, state in batch]
            undivided(self._calls_together(rows, states, shared, group))
        return rest

    def _row(self, x: Array, g: Array, state: State, group: Group) -> list[Array]:
        """The arrays that a launch needs of a parameter, all of one shape, `x` and `g` first."""
        raise NotImplementedError

    def _shared(self, state: State, group: Group) -> Any:
        """What else is the same for all parameters of a launch."""
        return None

    def _calls_together(self, rows: Rows, states: list[State], shared: Any, group: Group) -> Calls:
        """The calls that do on a GPU what `_update` does, for many parameters in few launches.

        Defined where there is a kernel.
        """
        raise NotImplementedError

    def _state_of(self, p: Tensor, group: Group) -> State:
        """What is remembered of a parameter, made if this is its first step."""
        state = self.state.get(p)
        if state:
            for name in self._averages:
                if name in state and state[name].array.dtype is not p.array.dtype:
                    self._check_dtype(p.array, state)
        else:
            state = self._new_state(p.array, group)
            if state:
                self.state[p] = state
        return state

    def _check_dtype(self, x: Array, state: State) -> None:
        """Refuse averages whose dtype is not the parameter's, as after `model.double()`."""
        for name in self._averages:
            if name in state and state[name].array.dtype != x.dtype:
                raise RuntimeError(
                    f"{type(self).__name__}: expected dtype {state[name].dtype}, which the state"
                    f" {name!r} has, but got a parameter of dtype {dtypes.from_numpy(x.dtype)}."
                    " Convert the model before the first step, or the state after it, by"
                    " optimizer.load_state_dict(optimizer.state_dict())"
                )

    def _update_parameter(self, p: Tensor, group: Group) -> None:
        grad = p._grad
        assert grad is not None
        x, g = p.array, grad.array
        if group.get("maximize"):
            g = -g
        state = self._state_of(p, group)
        p._storage.write()  # an interrupt after it leaves nothing worse than a new version
        if x.dtype.itemsize == 2:
            self._update_half(x, g, state, group)
        else:
            self._update(x, g, state, group)

    def _update_half(self, x: Array, g: Array, state: State, group: Group) -> None:
        """A 16-bit parameter is updated in float32, and rounded once."""
        half, wide = x.dtype, dict(state)
        for key, value in state.items():
            if isinstance(value, Tensor):
                dtype = np.float32 if value.array.dtype == half else value.array.dtype
                wide[key] = wrap(value.array.astype(dtype))
        x32 = x.astype(np.float32)
        self._update(x32, g.astype(np.float32), wide, group)
        calls: Calls = [(setitem, x, ..., x32)]
        for key, value in wide.items():
            if state.get(key) is None:
                calls.append((setitem, state, key, wrap(value.array.astype(half))))
            else:
                calls.append((setitem, state[key].array, ..., value.array))
        undivided(calls)

    def _new_state(self, x: Array, group: Group) -> State:
        """What to remember of the parameter `x`, before its first step."""
        return {}

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        """Move the array `x` along its gradient `g`, in place.

        The optimizers of this package compute all new values first and then write them, and the
        counters, by `kernels.undivided`: an interrupt finds a parameter's step done or not begun.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step() or _update()")

    @heard("zero_grad")
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Args:
            set_to_none: `.grad` becomes None (a step then leaves the parameter alone); if False
                it is filled with zeros.
        """
        for group in self.param_groups:
            for p in group["params"]:
                clear_gradient(p, set_to_none)

    # Groups ---------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of parameters, such as a layer that is thawed during training.

        Args:
            param_group: "params" and the options in which the group differs from the defaults.

        Raises:
            TypeError, ValueError: as for the class.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params, names = _split_names(param_group["params"])
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    + type(p).__name__
                )
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this"
                " will cause an error; see github.com/pytorch/pytorch/issues/40967 for more"
                " information",
                stacklevel=users_level(),
            )
        for group in self.param_groups:
            if ("param_names" in group) != ("param_names" in param_group):
                kind = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names."
                    f" cannot add param group {kind} to the optimizer"
                )
            if not set(params).isdisjoint(group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    # Saving and loading ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The optimizer as plain data: {"state": ..., "param_groups": ...}, torch's layout.

        Parameters stand there as their numbers, counted through all groups.  The state's tensors
        are the live ones, not copies.

        >>> import tinygrad_edu as torch
        >>> w = torch.ones(2, requires_grad=True)
        >>> torch.optim.SGD([w], lr=0.1).state_dict()["param_groups"][0]["params"]
        [0]
        """
        for before in [*self._hooks["state_dict_pre"].values()]:
            before(self)
        number: dict[int, int] = {}
        groups, start = [], 0
        for group in self.param_groups:
            for position, p in enumerate(group["params"], start):
                number.setdefault(id(p), position)
            start += len(group["params"])
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append(packed | {"params": [number[id(p)] for p in group["params"]]})
        state = {
            number[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for after in [*self._hooks["state_dict_post"].values()]:
            changed = after(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; parameters are matched by their order.

        State is cast to the dtype and the device of its parameter, except "step", which goes
        there as float32 if the group is capturable.

        Raises:
            ValueError: the groups differ in number or size, or lack an option: another optimizer's.

        Unlike torch, the state is copied: two optimizers never share it.
        """
        state_dict = dict(state_dict)
        for before in [*self._hooks["load_state_dict_pre"].values()]:
            changed = before(self, state_dict)
            state_dict = state_dict if changed is None else changed
        from tinygrad_edu.optim.loading import fitted_state

        ours = type(self)._update is not Optimizer._update
        self.__setstate__(fitted_state(self, state_dict, ours))
        for after in [*self._hooks["load_state_dict_post"].values()]:
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_hooks", defaultdict(OrderedDict))

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines += [""] * (i > 0) + [f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # Hooks ----------------------------------------------------------------------------------------

    def _register(self, event: str, hook: Callable[..., Any], prepend: bool) -> RemovableHandle:
        return RemovableHandle(self._hooks[event], hook, prepend=prepend)

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new (args, kwargs).

        `args` begins with the optimizer itself.
        """
        return self._register("step_pre", hook, False)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._register("step_post", hook, False)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` looks."""
        return self._register("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` on what `state_dict` returns; it may replace it."""
        return self._register("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may replace the dict."""
        return self._register("load_state_dict_pre", hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._register("load_state_dict_post", hook, prepend)


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return RemovableHandle(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return RemovableHandle(_global_post_hooks, hook)


def _split_names(params: Any) -> tuple[list[Any], list[str]]:
    """Parameters and their names; no names if they were given without."""
    if isinstance(params, Tensor):
        params = [params]
    elif isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of"
            " tensors in sets will change between runs. Please use a list instead."
        )
    params = list(params)
    names = [p[0] for p in params if isinstance(p, tuple)]
    if names and len(names) != len(params):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    return [p[1] if isinstance(p, tuple) else p for p in params], names
