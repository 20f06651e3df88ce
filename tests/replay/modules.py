"""torch's database of layers replayed here: every float64 input of every layer of `torch.nn`.

Each input is a constructor's arguments and a call's.  The layer is made in both libraries from the
same seed, ours is given torch's state_dict, and then everything must be equal: the names and
initial values of the parameters, the output, the buffers after it, the gradients of inputs and
parameters from random cotangents, and the gradients of those gradients where torch has them.

    python -m tests.replay layers [--every N] [name ...]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from replay.both import (
    Outcome,
    agree,
    cotangent,
    leaves,
    outcome,
    same_refusal,
    translate,
)
from replay.exclusions import LAYERS
from torch.testing._internal.common_modules import ModuleInfo

import tinygrad_edu as ours


@contextlib.contextmanager
def remembering(cls: type) -> Iterator[None]:
    """While this lasts, a `cls` remembers what it was made with, so that we can make it too."""
    plain = cls.__init__

    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        self.made_with = args, kwargs

    cls.__init__ = remember  # type: ignore[misc]
    try:
        yield
    finally:
        cls.__init__ = plain  # type: ignore[misc]


def title(info: ModuleInfo) -> str:
    """The name of the layer."""
    return info.name.removeprefix("nn.")


def samples(info: ModuleInfo, find: Callable[..., Any], training: bool) -> list[Any]:
    """What the database's function gives for float64."""
    torch.manual_seed(0)
    with remembering(torch.nn.TransformerEncoderLayer):
        return list(
            find(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
        )


class Side:
    """One library's layer and everything that comes out of it."""

    def __init__(self, library: Any, cls: Any, sample: Any, training: bool) -> None:
        self.library = library
        made = translate(sample.constructor_input, library)
        library.manual_seed(3)
        self.layer = cls(*made.args, **made.kwargs)
        self.layer = self.layer.to(library.float64)
        self.layer.train(training)
        if isinstance(self.layer, library.nn.modules.lazy.LazyModuleMixin):
            given = translate(sample.forward_input, library)
            self.layer(*given.args, **given.kwargs)  # which gives it shapes
        self.initial = dict(self.layer.state_dict())

    def forward(self, sample: Any) -> None:
        given = translate(sample.forward_input, self.library)
        self.library.manual_seed(4)
        self.outputs = leaves(self.layer(*given.args, **given.kwargs))
        inputs = leaves([given.args, given.kwargs])
        self.wanted = [x for x in [*inputs, *self.layer.parameters()] if x.requires_grad]
        self.state = dict(self.layer.state_dict())

    def gradients(self, second: bool) -> list[Any]:
        """The gradients of inputs and parameters; or, of these, those of inputs and cotangents."""
        ys = [y for y in self.outputs if y.requires_grad]
        if not ys or not self.wanted:
            return []
        us = [cotangent(y, self.library, i) for i, y in enumerate(ys)]
        grad = self.library.autograd.grad
        if not second:
            return list(grad(ys, self.wanted, us, retain_graph=True, allow_unused=True))
        for u in us:
            u.requires_grad_()
        gs = grad(ys, self.wanted, us, create_graph=True, allow_unused=True)
        pairs = [
            (g, cotangent(g, self.library, 100 + i))
            for i, g in enumerate(gs)
            if g is not None and g.requires_grad
        ]
        wanted = [*self.wanted, *us]
        if not pairs:
            return [None] * len(wanted)
        return list(grad([g for g, _ in pairs], wanted, [v for _, v in pairs], allow_unused=True))


def replay(info: ModuleInfo, sample: Any, training: bool) -> None:
    """Compare one sample; AssertionError where the libraries differ."""
    cls = getattr(ours.nn, info.module_cls.__name__)
    theirs = Side(torch, info.module_cls, sample, training)
    mine = Side(ours, cls, sample, training)
    assert list(mine.initial) == list(theirs.initial), "the names in the state_dict differ"
    agree("initial values", mine.initial, theirs.initial)
    mine.layer.load_state_dict({k: translate(v, ours) for k, v in theirs.initial.items()})
    if sample.forward_input is None:
        return
    theirs.forward(sample)
    mine.forward(sample)
    agree("output", mine.outputs, theirs.outputs)
    agree("state_dict after the call", mine.state, theirs.state)
    agree("gradients", mine.gradients(False), theirs.gradients(False))
    # torch documents that with these options it has no second derivatives; it does not raise
    chunked = sample.constructor_input.kwargs.get("options") is not None
    if info.supports_gradgrad and not chunked:
        try:
            expected = theirs.gradients(True)
        except (RuntimeError, NotImplementedError):  # torch has no second derivative here
            return
        agree("second derivatives", mine.gradients(True), expected)


def replay_error(info: ModuleInfo, error: Any, training: bool) -> None:
    """What torch refuses, we refuse with the same type of exception, in its words."""

    def refused(library: Any) -> Exception | None:
        cls = getattr(library.nn, info.module_cls.__name__)
        try:
            side = Side(library, cls, error.module_error_input, training)
            if error.module_error_input.forward_input is not None:
                side.forward(error.module_error_input)
        except Exception as problem:
            return problem
        return None

    same_refusal(refused(ours), refused(torch), error.error_regex)


def replay_layer(info: ModuleInfo, every: int = 1) -> Iterator[Outcome]:
    """The outcome of each `every`-th sample of one layer, and of each of its error inputs."""
    name = title(info)
    modes = (True, False) if info.train_and_eval_differ else (True,)
    for training in modes:
        mode = "train" if training else "eval"
        for i, s in enumerate(samples(info, info.module_inputs_func, training)):
            if i % every == 0:
                label = f"{mode} {i} {s.desc}".strip()
                yield outcome(name, label, lambda s=s, t=training: replay(info, s, t), LAYERS)
        if info.module_error_inputs_func is not None:
            for i, e in enumerate(samples(info, info.module_error_inputs_func, training)):
                label = f"{mode} error {i}"
                yield outcome(name, label, lambda e=e, t=training: replay_error(info, e, t), LAYERS)
