"""Streams, the queues of a GPU's work, and events, moments in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu import backend

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


def _cuda() -> Any:
    return backend.module_for(backend.device("cuda")).cuda


class Stream:
    """A queue of work on a GPU: what is asked of one stream is done in order.

    Args:
        device: the GPU, the current one unless given.
        priority: lower numbers go first.

    Raises:
        RuntimeError: there is no GPU.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, of: Any = None) -> None:
        with backend.gpu(device) as here:
            self.device = backend.device("cuda", here.id)
            self.cupy = _cuda().Stream(non_blocking=True, priority=priority) if of is None else of
        self.priority = priority

    @property
    def cuda_stream(self) -> int:
        """CUDA's own handle."""
        return int(self.cupy.ptr)

    def query(self) -> bool:
        """Whether all its work is done."""
        return bool(self.cupy.done)

    def synchronize(self) -> None:
        """Wait until all its work is done."""
        self.cupy.synchronize()

    def wait_event(self, event: Event) -> None:
        """What is asked of this stream from now on waits for the event."""
        self.cupy.wait_event(event.cupy)

    def wait_stream(self, stream: Stream) -> None:
        """What is asked of this stream from now on waits for the other's work so far."""
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """An event behind all the work so far."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.cuda_stream == other.cuda_stream

    def __hash__(self) -> int:
        return hash(self.cuda_stream)

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def __enter__(self) -> Stream:
        self.cupy.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.cupy.__exit__(*error)


def current_stream(device: DeviceLike = None) -> Stream:
    """The stream that work is asked of now."""
    with backend.gpu(device):
        return Stream(device, of=_cuda().get_current_stream())


def default_stream(device: DeviceLike = None) -> Stream:
    """The stream that work is asked of outside any `with cuda.stream(...)`."""
    return Stream(device, of=_cuda().Stream.null)


def set_stream(stream: Stream) -> None:
    """Ask work of this stream from now on."""
    stream.cupy.use()


class StreamContext:
    """`with cuda.stream(s):` within it, work is asked of stream `s`; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self.stream.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.stream is not None:
            self.stream.__exit__(*error)


def stream(stream: Stream | None) -> StreamContext:
    """Within it, work is asked of that stream."""
    return StreamContext(stream)


class Event:
    """A moment in a GPU's work.

    Args:
        enable_timing: `elapsed_time` may be asked.
        blocking: `synchronize` sleeps instead of asking again and again.

    Raises:
        RuntimeError: there is no GPU.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False,
        external: bool = False,
    ) -> None:  # fmt: skip
        if interprocess or external:
            raise NotImplementedError("cuda.Event: it cannot be shared with others")
        self.cupy = _cuda().Event(block=blocking, disable_timing=not enable_timing)
        self.timing, self.recorded = enable_timing, False

    def record(self, stream: Stream | None = None) -> None:
        """Put the moment behind everything asked of the stream so far."""
        stream = current_stream() if stream is None else stream
        self.cupy.record(stream.cupy)
        self.recorded = True

    def wait(self, stream: Stream | None = None) -> None:
        """What is asked of the stream from now on waits for the moment."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether it has come."""
        return bool(self.cupy.done)

    def synchronize(self) -> None:
        """Wait until it has come."""
        self.cupy.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this moment to another.

        Raises:
            ValueError: an event was not made with `enable_timing`, or not recorded.
        """
        if not (self.timing and end_event.timing):
            raise ValueError(
                "Both events must be created with argument 'enable_timing=True' before calculating"
                " elapsed time."
            )
        if not (self.recorded and end_event.recorded):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return float(_cuda().get_elapsed_time(self.cupy, end_event.cupy))
