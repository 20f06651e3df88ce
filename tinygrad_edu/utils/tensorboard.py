"""`torch.utils.tensorboard`: a SummaryWriter over the package `tensorboard`."""

from __future__ import annotations

import datetime
import importlib
import os
import socket
import time
from types import TracebackType
from typing import Any

import numpy as np

from tinygrad_edu.backend import CPU, to_device
from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.names.settings import unavailable


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "SummaryWriter needs the package tensorboard: pip install 'tinygrad-edu[tensorboard]'"
        ) from error


def _number(value: Any) -> float:
    return float(value.array.item() if isinstance(value, Variable) else value)


class SummaryWriter:
    """Writes event files that `tensorboard --logdir` shows.

    Args:
        log_dir: the folder; by default runs/ and the time, the machine's name and `comment`.
        comment: added to the default folder's name.
        purge_step: events from this step on, written before, are ignored.
        max_queue, flush_secs: how many events, and seconds, may wait before they are written.
        filename_suffix: added to the file's name.

    Raises:
        ImportError: the package `tensorboard` is not installed.

    >>> from tinygrad_edu.utils.tensorboard import SummaryWriter
    >>> with SummaryWriter() as writer:  # doctest: +SKIP
    ...     writer.add_scalar("loss", 0.5, global_step=1)
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            now = datetime.datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = str(log_dir)
        files = _package("tensorboard.summary.writer.event_file_writer")
        self._event = _package("tensorboard.compat.proto.event_pb2").Event
        self._summary = _package("tensorboard.compat.proto.summary_pb2")
        self._arguments = (max_queue, flush_secs, filename_suffix)
        self._files = files.EventFileWriter
        self._writer = self._files(self.log_dir, *self._arguments)
        self._others: dict[str, Any] = {}
        if purge_step is not None:
            log = _package("tensorboard.compat.proto.event_pb2").SessionLog
            start = log(status=log.START)
            event = self._event(step=purge_step, wall_time=time.time(), session_log=start)
            self._writer.add_event(event)

    def get_logdir(self) -> str:
        """The folder that the events are written to."""
        return self.log_dir

    def _add(self, value: Any, step: Any, walltime: float | None, writer: Any = None) -> None:
        event = self._event(wall_time=time.time() if walltime is None else walltime)
        event.summary.CopyFrom(self._summary.Summary(value=[value]))
        if step is not None:
            event.step = int(step)
        (writer or self._writer).add_event(event)

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """One number: a Python number or a tensor of one element."""
        value = self._summary.Summary.Value(tag=tag, simple_value=_number(scalar_value))
        self._add(value, global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Several numbers in one diagram, each in its own folder."""
        for tag, number in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag.replace('/', '_')}_{tag}")
            if folder not in self._others:
                self._others[folder] = self._files(folder, *self._arguments)
            value = self._summary.Summary.Value(tag=main_tag, simple_value=_number(number))
            self._add(value, global_step, walltime, self._others[folder])

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = 64,
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """How the elements of a tensor are distributed.

        Unlike torch, there are 64 bins of equal width unless `bins` says otherwise.
        """
        x = _array(values).astype(np.float64).ravel()
        x = x[np.isfinite(x)]
        if not x.size:
            raise ValueError("The input has no element")
        counts, edges = np.histogram(x, bins if not isinstance(bins, str) else 64)
        histogram = self._summary.HistogramProto(
            min=x.min(), max=x.max(), num=x.size, sum=x.sum(), sum_squares=(x * x).sum(),
            bucket_limit=edges[1:].tolist(), bucket=counts.tolist(),
        )  # fmt: skip
        value = self._summary.Summary.Value(tag=tag, histo=histogram)
        self._add(value, global_step, walltime)

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A text, in Markdown."""
        shapes = _package("tensorboard.compat.proto.tensor_shape_pb2").TensorShapeProto
        tensor = _package("tensorboard.compat.proto.tensor_pb2").TensorProto(
            dtype="DT_STRING",
            string_val=[text_string.encode()],
            tensor_shape=shapes(dim=[shapes.Dim(size=1)]),
        )
        plugin = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        metadata = self._summary.SummaryMetadata(plugin_data=plugin)
        value = self._summary.Summary.Value(
            tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor
        )
        self._add(value, global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture of uint8 in [0, 255] or floats in [0, 1]; needs the package Pillow."""
        import io

        array = _array(img_tensor)
        order = [dataformats.upper().index(d) for d in "HWC" if d in dataformats.upper()]
        array = array.transpose(order)
        if array.ndim == 2:
            array = array[..., None]
        if array.dtype.kind == "f":
            array = (array * 255).clip(0, 255)
        array = array.astype(np.uint8)
        if array.shape[2] == 1:
            array = array.repeat(3, axis=2)
        data = io.BytesIO()
        _package("PIL.Image").fromarray(array).save(data, format="PNG")
        image = self._summary.Summary.Image(
            height=array.shape[0], width=array.shape[1], colorspace=array.shape[2],
            encoded_image_string=data.getvalue(),
        )  # fmt: skip
        value = self._summary.Summary.Value(tag=tag, image=image)
        self._add(value, global_step, walltime)

    add_graph = unavailable("SummaryWriter.add_graph", "models are not traced")
    add_embedding = unavailable("SummaryWriter.add_embedding", "only numbers, texts and pictures")
    add_hparams = unavailable("SummaryWriter.add_hparams", "write them with add_text")
    add_figure = unavailable("SummaryWriter.add_figure", "save the figure as a picture: add_image")

    def flush(self) -> None:
        """Write everything that waits."""
        for writer in (self._writer, *self._others.values()):
            writer.flush()

    def close(self) -> None:
        """Write everything that waits, and close the files."""
        for writer in (self._writer, *self._others.values()):
            writer.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _array(values: Any) -> Any:
    """A tensor's or a sequence's elements as a NumPy array."""
    if isinstance(values, Variable):
        return to_device(values.array, CPU)
    return np.asarray(values)
