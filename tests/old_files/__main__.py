"""Write an edition of files: see the package's page.

    python -m tests.old_files tests/old_files/edition2.zip

It refuses to write over an edition: old files are worth nothing once they are new.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch as reference  # noqa: E402

import old_files  # noqa: E402
import tinygrad_edu as torch  # noqa: E402
from old_files import user  # noqa: E402
from tinygrad_edu import nn, safetensors  # noqa: E402

DTYPES = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
    "bfloat16", "float32", "float64",
]  # fmt: skip

# A layer, and the shapes of its inputs; numbers after a colon are one index each.
LAYERS = """
AdaptiveAvgPool1d(2) | 1 2 5
AdaptiveAvgPool2d(2) | 1 2 5 4
AdaptiveAvgPool3d(2) | 1 2 3 3 3
AdaptiveLogSoftmaxWithLoss(4, 8, [3, 5]) | 3 4 | :0 4 7
AdaptiveMaxPool1d(2, return_indices=True) | 1 2 5
AdaptiveMaxPool2d(2) | 1 2 5 4
AdaptiveMaxPool3d(2) | 1 2 3 3 3
AlphaDropout(0.3) | 3 4
AvgPool1d(2) | 1 2 5
AvgPool2d(2, padding=1) | 1 2 5 4
AvgPool3d(2) | 1 2 3 3 3
BCELoss() | = 0.2 0.7 | = 0 1
BCEWithLogitsLoss(pos_weight=torch.ones(2)) | 2 | = 0 1
BatchNorm1d(3) | 4 3
BatchNorm2d(2) | 2 2 3 3
BatchNorm3d(2, affine=False) | 2 2 2 2 2
Bilinear(2, 3, 2) | 4 2 | 4 3
CELU() | 3 4
CTCLoss() | 4 2 3 | :1 2 1 2 | :4 4 | :2 2
ChannelShuffle(2) | 1 4 2 2
CircularPad1d(1) | 1 2 3
CircularPad2d(1) | 1 2 3 3
CircularPad3d(1) | 1 1 2 2 2
ConstantPad1d(1, 0.5) | 1 2 3
ConstantPad2d(1, 0.5) | 1 2 3 3
ConstantPad3d(1, 0.5) | 1 1 2 2 2
Conv1d(2, 3, 3) | 1 2 6
Conv2d(2, 4, 3, groups=2, padding="same") | 1 2 4 4
Conv3d(1, 2, 2, padding_mode="circular", padding=1) | 1 1 3 3 3
ConvTranspose1d(2, 3, 3) | 1 2 4
ConvTranspose2d(2, 3, 3, stride=2) | 1 2 3 3
ConvTranspose3d(1, 2, 2) | 1 1 2 2 2
CosineEmbeddingLoss() | 2 3 | 2 3 | :1 1
CosineSimilarity() | 2 3 | 2 3
CrossEntropyLoss(weight=torch.ones(3), label_smoothing=0.1) | 2 3 | :0 2
DataParallel(nn.Linear(2, 2)) | 3 2
Dropout(0.3) | 3 4
Dropout1d(0.3) | 2 3 4
Dropout2d(0.3) | 1 2 3 3
Dropout3d(0.3) | 1 2 2 2 2
ELU(0.5) | 3 4
Embedding(5, 3, padding_idx=1) | :1 4 0
EmbeddingBag(5, 3, mode="mean") | :1 4 0 2 | :0 2
FeatureAlphaDropout(0.3) | 2 3 4
Flatten() | 2 3 2
Fold((3, 3), 2) | 1 4 4
FractionalMaxPool2d(2, output_size=2) | 1 2 5 5
FractionalMaxPool3d(2, output_size=2) | 1 1 4 4 4
GELU("tanh") | 3 4
GLU() | 3 4
GRU(3, 2, 2) | 4 1 3
GRUCell(3, 2) | 2 3
GaussianNLLLoss() | 3 | 3 | = 1 2 3
GroupNorm(2, 4) | 2 4 3
Hardshrink() | 3 4
Hardsigmoid() | 3 4
Hardswish() | 3 4
Hardtanh() | 3 4
HingeEmbeddingLoss() | 2 | = 1 -1
HuberLoss() | 3 | 3
Identity() | 3
InstanceNorm1d(2, affine=True) | 2 2 4
InstanceNorm2d(2, track_running_stats=True) | 1 2 3 3
InstanceNorm3d(2) | 1 2 2 2 2
KLDivLoss(reduction="batchmean") | 2 3 | = 0.2 0.3 0.5
L1Loss() | 3 | 3
LPPool1d(2, 2) | 1 2 4
LPPool2d(2, 2) | 1 2 4 4
LPPool3d(2, 2) | 1 1 2 2 2
LSTM(3, 2, bidirectional=True, batch_first=True) | 2 3 3
LSTM(3, 4, proj_size=2) | 3 1 3
LSTMCell(3, 2) | 2 3
LayerNorm(4) | 2 3 4
LeakyReLU(0.2) | 3 4
Linear(3, 2) | 4 3
Linear(3, 2, dtype=torch.float64, bias=False).double() | 4 3
LinearCrossEntropyLoss(3, 4) | 2 3 | :0 3
LocalResponseNorm(2) | 1 4 3
LogSigmoid() | 3 4
LogSoftmax(1) | 3 4
MSELoss() | 3 | 3
MarginRankingLoss() | 2 | 2 | = 1 -1
MaxPool1d(2) | 1 2 5
MaxPool2d(2, return_indices=True) | 1 2 4 4
MaxPool3d(2) | 1 1 4 4 4
MaxUnpool1d(2) | 1 1 2 | :1 2
MaxUnpool2d(2) | 1 1 1 2 | :1 2
MaxUnpool3d(2) | 1 1 1 1 2 | :1 2
Mish() | 3 4
MultiLabelMarginLoss() | 2 3 | :0 1 -1 2 0 -1
MultiLabelSoftMarginLoss() | 2 3 | = 0 1 1 0 0 1
MultiMarginLoss() | 2 3 | :0 2
MultiheadAttention(4, 2, batch_first=True) | 1 3 4 | 1 3 4 | 1 3 4
NLLLoss() | 2 3 | :0 2
PReLU(3) | 2 3
PairwiseDistance() | 2 3 | 2 3
PixelShuffle(2) | 1 4 2 2
PixelUnshuffle(2) | 1 1 4 4
PoissonNLLLoss() | 3 | = 1 0 2
RMSNorm(4) | 2 4
RNN(3, 2, nonlinearity="relu") | 3 1 3
RNNCell(3, 2) | 2 3
RReLU() | 3 4
ReLU(inplace=True) | = 1 -1
ReLU6() | 3 4
ReflectionPad1d(1) | 1 2 3
ReflectionPad2d(1) | 1 2 3 3
ReflectionPad3d(1) | 1 1 2 2 2
ReplicationPad1d(1) | 1 2 3
ReplicationPad2d(1) | 1 2 3 3
ReplicationPad3d(1) | 1 1 2 2 2
SELU() | 3 4
Sequential(OrderedDict(a=nn.Linear(3, 4), b=nn.ReLU(), c=nn.BatchNorm1d(4))) | 4 3
Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)) | 2 1 6 6
SiLU() | 3 4
Sigmoid() | 3 4
SmoothL1Loss() | 3 | 3
SoftMarginLoss() | 2 | = 1 -1
Softmax(1) | 3 4
Softmax2d() | 1 2 2 2
Softmin(1) | 3 4
Softplus() | 3 4
Softshrink() | 3 4
Softsign() | 3 4
SyncBatchNorm(3).eval() | 4 3
Tanh() | 3 4
Tanhshrink() | 3 4
Threshold(0.1, 2.0) | 3 4
Transformer(4, 2, 1, 1, 4, 0.1) | 3 1 4 | 2 1 4
TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 4), 2) | 3 1 4 | 2 1 4
TransformerDecoderLayer(4, 2, 4, activation="gelu") | 3 1 4 | 2 1 4
TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4), 2, enable_nested_tensor=False) | 3 1 4
TransformerEncoderLayer(4, 2, 4, batch_first=True, norm_first=True) | 1 3 4
TransformerEncoderLayer(4, 2, 4, activation=nn.functional.gelu) | 3 1 4
TransformerEncoderLayer(4, 2, 4, activation=torch.relu) | 3 1 4
TripletMarginLoss() | 2 3 | 2 3 | 2 3
TripletMarginWithDistanceLoss(distance_function=nn.functional.l1_loss) | 2 3 | 2 3 | 2 3
Unflatten(1, (2, 2)) | 3 4
Unfold(2) | 1 1 3 3
Upsample(scale_factor=2, mode="bilinear") | 1 1 2 2
UpsamplingBilinear2d(scale_factor=2) | 1 1 2 2
UpsamplingNearest2d(scale_factor=2) | 1 1 2 2
ZeroPad1d(1) | 1 2 3
ZeroPad2d(1) | 1 2 3 3
ZeroPad3d(1) | 1 1 2 2 2
utils.weight_norm(nn.Linear(3, 2)) | 4 3
utils.spectral_norm(nn.Linear(3, 2)) | 4 3
Linear(3, 2).half() | 1 3
Linear(3, 2).bfloat16() | 1 3
"""
WITHOUT_A_CALL = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"}

OPTIMIZERS = """
ASGD(ps, lr=0.1)
SGD(ps, lr=0.1, momentum=0.9, nesterov=True)
Adadelta(ps)
Adafactor(ps)
Adagrad(ps)
Adam(ps, lr=0.1, amsgrad=True)
Adam(ps, lr=torch.tensor(0.1))
AdamW([{"params": ps[:1], "lr": 0.2}, {"params": ps[1:], "weight_decay": 0.0}], lr=0.1)
Adamax(ps)
Muon(ps[:1])
NAdam(ps)
RAdam(ps)
RMSprop(ps, momentum=0.9, centered=True)
Rprop(ps)
"""

SCHEDULERS = """
ChainedScheduler([S.ConstantLR(optimizer), S.ExponentialLR(optimizer, 0.9)])
ConstantLR(optimizer)
CosineAnnealingLR(optimizer, 10)
CosineAnnealingWarmRestarts(optimizer, 3)
CyclicLR(optimizer, 0.01, 0.1, 3, cycle_momentum=False)
ExponentialLR(optimizer, 0.9)
LambdaLR(optimizer, user.Warmup())
LinearLR(optimizer)
MultiStepLR(optimizer, [2, 4, 7])
MultiplicativeLR(optimizer, user.Warmup())
OneCycleLR(optimizer, 0.1, total_steps=20)
PolynomialLR(optimizer, 8, 2.0)
ReduceLROnPlateau(optimizer, patience=1)
SequentialLR(optimizer, [S.ConstantLR(optimizer), S.ExponentialLR(optimizer, 0.9)], [4])
StepLR(optimizer, 3)
"""

DISTRIBUTIONS = """
Bernoulli(probs=torch.tensor([0.2, 0.7]))
Beta(1.5, 2.0)
Categorical(logits=torch.tensor([0.1, 0.2, -1.0]))
Cauchy(0.0, 1.0)
Chi2(3.0)
Dirichlet(torch.tensor([0.5, 2.0]))
Exponential(2.0)
Gamma(2.0, 3.0)
Geometric(0.3)
Gumbel(0.0, 1.0)
HalfNormal(1.0)
Independent(D.Normal(torch.zeros(2), 1.0), 1)
Laplace(0.0, 1.0)
LogNormal(0.0, 1.0)
MixtureSameFamily(D.Categorical(torch.ones(2)), D.Normal(torch.zeros(2), 1.0))
Multinomial(3, torch.tensor([0.5, 0.5]))
MultivariateNormal(torch.zeros(2), torch.eye(2))
Normal(torch.tensor([0.0, 1.0]), 2.0)
OneHotCategorical(torch.ones(3))
Poisson(3.0)
RelaxedOneHotCategorical(torch.tensor(0.5), torch.ones(3))
TransformedDistribution(D.Normal(0.0, 1.0), [D.AffineTransform(1.0, 2.0), D.SigmoidTransform()])
Uniform(0.0, 2.0)
"""

ROOMS = [
    "", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn",
    "nn.utils.parametrizations", "nn.utils.parametrize", "nn.parallel", "nn.attention", "linalg",
    "special", "optim", "optim.lr_scheduler", "optim.swa_utils", "autograd", "autograd.graph",
    "autograd.functional", "amp", "func", "cuda", "random", "utils.data", "utils.checkpoint",
    "distributions",
]  # fmt: skip


IN_CHECKPOINTS = {
    *DTYPES, "requires_grad", "views", "parameters", "one_twice", "special", "dtypes", "devices",
    "sizes", "formats", "state_dict", "scaler",
}  # fmt: skip


def rows(text: str) -> list[str]:
    return text.strip().splitlines()


def made(source: str, **names: Any) -> Any:
    return eval(source, {"torch": torch, "nn": nn, "OrderedDict": OrderedDict, **names})


def given(word: str) -> Any:
    """An input of a layer: a shape to fill, or after `:` indices, or after `=` numbers."""
    word = word.strip()
    if word[0] == ":":
        return torch.tensor([int(n) for n in word[1:].split()])
    if word[0] == "=":
        return torch.tensor([float(n) for n in word[1:].split()])
    return torch.randn([int(n) for n in word.split()]) / 2


def layer(row: str) -> Any:
    source, *words = row.split(" | ")
    module, inputs = made(f"nn.{source}"), [given(word) for word in words]
    kind = source.partition("(")[0]
    if kind in ("CTCLoss", "MultiLabelMarginLoss") or kind.startswith("MaxUnpool"):
        last = inputs[1]
        if kind == "CTCLoss":
            inputs[0], inputs[1] = inputs[0].log_softmax(-1), last.reshape(2, 2)
        else:
            inputs[1] = last.reshape(inputs[0].shape)
    if kind in ("KLDivLoss", "MultiLabelSoftMarginLoss"):
        inputs[1] = inputs[1].reshape(-1, 3)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    return module, [x.to(dtype) if x.is_floating_point() else x for x in inputs]


def stepped(source: str) -> Any:
    """Parameters and an optimizer that has made three steps."""
    ps = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2))]
    optimizer = made(f"torch.optim.{source}", ps=ps)
    for _ in range(3):
        optimizer.zero_grad()
        sum((p.cos().sum() for p in ps), torch.zeros(())).backward()
        optimizer.step()
    return ps, optimizer


def scheduled(source: str) -> Any:
    ps = [nn.Parameter(torch.zeros(1))]
    S = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD(ps, lr=0.1)
    scheduler = made(f"S.{source}", S=S, optimizer=optimizer, user=user)
    for _ in range(3):
        optimizer.step()
        scheduler.step(*[1.0] * source.startswith("ReduceLROnPlateau"))
    return optimizer, scheduler


def tensors() -> Iterator[tuple[str, Any]]:
    for name in DTYPES:
        x = torch.tensor([[1, 0, 2], [3, 4, 5]]).to(getattr(torch, name))
        yield name, [x, x.t(), x[:, ::2], x[1, 2], x[:0]]
    x = torch.arange(6.0).reshape(2, 3) / 4
    leaf = x.clone().requires_grad_()
    marked = user.Marked([1.0, 2.0])
    noted = torch.ones(2)
    noted.note = "the user's"
    yield "requires_grad", [leaf, leaf.double().detach().requires_grad_(), leaf * 2]
    yield "views", [x, x.t(), x[1], x[:, 1:], x.expand(2, 2, 3), x.detach()[0]]
    yield "parameters", [
        nn.Parameter(x.clone()), nn.Parameter(torch.tensor([1, 2]), requires_grad=False),
        nn.Buffer(x.clone()), nn.Buffer(x.clone(), persistent=False),
    ]  # fmt: skip
    yield "one_twice", [leaf, {"same": leaf}]
    yield "special", torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan])
    yield "subclass", marked
    yield "attribute", noted


def values() -> Iterator[tuple[str, Any]]:
    x = torch.randn(3, 3)
    yield "dtypes", [getattr(torch, name) for name in DTYPES]
    yield "devices", [torch.device(d) for d in ("cpu", "cpu:0", "cuda", "cuda:1")]
    yield "sizes", [x.shape, torch.Size([]), x.stride()]
    yield "formats", [torch.channels_last, torch.contiguous_format, torch.strided]
    yield "finfo", [torch.finfo(torch.float16), torch.iinfo(torch.int32)]
    yield "results", [x.max(0), x.sort(), x.median(0), torch.linalg.qr(x), torch.linalg.svd(x)]
    yield "packed", nn.utils.rnn.pack_sequence([torch.ones(3), torch.zeros(2)])
    yield "state_dict", user.Net().state_dict()
    yield "scaler", torch.amp.GradScaler("cpu", init_scale=8.0).state_dict()


def running() -> Any:
    """The state of a run after five steps."""
    model = user.Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    losses = old_files.train(model, optimizer, scheduler, 5)
    return {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(), "rng": torch.get_rng_state(), "losses": losses,
    }  # fmt: skip


def hooked() -> Any:
    module = nn.Linear(3, 2)
    module.register_forward_hook(user.double)
    return module, [torch.ones(1, 3)]


def averaged() -> Any:
    model = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    model.update_parameters(nn.Linear(3, 2))
    return model, [torch.ones(1, 3)]


def names(room: str) -> dict[str, Any]:
    """What a room has of torch's names, if it can be pickled."""
    place, found = made(f"torch.{room}".rstrip(".")), {}
    theirs = attrgetter(room)(reference) if room else reference
    listed = set(getattr(theirs, "__all__", dir(theirs)) if room else dir(theirs))
    for name in dir(place):
        value = getattr(place, name)
        if name.startswith("_") or isinstance(value, types.ModuleType) or name not in listed:
            continue
        try:
            pickle.dumps(value)
        except Exception:
            continue
        if getattr(value, "__module__", None) is not None and callable(value):
            found[f"{room}.{name}".lstrip(".")] = value
    return found


def generators() -> Iterator[tuple[str, Any]]:
    for seed in (0, 2**40 + 5):
        generator = torch.Generator().manual_seed(seed)
        torch.randn(5, generator=generator)
        yield f"seed {seed}", generator


def data() -> Any:
    source = torch.utils.data.TensorDataset(torch.arange(5.0), torch.arange(5))
    part = torch.utils.data.Subset(source, [0, 3])
    both = torch.utils.data.ConcatDataset([source, part])
    loader = torch.utils.data.DataLoader(both, batch_size=3, shuffle=True)
    return [both, part, loader]


def cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """The name of each file, and what goes into it."""
    for part in (tensors, values):
        for name in dict(part()):
            make = lambda part=part, name=name: dict(part())[name]  # noqa: E731
            yield f"{part.__name__}/{name}.pickle", make
            if name in IN_CHECKPOINTS:
                yield f"{part.__name__}/{name}.pt", make
    for name in DTYPES:
        yield (
            f"tensors/{name}.safetensors",
            lambda name=name: {str(i): x.clone() for i, x in enumerate(dict(tensors())[name])},
        )
    yield "tensors/state_dict.safetensors", lambda: user.Net().state_dict()
    yield "runs/checkpoint.pt", running
    yield "runs/pickle.pickle", running
    for row in rows(LAYERS):
        yield f"modules/{row.partition(' | ')[0]}.pickle", lambda row=row: layer(row)
    yield "modules/user.Net.pickle", lambda: (user.Net(), [torch.tensor([[0, 3], [6, 2]])])
    yield "modules/hooked.pickle", hooked
    yield "modules/AveragedModel.pickle", averaged
    for row in rows(OPTIMIZERS):
        yield f"optimizers/{row}.pickle", lambda row=row: stepped(row)
    for row in rows(SCHEDULERS):
        yield f"schedulers/{row}.pickle", lambda row=row: scheduled(row)
    for name, value in generators():
        yield f"generators/{name}.pickle", lambda value=value: value
    for row in rows(DISTRIBUTIONS):
        D = torch.distributions
        yield f"distributions/{row}.pickle", lambda row=row, D=D: made(f"D.{row}", D=D)
    yield "data/sets.pickle", data
    yield "modes/all.pickle", lambda: [
        torch.no_grad(), torch.enable_grad(), torch.set_grad_enabled(True), torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ]  # fmt: skip
    for room in ROOMS:
        yield f"names/{room or 'torch'}.pickle", lambda room=room: names(room)


def written(name: str, value: Any) -> bytes:
    file = io.BytesIO()
    if name.endswith(".pt"):
        torch.save(value, file)
        return file.getvalue()
    if name.endswith(".safetensors"):
        return safetensors.save(value)
    return pickle.dumps(value)


def check_that_all_is_there() -> None:
    """Every layer, optimizer and scheduler has a row."""
    have = {row.partition("(")[0] for text in (LAYERS, OPTIMIZERS, SCHEDULERS, DISTRIBUTIONS)
            for row in rows(text)}  # fmt: skip
    for room, base in ((nn, nn.Module), (torch.optim, torch.optim.Optimizer)):
        for name in dir(room):
            kind = getattr(room, name)
            if isinstance(kind, type) and issubclass(kind, base) and kind is not base:
                named = name.startswith(("Lazy", "RNNBase", "RNNCellBase")) or name in have
                assert named or name in WITHOUT_A_CALL, f"{name} has no row"
    missing = set(torch.optim.lr_scheduler.__all__) - have - {"LRScheduler", "_LRScheduler"}
    assert not missing, missing


def main(path: Path) -> None:
    check_that_all_is_there()
    expected: dict[str, Any] = {}
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, make in cases():
            torch.manual_seed(1)
            data = written(name, make())
            archive.writestr(name, data)
            expected[name] = old_files.look(name, old_files.load(name, data))
        archive.writestr("expected.json", json.dumps(expected, separators=(",", ":")))
    print(f"{path}: {len(expected)} files, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
