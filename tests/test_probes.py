"""What scripts probe and set in their first lines: answered truthfully, or refused."""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys
import warnings
from typing import Any

import pytest
from beside_torch import same

import tinygrad_edu as ours
from tinygrad_edu.backend import cupy_problem

torch = pytest.importorskip("torch")
NO_GPU = cupy_problem() is not None


def test_compiler_names() -> None:
    def plain(x: Any) -> Any:
        return x + 1

    assert ours.compile(plain)(1) == 2  # tests/test_compile.py has the rest
    assert ours.compiler.disable(plain) is plain and ours.compiler.disable()(plain) is plain
    assert not ours.compiler.is_compiling()


def test_switches_can_be_set_and_read() -> None:
    b = ours.backends
    for module, names in (
        (b.cudnn, ("enabled", "benchmark", "deterministic", "allow_tf32")),
        (b.cuda.matmul, ("allow_tf32", "allow_fp16_reduced_precision_reduction")),
    ):
        for name in names:
            before = getattr(module, name)
            setattr(module, name, not before)
            assert getattr(module, name) is not before
            setattr(module, name, before)
            assert hasattr(
                torch.backends.cudnn if module is b.cudnn else torch.backends.cuda.matmul, name
            )
    with b.cudnn.flags(enabled=True, benchmark=True):
        assert b.cudnn.benchmark
    assert not b.cudnn.benchmark
    b.cuda.enable_flash_sdp(False)
    assert b.cuda.flash_sdp_enabled() is False
    b.cuda.enable_flash_sdp(True)


def test_what_is_not_there_says_so() -> None:
    b = ours.backends
    for module in (b.mps, b.mkl, b.mkldnn, b.openmp, b.cudnn):
        assert module.is_available() is False
    assert b.mps.is_built() is False and b.cudnn.version() is None
    assert b.cpu.get_cpu_capability() == torch.backends.cpu.get_cpu_capability()
    assert ours.distributed.is_initialized() is False
    for refused in (ours.jit.save, ours.onnx.export):
        with pytest.raises(NotImplementedError, match="not available in tinygrad_edu: .{20}"):
            refused(None)
    assert not ours.jit.is_scripting() and not isinstance(ours.nn.ReLU(), ours.jit.ScriptModule)
    assert ours.jit.ignore(len) is len and ours.jit.unused(len) is len


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_cuda_without_a_gpu() -> None:
    cuda = ours.cuda
    assert cuda.is_available() is False and cuda.device_count() == 0
    assert cuda.is_initialized() is False and cuda.memory_allocated() == 0
    cuda.empty_cache()
    cuda.manual_seed_all(0)
    for asked in (cuda.current_device, cuda.get_device_name, cuda.get_device_properties):
        with pytest.raises(RuntimeError, match="cuda"):
            asked()
    with pytest.raises(RuntimeError, match="cuda"):
        ours.ones(1).cuda()


def test_other_accelerators() -> None:
    assert ours.accelerator.is_available() == ours.cuda.is_available()
    assert ours.accelerator.device_count() == ours.cuda.device_count()
    if NO_GPU:
        assert ours.accelerator.current_accelerator() is None
        assert ours.cuda.max_memory_allocated() == 0
        ours.cuda.reset_peak_memory_stats()
        with pytest.raises(RuntimeError, match="cuda"):
            ours.cuda.Event(enable_timing=True)
    assert ours.mps.is_available() is False and ours.xpu.device_count() == 0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_is_imported_for_annotations_or_in_case() -> None:
    """Modules, classes and switches that scripts name, whether they use them or not."""

    def run(T: Any) -> Any:
        module = importlib.import_module
        name = T.__name__
        sizes, types = module(f"{name}.nn.common_types"), module(f"{name}.types")
        found = [isinstance(2, k) for k in (sizes._size_2_t.__args__[0], types.Number)]
        found += [isinstance(T.strided, T.layout), isinstance(T.channels_last, T.memory_format)]
        found.append(T.distributed.ReduceOp.SUM == T.distributed.ReduceOp.SUM)
        with T.backends.cuda.sdp_kernel(enable_flash=False):
            found += [T.backends.cuda.flash_sdp_enabled(), T.backends.cuda.math_sdp_enabled()]
        collate = module(f"{name}.utils.data._utils").collate.default_collate
        return [*found, T.backends.cuda.flash_sdp_enabled(), collate([1, 2])]

    same(run)
    zoo = importlib.import_module("tinygrad_edu.utils.model_zoo")
    with pytest.raises(NotImplementedError, match="nothing is downloaded"):
        zoo.load_url("https://example.org/resnet18.pth")
    assert ours.cuda.amp.grad_scaler.GradScaler is ours.amp.GradScaler
    if NO_GPU:
        assert ours.cuda.get_rng_state_all() == []
        ours.cuda.set_rng_state_all([])


def test_types_of_early_scripts() -> None:
    def run(T: Any) -> Any:
        found = []
        for name in ("Float", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool", "Half"):
            kind = getattr(T, name + "Tensor")
            t = kind([[1, 2], [3, 0]])
            found += [t, kind(2, 3).shape, isinstance(t, kind), isinstance(t, T.Tensor)]
            found += [isinstance(t, T.FloatTensor), isinstance(3, kind), kind().shape]
        return found

    same(run)


def test_version() -> None:
    assert ours.__version__ == ours.version.__version__ and ours.version.cuda is None
    assert len(ours.__version__.split(".")) == 3
    mine, theirs = ours.version.TorchVersion("2.13.0+x"), torch.torch_version.TorchVersion("2.13.0")
    for other in ("2.2", "2.13", "2.13.0", "1.9.1", "3", (2, 0), (2, 13, 1), "2.14.0.dev1", "v2.1"):
        for name in ("__lt__", "__le__", "__gt__", "__ge__"):
            assert getattr(mine, name)(other) == getattr(theirs, name)(other), (name, other)
    assert mine == "2.13.0" and mine != "2.12.0" and mine.split(".")[0] == "2"


def test_precision_and_determinism() -> None:
    def run(T: Any) -> Any:
        T.set_float32_matmul_precision("high")
        found = [T.get_float32_matmul_precision()]
        T.set_float32_matmul_precision("highest")
        T.use_deterministic_algorithms(True, warn_only=True)
        found += [
            T.are_deterministic_algorithms_enabled(),
            T.is_deterministic_algorithms_warn_only_enabled(),
        ]
        T.use_deterministic_algorithms(False)
        return [*found, T.are_deterministic_algorithms_enabled()]

    same(run)
    with pytest.raises(RuntimeError, match="precision"):
        ours.set_float32_matmul_precision("low")


def test_variable() -> None:
    def run(T: Any) -> Any:
        x = T.autograd.Variable(T.ones(2), requires_grad=True)
        (x * 2).sum().backward()
        return x.grad, isinstance(x, T.autograd.Variable), isinstance(3, T.autograd.Variable)

    same(run)


def test_multiprocessing(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import torch, torch.multiprocessing as mp
def work(i, x, queue):
    queue.put(float(x.sum()) + i)
if __name__ == "__main__":
    queue = mp.get_context("fork").Queue()
    mp.spawn(work, (torch.ones(3), queue), nprocs=2, start_method="fork")
    print(sorted([queue.get(), queue.get()]), mp.cpu_count() > 0)
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_edu", str(script)],
        capture_output=True, text=True, timeout=60, cwd=pathlib.Path(ours.__file__).parent.parent,
    )  # fmt: skip
    assert done.stdout == "[3.0, 4.0] True\n", done.stderr


def test_summary_writer_without_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    from tinygrad_edu.utils.tensorboard import SummaryWriter

    with pytest.raises(ImportError, match=r"pip install 'tinygrad-edu\[tensorboard\]'"):
        SummaryWriter(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_summary_writer(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from tinygrad_edu.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "run", flush_secs=1) as writer:
        assert writer.get_logdir() == str(tmp_path / "run")
        for step in range(3):
            loss = ours.tensor(1.0 / (step + 1), requires_grad=True)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a loss may be shown as it is
                writer.add_scalar("loss", loss * 1, step)
        writer.add_scalars("both", {"a": 1.0, "b": 2.0}, 0)
        writer.add_histogram("weights", ours.arange(100.0), 0)
        writer.add_text("note", "hello", 0)
        writer.add_image("picture", ours.rand(3, 4, 5), 0)
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    values = [(e.step, round(e.value, 4)) for e in events.Scalars("loss")]
    assert values == [(0, 1.0), (1, 0.5), (2, 0.3333)]
    histogram = events.Histograms("weights")[0].histogram_value
    assert histogram.num == 100 and histogram.min == 0 and histogram.max == 99
    assert sum(histogram.bucket) == 100
    assert events.Images("picture")[0].width == 5
    assert "note/text_summary" in events.Tags()["tensors"]
    assert (tmp_path / "run" / "both_a").is_dir()


def test_names_that_scripts_import() -> None:
    from tinygrad_edu.autograd import grad_mode, profiler
    from tinygrad_edu.utils import dlpack

    assert grad_mode.no_grad is ours.no_grad and not ours.is_anomaly_enabled()
    with profiler.record_function("step"):
        x = ours.arange(3.0)
    shared = dlpack.from_dlpack(dlpack.to_dlpack(x))
    shared[0] = 7
    assert x[0] == 7
    assert ours.jit.annotate(int, 3) == 3 and ours.jit.Final[int] is not None
    with pytest.raises(NotImplementedError, match="nothing is downloaded"):
        ours.hub.load("pytorch/vision", "resnet18")


def test_storage() -> None:
    def run(T: Any) -> Any:
        x = T.zeros(4, 3, dtype=T.float64)
        found = [x.untyped_storage().nbytes(), x[1:].t().untyped_storage().size(), x.is_pinned()]
        found.append(x.untyped_storage().data_ptr() == x.data_ptr())
        found.append(x[2].untyped_storage().data_ptr() == x.data_ptr() != x[2].data_ptr())
        return [*found, len(x.untyped_storage()), len(x.clone()[0].untyped_storage())]

    same(run)


def test_questions_about_tensors() -> None:
    def run(T: Any) -> Any:
        found = [T.is_nonzero(T.tensor(v)) for v in (0, 0.5, True)]
        return [*found, T.is_complex(T.ones(2)), T.is_floating_point(T.ones(2, dtype=T.int8))]

    same(run)
