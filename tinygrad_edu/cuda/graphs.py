"""CUDA graphs: a sequence of kernels, captured once and then launched as one.

A small model's step is a few hundred launches, each dearer than its work.  A graph repeats them
at the price of one, on the same memory: what changes from step to step is copied into the tensors
that the captured code read, and results are found in the tensors that it wrote.

Nothing in the captured code may wait for the GPU (`.item()`, `if loss > 1`, printing), change
shapes from data (masks as indices), or copy from the host.  Random numbers are new in each replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu import backend
from tinygrad_edu.autograd.function import Function
from tinygrad_edu.cuda.streams import Stream, current_stream
from tinygrad_edu.engine.gradients import grad
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import enable_grad
from tinygrad_edu.kernels.cuda import checks, products
from tinygrad_edu.random import gpu as gpu_random

if TYPE_CHECKING:
    from types import TracebackType


class CUDAGraph:
    """A captured sequence of kernels; `with cuda.graph(g):` captures, `g.replay()` launches.

    Raises:
        RuntimeError: there is no GPU, or nothing has been captured.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        backend.gpu(None)
        self._graph: Any = None
        self._stream: Stream | None = None
        self._workspaces: list[Any] = []

    def capture_begin(
        self, pool: Any = None, capture_error_mode: str = "global",
        check_input_liveness: bool = False,
    ) -> None:  # fmt: skip
        """Note what is asked of the current stream from now on, instead of doing it.

        Args:
            pool and the others: accepted; each graph has a memory pool of its own.
        """
        stream = current_stream()
        if stream.cuda_stream == 0:
            raise RuntimeError(
                "CUDA graphs must be captured on a non-default stream. (However, after capture,"
                " it's ok to replay them on the default stream.)"
            )
        cuda = backend.module_for(backend.device("cuda")).cuda
        # What is made when first used, and lasts, must not be made in the graph at each replay.
        gpu_random.default(backend.current_gpu()).state()
        checks.note()
        products.fresh_workspaces()
        # What the captured code allocates must stay where it is, for the replays.
        self._allocator = cuda.get_allocator()
        cuda.set_allocator(backend.allocator_for(self))
        try:
            stream.cupy.begin_capture()
        except BaseException:
            cuda.set_allocator(self._allocator)
            self.reset()
            raise
        self._stream, backend.switches.capturing = stream, True

    def capture_end(self) -> None:
        """Stop noting.

        Raises:
            RuntimeError: something in between cannot be captured.
        """
        if self._stream is None:
            raise RuntimeError("capture_end() without capture_begin()")
        try:
            self._graph = self._stream.cupy.end_capture()
        finally:
            backend.module_for(backend.device("cuda")).cuda.set_allocator(self._allocator)
            self._stream, backend.switches.capturing = None, False
            self._workspaces = products.fresh_workspaces()

    def replay(self) -> None:
        """Launch everything that was captured, on the current stream."""
        if self._graph is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self._graph.launch(stream=current_stream().cupy)

    def reset(self) -> None:
        """Forget what was captured, and give its memory back."""
        self._graph, self._workspaces = None, []
        pool = backend.graph_pools.pop(self, None)
        if pool is not None:
            pool.free_all_blocks()

    def pool(self) -> tuple[int, int]:
        """What identifies its memory."""
        return (id(self), 0)


class graph:
    """`with cuda.graph(g):` what is done within is captured in `g`, not done.

    Args:
        cuda_graph: a `CUDAGraph`.
        pool: accepted; each graph has memory of its own.
        stream: where to capture; a new stream unless given.

    Raises:
        RuntimeError: something within waits for the GPU or copies from the host.
    """

    def __init__(
        self, cuda_graph: CUDAGraph, pool: Any = None, stream: Stream | None = None,
        capture_error_mode: str = "global", enable_annotations: bool = False,
        check_input_liveness: bool = False,
    ) -> None:  # fmt: skip
        self.cuda_graph = cuda_graph
        self.stream = Stream() if stream is None else stream

    def __enter__(self) -> None:
        here = current_stream()
        here.synchronize()
        self.stream.wait_stream(here)
        self.stream.__enter__()
        try:
            self.cuda_graph.capture_begin()
        except BaseException as error:
            self.stream.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.cuda_graph.capture_end()
        except Exception as failure:
            if error is None:
                raise RuntimeError(f"CUDA graph: the capture failed: {failure}") from failure
        finally:
            self.stream.__exit__(kind, error, trace)
        ours = type(error).__name__ == "CUDARuntimeError" or "captur" in str(error).lower()
        if error is not None and ours:
            raise RuntimeError(
                "CUDA graph: an operation within cannot be captured, because it waits for the GPU"
                f" or copies from the host: {error}"
            ) from error


def make_graphed_callables(
    callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False,
    pool: object = None,
) -> Any:  # fmt: skip
    """A module or function whose forward and backward passes are one graph each.

    Args:
        callables: a module, a function, or a tuple of them.
        sample_args: a tuple of tensors on the GPU, of the shapes that will be given; for several
            callables a tuple of such tuples.
        num_warmup_iters: how often each is run before it is captured.
        allow_unused_input: inputs that the result does not depend on get no gradient.

    Raises:
        RuntimeError: something within waits for the GPU or copies from the host.
    """
    if isinstance(callables, tuple):
        return tuple(
            _graphed(one, args, num_warmup_iters, allow_unused_input)
            for one, args in zip(callables, sample_args, strict=True)
        )
    return _graphed(callables, sample_args, num_warmup_iters, allow_unused_input)


def _graphed(run: Any, args: tuple[Any, ...], warmup: int, allow_unused: bool) -> Any:
    parameters = tuple(p for p in getattr(run, "parameters", tuple)() if p.requires_grad)
    forward = run.forward if hasattr(run, "forward") else run
    inputs = tuple(a.detach().clone().requires_grad_(a.requires_grad) for a in args)
    leaves = tuple(a for a in inputs if a.requires_grad) + parameters
    y: Any = None
    side = Stream()
    side.wait_stream(current_stream())
    with side:
        for _ in range(warmup):
            with enable_grad():
                y = forward(*inputs)
            if leaves:
                grad(y, leaves, y.detach() * 0, allow_unused=allow_unused)
    current_stream().wait_stream(side)
    there, back = CUDAGraph(), CUDAGraph()
    with graph(there), enable_grad():
        y = forward(*inputs)
    if not hasattr(y, "detach"):
        raise TypeError("make_graphed_callables: the result must be one tensor")
    start = (y.detach() * 0).contiguous()
    found: list[Any] = []
    if leaves:
        with graph(back):
            found = list(grad(y, leaves, start, allow_unused=allow_unused))
    graphed = _function(there, back, inputs, leaves, y.detach(), start, found)
    if not hasattr(run, "forward"):
        return lambda *given: graphed(*given, *parameters)
    run.forward = _in_training(run, run.forward, lambda *given: graphed(*given, *parameters))
    return run


def _in_training(module: Any, plain: Callable[..., Any], graphed: Callable[..., Any]) -> Any:
    """The graph as long as the module is in the mode it was captured in."""
    mode = module.training
    return lambda *args: graphed(*args) if module.training == mode else plain(*args)


def _function(
    there: CUDAGraph, back: CUDAGraph, inputs: Any, leaves: object, y: Any, start: Any, found: Any
) -> Callable[..., Any]:
    """One operation of the tape whose two passes are replays."""

    class Graphed(Function):
        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            for ours, theirs in zip(inputs, given, strict=False):
                ours.array[...] = theirs.array
            there.replay()
            return wrap(y.array.copy())

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            start.array[...] = grads[0].array
            back.replay()
            arrived = iter(found)
            gradients = [next(arrived) if a.requires_grad else None for a in inputs]
            gradients += list(arrived)
            return tuple(None if g is None else wrap(g.array.copy()) for g in gradients)

    return Graphed.apply
