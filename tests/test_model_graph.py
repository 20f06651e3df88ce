"""The graph that `SummaryWriter.add_graph` writes, and embeddings, settings and figures."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.engine.mode import state
from tinygrad_edu.utils.model_graph import trace


class Net(nn.Module):
    """Two paths that meet; one writes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.head = nn.Linear(8, 2)
        self.norm = nn.LayerNorm(2)

    def forward(self, x: Any) -> Any:
        return self.norm(self.head(self.body(x))) + x.sum()


def edges(nodes: Any) -> dict[str, list[str]]:
    return {n.name: n.inputs for n in nodes if n.op.startswith("aten") or n.name[:3] == "out"}


def test_nodes_edges_and_shapes() -> None:
    nodes = trace(Net(), tg.ones(3, 4))
    assert edges(nodes) == {
        "Net/Sequential[body]/Linear[0]/linear": [
            "input/input", "Net/Sequential[body]/Linear[0]/weight",
            "Net/Sequential[body]/Linear[0]/bias",
        ],
        "Net/Sequential[body]/ReLU[1]/relu": ["Net/Sequential[body]/Linear[0]/linear"],
        "Net/Linear[head]/linear": [
            "Net/Sequential[body]/ReLU[1]/relu", "Net/Linear[head]/weight", "Net/Linear[head]/bias"
        ],
        "Net/LayerNorm[norm]/layer_norm": [
            "Net/Linear[head]/linear", "Net/LayerNorm[norm]/weight",
            "Net/LayerNorm[norm]/bias",
        ],
        "Net/sum": ["input/input"],
        "Net/add": ["Net/LayerNorm[norm]/layer_norm", "Net/sum"],
        "output/output.1": ["Net/add"],
    }  # fmt: skip
    shapes = {n.name: n.shapes for n in nodes}
    assert shapes["Net/Linear[head]/linear"] == [[3, 2]] and shapes["Net/sum"] == [[]]
    assert shapes["Net/Linear[head]/weight"] == [[2, 8]]


MODELS = {
    "mlp": (Net, (3, 4)),
    "lstm": (lambda: nn.LSTM(4, 5, num_layers=2), (6, 2, 4)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16), (5, 2, 8)),
    "convnet": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2)
        ),
        (1, 1, 8, 8),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_output_comes_of_the_input_and_of_every_parameter(name: str) -> None:
    make, shape = MODELS[name]
    model = make()
    nodes = trace(model, tg.ones(shape))
    by_name = {n.name: n for n in nodes}
    assert len(by_name) == len(nodes)
    todo, seen = [n.name for n in nodes if n.name.startswith("output")], set[str]()
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo.extend(by_name[one].inputs)
    assert "input/input" in seen
    parameters = [n for n in seen if by_name[n].op == "prim::GetAttr"]
    assert len(parameters) >= len(list(model.parameters()))


def test_the_model_is_as_before() -> None:
    outside = state.mode
    model = nn.Sequential(Net(), nn.BatchNorm1d(2))
    model[0].head.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = tg.get_rng_state()
    trace(model, tg.ones(3, 4))
    assert state.mode is outside and model.training and not model[0].head.training
    assert all([tg.equal(v, before[k]) for k, v in model.state_dict().items()])
    assert tg.equal(random, tg.get_rng_state())
    with pytest.raises(RuntimeError):
        trace(model, tg.ones(3, 5))
    assert state.mode is outside and model.training
    assert not any([m._forward_hooks or m._forward_pre_hooks for m in model.modules()])


def test_a_view_that_is_written_leads_to_what_wrote_it() -> None:
    class Writes(nn.Module):
        def forward(self, x: Any) -> Any:
            y = x * 2
            y.mul_(3)
            return y + 1

    assert edges(trace(Writes(), tg.ones(2)))["Writes/add"] == ["Writes/mul_1"]


def written(folder: pathlib.Path) -> list[Any]:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    files = sorted(folder.rglob("*tfevents*"))
    return [event for file in files for event in loader.EventFileLoader(str(file)).Load()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_the_writer_writes(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    from tinygrad_edu.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "graph") as writer:
        writer.add_graph(Net(), tg.ones(3, 4))
    (graph,) = [e.graph_def for e in written(tmp_path / "graph") if e.graph_def]
    nodes = {n.name: n for n in GraphDef.FromString(graph).node}
    assert [*nodes["Net/add"].input] == ["Net/LayerNorm[norm]/layer_norm", "Net/sum"]
    (shape,) = nodes["Net/add"].attr["_output_shapes"].list.shape
    assert [d.size for d in shape.dim] == [3, 2]

    with SummaryWriter(tmp_path / "points") as writer:
        writer.add_embedding(tg.arange(6.0).view(3, 2), ["a", "b", "c"], tg.ones(3, 1, 2, 2), 1)
        writer.add_embedding(tg.ones(1, 2), [["x", "y"]], tag="two", metadata_header=["p", "q"])
        with pytest.raises(AssertionError, match="#labels"):
            writer.add_embedding(tg.ones(2, 2), ["a"])
    folder = tmp_path / "points"
    assert (folder / "00001/default/tensors.tsv").read_text() == "0.0\t1.0\n2.0\t3.0\n4.0\t5.0\n"
    assert (folder / "00001/default/metadata.tsv").read_text() == "a\nb\nc\n"
    assert (folder / "00000/two/metadata.tsv").read_text() == "p\tq\nx\ty\n"
    config = (folder / "projector_config.pbtxt").read_text()
    assert config.count("embeddings {") == 2 and 'tensor_name: "default:00001"' in config
    image = pytest.importorskip("PIL.Image").open(folder / "00001/default/sprite.png")
    assert image.size == (4, 4) and np.asarray(image)[..., 0].sum() == 3 * 4 * 255

    with SummaryWriter(tmp_path / "settings") as writer:
        settings = {"lr": 0.1, "kind": "adam", "nesterov": True}
        writer.add_hparams(settings, {"loss": tg.tensor(0.5)}, {"kind": ["adam", "sgd"]}, "run")
        with pytest.raises(TypeError):
            writer.add_hparams([], {})
    parts = [v for e in written(tmp_path / "settings" / "run") for v in e.summary.value]
    assert [p.tag for p in parts] == [
        "_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info", "loss"
    ]  # fmt: skip
    start = HParamsPluginData.FromString(parts[1].metadata.plugin_data.content).session_start_info
    assert start.hparams["lr"].number_value == 0.1 and start.hparams["nesterov"].bool_value
    first = HParamsPluginData.FromString(parts[0].metadata.plugin_data.content).experiment
    domains = {
        i.name: [v.string_value for v in i.domain_discrete.values] for i in first.hparam_infos
    }
    assert domains == {"lr": [], "kind": ["adam", "sgd"], "nesterov": []}

    plt = pytest.importorskip("matplotlib.pyplot")
    figure = plt.figure(figsize=(2, 1), dpi=50)
    with SummaryWriter(tmp_path / "figure") as writer:
        writer.add_figure("plot", [figure, figure], 3, close=False)
        assert plt.fignum_exists(figure.number)
        writer.add_figure("plot", figure, 4)
        assert not plt.fignum_exists(figure.number)
    sizes = [[*v.tensor.string_val[:2]] for e in written(tmp_path / "figure")
             for v in e.summary.value]  # fmt: skip
    assert sizes == [[b"200", b"50"], [b"100", b"50"]]
