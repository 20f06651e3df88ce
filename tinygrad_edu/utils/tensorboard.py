"""`torch.utils.tensorboard`: a SummaryWriter over the package `tensorboard`.

Its messages are made of dictionaries, which protobuf turns into the messages they describe.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import io
import math
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu.backend import CPU, to_device
from tinygrad_edu.engine.graph import TensorBase


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "SummaryWriter needs the package tensorboard: pip install 'tinygrad-edu[tensorboard]'"
        ) from error


def _message(module: str, name: str) -> Any:
    return getattr(_package(f"tensorboard.{module}_pb2"), name)


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
        self._open = functools.partial(
            files.EventFileWriter, max_queue_size=max_queue, flush_secs=flush_secs,
            filename_suffix=filename_suffix,
        )  # fmt: skip
        self._writers = {"": self._open(self.log_dir)}
        self._embeddings: dict[str, Any] = {}
        if purge_step is not None:
            self._write(step=purge_step, session_log={"status": "START"})

    def get_logdir(self) -> str:
        """The folder that the events are written to."""
        return self.log_dir

    def _write(self, folder: str = "", wall_time: float | None = None, **event: object) -> None:
        if folder not in self._writers:
            self._writers[folder] = self._open(os.path.join(self.log_dir, folder))
        when = time.time() if wall_time is None else wall_time
        made = _message("compat.proto.event", "Event")(wall_time=when, **event)
        self._writers[folder].add_event(made)

    def _add(
        self, tag: str, step: Any, walltime: float | None, folder: str = "", **value: object
    ) -> None:
        step = None if step is None else int(step)
        self._write(folder, walltime, step=step, summary={"value": [{"tag": tag, **value}]})

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
        self._add(tag, global_step, walltime, simple_value=_number(scalar_value))

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Several numbers in one diagram, each in its own folder."""
        for tag, number in tag_scalar_dict.items():
            folder = f"{main_tag.replace('/', '_')}_{tag}"
            self._add(main_tag, global_step, walltime, folder, simple_value=_number(number))

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
        histogram = {
            "min": x.min(), "max": x.max(), "num": x.size, "sum": x.sum(),
            "sum_squares": (x * x).sum(), "bucket_limit": edges[1:].tolist(),
            "bucket": counts.tolist(),
        }  # fmt: skip
        self._add(tag, global_step, walltime, histo=histogram)

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A text, in Markdown."""
        tensor = {
            "dtype": "DT_STRING",
            "string_val": [text_string.encode()],
            "tensor_shape": {"dim": [{"size": 1}]},
        }
        metadata = {"plugin_data": {"plugin_name": "text"}}
        name = f"{tag}/text_summary"
        self._add(name, global_step, walltime, metadata=metadata, tensor=tensor)

    def add_image(
        self,
        tag: str,
        img_tensor: object,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture of uint8 in [0, 255] or floats in [0, 1]; needs the package Pillow."""
        order = [dataformats.upper().index(d) for d in "HWC" if d in dataformats.upper()]
        array = _array(img_tensor).transpose(order)
        array = _colours(array[..., None] if array.ndim == 2 else array)
        data = io.BytesIO()
        _package("PIL.Image").fromarray(array).save(data, format="PNG")
        image = {
            "height": array.shape[0], "width": array.shape[1], "colorspace": array.shape[2],
            "encoded_image_string": data.getvalue(),
        }  # fmt: skip
        self._add(tag, global_step, walltime, image=image)

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

        attribute = _message("compat.proto.attr_value", "AttrValue")
        definitions = []
        for node in trace(model, input_to_model):
            if verbose:
                print(f"{node.name} = {node.op}({', '.join(node.inputs)}) -> {node.shapes}")
            shapes = [{"dim": [{"size": n} for n in shape]} for shape in node.shapes]
            attr = {"_output_shapes": attribute(list={"shape": shapes})}
            definitions.append(
                {"name": node.name, "op": node.op, "input": node.inputs, "attr": attr}
            )
        graph = _message("compat.proto.graph", "GraphDef")
        made = graph(node=definitions, versions={"producer": 22})
        self._write(graph_def=made.SerializeToString())

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
        place = Path(self.log_dir, folder)
        place.mkdir(parents=True, exist_ok=True)
        info: dict[str, Any] = {
            "tensor_name": f"{tag}:{step}", "tensor_path": os.path.join(folder, "tensors.tsv")
        }  # fmt: skip
        if metadata is not None:
            if len(metadata) != len(rows):
                raise AssertionError("#labels should equal with #data points")
            labels = [metadata_header, *metadata] if metadata_header else [[x] for x in metadata]
            _write_table(place / "metadata.tsv", labels)
            info["metadata_path"] = os.path.join(folder, "metadata.tsv")
        if label_img is not None:
            pictures = _array(label_img)
            if len(pictures) != len(rows):
                raise AssertionError("#images should equal with #data points")
            _package("PIL.Image").fromarray(_sprite(pictures)).save(place / "sprite.png")
            info["sprite"] = {
                "image_path": os.path.join(folder, "sprite.png"),
                "single_image_dim": [pictures.shape[3], pictures.shape[2]],
            }
        if rows.ndim != 2:
            raise AssertionError("mat should be 2D, where mat.size(0) is the number of data points")
        _write_table(place / "tensors.tsv", rows.tolist())
        self._embeddings[folder] = info
        config = _message("plugins.projector.projector_config", "ProjectorConfig")
        made = config(embeddings=[*self._embeddings.values()])
        text = _package("google.protobuf.text_format").MessageToString(made)
        Path(self.log_dir, "projector_config.pbtxt").write_text(text)

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
        folder = run_name or str(time.time())
        settings = {name: _setting(value) for name, value in hparam_dict.items()}
        domains = {
            name: {"values": [_setting(choice)[1] for choice in choices]}
            for name, choices in (hparam_domain_discrete or {}).items()
        }
        value = _package("google.protobuf.struct_pb2").Value
        contents: dict[str, Any] = {
            "experiment": {
                "hparam_infos": [
                    {"name": name, "type": kind, "domain_discrete": domains.get(name)}
                    for name, (kind, _) in settings.items()
                ],
                "metric_infos": [{"name": {"tag": name}} for name in metric_dict],
            },
            "session_start_info": {
                "hparams": {name: value(**field) for name, (_, field) in settings.items()}
            },
            "session_end_info": {"status": "STATUS_SUCCESS"},
        }
        data = _message("plugins.hparams.plugin_data", "HParamsPluginData")
        for name, content in contents.items():
            made = data(**{name: content}).SerializeToString()
            plugin = {"plugin_name": "hparams", "content": made}
            self._add(f"_hparams_/{name}", None, None, folder, metadata={"plugin_data": plugin})
        for tag, number in metric_dict.items():
            self._add(tag, global_step, None, folder, simple_value=_number(number))

    def flush(self) -> None:
        """Write everything that waits."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Write everything that waits, and close the files."""
        for writer in self._writers.values():
            writer.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exc: object) -> None:
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
    square = np.pad(pictures, ((0, side * side - n), (0, 0), (0, 0), (0, 0)))
    rows = square.reshape(side, side, c, h, w).transpose(0, 3, 1, 4, 2).reshape(side * h, -1, c)
    return _colours(rows)


def _colours(array: Any) -> Any:
    """A picture (H, W, C) in bytes, a grey one as one of three colours."""
    if array.dtype.kind == "f":
        array = (array * 255).clip(0, 255)
    array = array.astype(np.uint8)
    return array.repeat(3, axis=2) if array.shape[2] == 1 else array


def _write_table(path: Path, rows: Any) -> None:
    lines = ["\t".join(map(str, row)) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf8")


def _setting(value: object) -> tuple[str, dict[str, Any]]:
    """A setting's type, and it as TensorBoard takes it: a bool, a text or a number."""
    if value is None:
        value = ""
    if isinstance(value, bool):
        return "DATA_TYPE_BOOL", {"bool_value": value}
    if isinstance(value, str):
        return "DATA_TYPE_STRING", {"string_value": value}
    try:
        return "DATA_TYPE_FLOAT64", {"number_value": _number(value)}
    except (TypeError, ValueError):
        raise ValueError(
            f"value should be one of int, float, str, bool, or torch.Tensor, got {type(value)}"
        ) from None
