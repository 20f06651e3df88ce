"""Further names that scripts take from torch.nn: wrappers, choices of kernels, old names."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from beside_torch import ours, same, same_error, same_warning, torch

# Names of torch.nn and torch.nn.functional that are not here, with what stands in for them.
LEFT_OUT = {
    "nn": {
        "Container", "CrossMapLRN2d", "NLLLoss2d",
        "factory_kwargs", "grad", "intrinsic", "qat", "quantizable", "quantized",
    },
    "nn.functional": {
        "conv_tbc", "grad", "grouped_mm", "native_channel_shuffle",
        "scaled_grouped_mm", "scaled_mm",
    },
    "nn.init": set(),
    "nn.utils": set(),
}  # fmt: skip
FOREIGN = {"Tensor", "Callable", "Optional", "boolean_dispatch", "assert_int_or_pair"}


def find(T, path):
    for part in path.split("."):
        T = getattr(T, part)
    return T


@pytest.mark.parametrize("path", LEFT_OUT)
def test_names_of_torch(path):
    """Every public function, class and module of torch's is here, or left out by name."""
    theirs = find(torch, path)
    public = {
        name
        for name, value in vars(theirs).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or callable(value) or inspect.ismodule(value))
        and getattr(value, "__module__", getattr(value, "__name__", "")).startswith("torch")
        and "torch_function" not in name
        and name not in FOREIGN | {"torch", "handle_torch_function"}
        and not (inspect.isclass(value) and path not in ("nn",))
    }
    mine = set(dir(find(ours, path)))
    assert public - mine <= LEFT_OUT[path], sorted(public - mine - LEFT_OUT[path])
    assert not LEFT_OUT[path] & mine, "left out, but here"


def test_data_parallel():
    def run(T):
        model = T.nn.DataParallel(
            T.nn.Linear(3, 2), device_ids=[0] if T.cuda.is_available() else None
        )
        return [model(T.ones(1, 3)), list(model.state_dict()), type(model.module).__name__]

    if not torch.cuda.is_available():
        same(run)
    assert isinstance(ours.nn.DataParallel(ours.nn.ReLU()), ours.nn.parallel.DataParallel)
    assert ours.nn.parallel.data_parallel(ours.nn.ReLU(), ours.ones(2)).tolist() == [1.0, 1.0]
    assert not isinstance(ours.nn.ReLU(), ours.nn.parallel.DistributedDataParallel)
    if ours.distributed.is_available():
        same_error(lambda T: T.nn.parallel.DistributedDataParallel(T.nn.Linear(1, 1)))


def test_names_of_a_wrapped_model_lose_their_prefix():
    def run(T):
        model = T.nn.DataParallel(T.nn.Sequential(T.nn.Linear(2, 1), T.nn.BatchNorm1d(1)))
        state = model.state_dict()
        T.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
        model.module.load_state_dict(state)
        return [list(state), {k: dict(v) for k, v in state._metadata.items()}]

    same(run)


def test_sizes():
    for name, size in (("_single", 1), ("_pair", 2), ("_triple", 3), ("_quadruple", 4)):
        for value in (3, (1, 2), [4, 5, 6]):
            same(lambda T, n=name, v=value: getattr(T.nn.modules.utils, n)(v))
        assert getattr(ours.nn.modules.utils, name)(7) == (7,) * size


def test_kernels_of_attention():
    flags = ours.backends.cuda
    A = ours.nn.attention
    assert [(b.name, int(b)) for b in A.SDPBackend] == [
        (name, int(getattr(torch.nn.attention.SDPBackend, name))) for name in
        ("ERROR", "MATH", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION",
         "OVERRIDEABLE")
    ]  # fmt: skip
    q = ours.rand(1, 2, 3, 4)
    expected = ours.nn.functional.scaled_dot_product_attention(q, q, q)
    with A.sdpa_kernel([A.SDPBackend.MATH, A.SDPBackend.CUDNN_ATTENTION], set_priority=True):
        assert flags.math_sdp_enabled() and not flags.flash_sdp_enabled()
        with A.sdpa_kernel(A.SDPBackend.FLASH_ATTENTION):
            assert flags.flash_sdp_enabled() and not flags.math_sdp_enabled()
        assert flags.math_sdp_enabled()
        y = ours.nn.functional.scaled_dot_product_attention(q, q, q)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    assert flags.flash_sdp_enabled() and flags.mem_efficient_sdp_enabled()

    def wrong(T):
        with T.nn.attention.sdpa_kernel("math"):
            pass

    same_error(wrong)
    with pytest.raises(AttributeError, match="flex_attention"):
        getattr(A, "flex_attention")  # noqa: B009


@pytest.mark.parametrize(
    "name", ["uniform", "normal", "xavier_uniform", "kaiming_normal", "orthogonal", "eye"]
)
def test_old_names_of_initial_values(name):
    same_warning(lambda T: getattr(T.nn.init, name)(T.empty(3, 2)))

    def run(T):
        return getattr(T.nn.init, name)(T.empty(3, 2)).round(decimals=4)

    same(run)


def test_a_module_emptied():
    layer = ours.nn.Linear(2, 1).to_empty(device="cpu")
    assert layer.weight.shape == (1, 2) and layer.share_memory() is layer


def test_models_in_another_order_of_memory():
    """Weights of convolutions are ordered as torch orders them; results stay the same."""
    x = ours.rand(2, 3, 5, 5)
    shapes = []
    for T in (ours, torch):
        T.manual_seed(0)
        model = T.nn.Sequential(T.nn.Conv2d(3, 4, 3), T.nn.BatchNorm2d(4), T.nn.Flatten())
        before = model(T.from_numpy(x.numpy()))
        model = model.to(memory_format=T.channels_last)
        given = T.from_numpy(x.numpy()).to(memory_format=T.channels_last)
        np.testing.assert_allclose(
            model(given).detach().numpy(), before.detach().numpy(), rtol=1e-4, atol=1e-5
        )
        again = T.nn.utils.convert_conv2d_weight_memory_format(
            T.nn.ConvTranspose2d(2, 3, 2), T.channels_last
        )
        shapes.append([p.stride() for p in [*model.parameters(), *again.parameters()]])
    assert shapes[0] == shapes[1]
    lazy = ours.nn.Sequential(ours.nn.LazyConv2d(2, 3), ours.nn.LazyBatchNorm2d())
    assert lazy.to(memory_format=ours.channels_last)[1].has_uninitialized_params()
