"""`torch.utils.tensorboard`: a SummaryWriter over the package `tensorboard`."""

from __future__ import annotations

import datetime
import importlib
import math
import os
import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import CPU, to_device
from tinygrad_edu.engine.graph import TensorBase

if TYPE_CHECKING:
    from types import ModuleType


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "SummaryWriter needs the package tensorboard: pip install 'tinygrad-edu[tensorboard]'"
        ) from error


def _number(value: Any) -> float:
    return float(value.array.item() if isinstance(value, TensorBase) else value)


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
        self._embeddings: dict[str, Any] = {}
        if purge_step is not None:
            log = _package("tensorboard.compat.proto.event_pb2").SessionLog
            start = log(status=log.START)
            event = self._event(step=purge_step, wall_time=time.time(), session_log=start)
            self._writer.add_event(event)

    def get_logdir(self) -> str:
        """The folder that the events are written to."""
        return self.log_dir

    def _add(
        self, value: object, step: int | None, walltime: float | None, writer: Any = None
    ) -> None:
        event = self._event(wall_time=time.time() if walltime is None else walltime)
        event.summary.CopyFrom(self._summary.Summary(value=[value]))
        if step is not None:
            event.step = int(step)
        (writer or self._writer).add_event(event)

    def add_scalar(
        self,
        tag: str,
        scalar_value: object,
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
        values: object,
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
        img_tensor: object,
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

    def add_images(
        self,
        tag: str,
        img_tensor: object,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Pictures of one size beside each other; see `add_image`."""
        order = [dataformats.upper().index(d) for d in "NHWC"]
        row = np.concatenate([*_array(img_tensor).transpose(order)], axis=1)
        self.add_image(tag, row, global_step, walltime, "HWC")

    def add_figure(
        self,
        tag: str,
        figure: object,
        global_step: int | None = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """A figure of matplotlib's, or a list of some, as a picture; closed if `close`."""
        figures = figure if isinstance(figure, list) else [figure]
        agg = importlib.import_module("matplotlib.backends.backend_agg")
        drawn = []
        for one in figures:
            canvas = agg.FigureCanvasAgg(one)
            canvas.draw()
            drawn.append(np.asarray(canvas.buffer_rgba())[..., :3])
            if close:
                importlib.import_module("matplotlib.pyplot").close(one)
        self.add_images(tag, np.stack(drawn), global_step, walltime, "NHWC")

    def add_graph(
        self,
        model: object,
        input_to_model: object = None,
        verbose: bool = False,
        use_strict_trace: bool = True,
    ) -> None:
        """The graph of a model: its operations, parameters and shapes, within its modules.

        Args:
            model: a module, which is run once, in eval mode and without a gradient.
            input_to_model: a tensor, or a list or tuple of what it is called with.
            verbose: print the graph.
            use_strict_trace: accepted.
        """
        from tinygrad_edu.utils.model_graph import trace

        definitions = _package("tensorboard.compat.proto.graph_pb2")
        proto = _package("tensorboard.compat.proto.node_def_pb2").NodeDef
        attribute = _package("tensorboard.compat.proto.attr_value_pb2").AttrValue
        shape = _package("tensorboard.compat.proto.tensor_shape_pb2").TensorShapeProto
        versions = _package("tensorboard.compat.proto.versions_pb2").VersionDef(producer=22)
        graph = definitions.GraphDef(versions=versions)
        for node in trace(model, input_to_model):
            if verbose:
                print(f"{node.name} = {node.op}({', '.join(node.inputs)}) -> {node.shapes}")
            shapes = [shape(dim=[shape.Dim(size=n) for n in one]) for one in node.shapes]
            listed = attribute.ListValue(shape=shapes)
            graph.node.append(
                proto(
                    name=node.name, op=node.op, input=node.inputs,
                    attr={"_output_shapes": attribute(list=listed)},
                )
            )  # fmt: skip
        event = self._event(wall_time=time.time(), graph_def=graph.SerializeToString())
        self._writer.add_event(event)

    def add_embedding(
        self,
        mat: object,
        metadata: Any = None,
        label_img: object = None,
        global_step: int | None = None,
        tag: str = "default",
        metadata_header: Any = None,
    ) -> None:
        """Points for the projector: each row of a matrix, with its label and picture.

        Args:
            mat: (points, features).
            metadata: a label for each point, or a list of labels if there is a `metadata_header`.
            label_img: (points, C, H, W), floats in [0, 1].
            global_step, tag: name the set of points.
            metadata_header: names of the columns of labels.

        Raises:
            AssertionError: there are not as many labels or pictures as points.
        """
        rows = _array(mat)
        step = "0" * 5 if global_step is None else f"{global_step:05d}"
        folder = os.path.join(step, tag.replace("/", "_").replace("\\", "_"))
        os.makedirs(os.path.join(self.log_dir, folder), exist_ok=True)

        def place(name: str) -> str:
            return os.path.join(self.log_dir, folder, name)

        projector = _package("tensorboard.plugins.projector.projector_config_pb2")
        text_format = _package("google.protobuf.text_format")
        info = projector.EmbeddingInfo(
            tensor_name=f"{tag}:{step}", tensor_path=os.path.join(folder, "tensors.tsv")
        )
        if metadata is not None:
            if len(metadata) != len(rows):
                raise AssertionError("#labels should equal with #data points")
            lines = [*([metadata_header] if metadata_header else []), *metadata]
            table = ["\t".join(map(str, x)) if metadata_header else str(x) for x in lines]
            with open(place("metadata.tsv"), "w", encoding="utf8") as file:
                file.write("".join([f"{line}\n" for line in table]))
            info.metadata_path = os.path.join(folder, "metadata.tsv")
        if label_img is not None:
            pictures = _array(label_img)
            if len(pictures) != len(rows):
                raise AssertionError("#images should equal with #data points")
            _package("PIL.Image").fromarray(_sprite(pictures)).save(place("sprite.png"))
            info.sprite.image_path = os.path.join(folder, "sprite.png")
            info.sprite.single_image_dim.extend([pictures.shape[3], pictures.shape[2]])
        if rows.ndim != 2:
            raise AssertionError("mat should be 2D, where mat.size(0) is the number of data points")
        with open(place("tensors.tsv"), "w") as file:
            file.writelines(["\t".join(map(str, row)) + "\n" for row in rows.tolist()])
        self._embeddings[folder] = info
        config = projector.ProjectorConfig(embeddings=[*self._embeddings.values()])
        with open(os.path.join(self.log_dir, "projector_config.pbtxt"), "w") as file:
            file.write(text_format.MessageToString(config))

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """What a run was set to, and how it came out: a row in the table of runs.

        Args:
            hparam_dict: the settings: numbers, texts, bools.
            metric_dict: the results: numbers.
            hparam_domain_discrete: all values that a setting can have.
            run_name: the folder of the run; the time by default.

        Raises:
            TypeError: one of the first two is no dict.
        """
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        path = os.path.join(self.log_dir, run_name or str(time.time()))
        writer = self._others[path] = self._files(path, *self._arguments)
        api = _package("tensorboard.plugins.hparams.api_pb2")
        data = _package("tensorboard.plugins.hparams.plugin_data_pb2")
        settings = {name: _setting(value) for name, value in hparam_dict.items()}
        infos = []
        for name, value in settings.items():
            info = api.HParamInfo(name=name, type=f"DATA_TYPE_{_kind(value)}")
            domain = (hparam_domain_discrete or {}).get(name, ())
            for choice in domain:
                where = info.domain_discrete.values.add()
                setattr(where, f"{_FIELDS[_kind(choice)]}_value", choice)
            infos.append(info)
        start = data.SessionStartInfo()
        for name, value in settings.items():
            setattr(start.hparams[name], f"{_FIELDS[_kind(value)]}_value", value)
        metrics = [api.MetricInfo(name=api.MetricName(tag=name)) for name in metric_dict]
        for tag, content in (
            (
                "experiment",
                {"experiment": api.Experiment(hparam_infos=infos, metric_infos=metrics)},
            ),
            ("session_start_info", {"session_start_info": start}),
            (
                "session_end_info",
                {"session_end_info": data.SessionEndInfo(status="STATUS_SUCCESS")},
            ),
        ):
            plugin = self._summary.SummaryMetadata.PluginData(
                plugin_name="hparams", content=data.HParamsPluginData(**content).SerializeToString()
            )
            value = self._summary.Summary.Value(
                tag=f"_hparams_/{tag}", metadata=self._summary.SummaryMetadata(plugin_data=plugin)
            )
            self._add(value, None, None, writer)
        for tag, number in metric_dict.items():
            value = self._summary.Summary.Value(tag=tag, simple_value=_number(number))
            self._add(value, global_step, None, writer)

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


def _array(values: object) -> Any:
    """A tensor's or a sequence's elements as a NumPy array."""
    if isinstance(values, TensorBase):
        return to_device(values.array, CPU)
    return np.asarray(values)


def _sprite(pictures: Any) -> Any:
    """Pictures (N, C, H, W) in a square of pictures (H, W, 3), the missing ones black."""
    n, c, h, w = pictures.shape
    side = math.ceil(math.sqrt(n))
    square = np.zeros((side * side, c, h, w), pictures.dtype)
    square[:n] = pictures
    rows = square.reshape(side, side, c, h, w).transpose(0, 3, 1, 4, 2).reshape(side * h, -1, c)
    if rows.dtype.kind == "f":
        rows = (rows * 255).clip(0, 255)
    return np.broadcast_to(rows, (*rows.shape[:2], 3)).astype(np.uint8)


def _setting(value: object) -> bool | str | float:
    """A setting as TensorBoard takes it: a bool, a text or a number."""
    if value is None or isinstance(value, (bool, str)):
        return "" if value is None else value
    try:
        return _number(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"value should be one of int, float, str, bool, or torch.Tensor, got {type(value)}"
        ) from None


_FIELDS = {"BOOL": "bool", "STRING": "string", "FLOAT64": "number"}


def _kind(value: object) -> str:
    return {bool: "BOOL", str: "STRING"}.get(type(value), "FLOAT64")
