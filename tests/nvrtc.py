"""The CUDA sources, compiled by NVIDIA's compiler, which needs no GPU: `python tests/nvrtc.py`.

It prints for each kernel the registers of a thread, the bytes of a block's shared memory, and the
bytes that did not fit the registers ("spilled").
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.kernels.cuda import launch

DTYPES = ("float32", "float64", "float16", "bfloat16")
GPUS = ("sm_80", "sm_90")


class Usage(NamedTuple):
    """What one kernel takes."""

    registers: int
    shared: int
    spilled: int


@functools.cache
def compiler() -> ctypes.CDLL | None:
    """NVRTC, if one of its packages is installed."""
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        for path in sorted(pathlib.Path(folder).glob("cu*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def sources() -> list[tuple[str, str]]:
    """(file, dtype) of all that is compiled; of 16 bits there is elementwise.cu alone."""
    narrow = ("float16", "bfloat16")
    return [(f, d) for f in launch.FILES for d in DTYPES if f == "elementwise" or d not in narrow]


def compiled(file: str, dtype: str, gpu: str) -> dict[str, Usage]:
    """The kernels of a source, compiled for that GPU.

    Raises:
        RuntimeError: what the compiler says.
    """
    kind: Any = dtype
    if dtype == "bfloat16":
        import ml_dtypes

        kind = ml_dtypes.bfloat16
    return usage(launch.source(file, np.dtype(kind), launch.THREADS), gpu)


def usage(code: str, gpu: str) -> dict[str, Usage]:
    """As `compiled`, for any source."""
    library, program, size = compiler(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library is not None
    library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels", 0, None, None)
    options = [f"--gpu-architecture={gpu}", "--std=c++14", "--ptxas-options=-v"]
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = library.nvrtcCompileProgram(program, len(options), given)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    said = log.value.decode()
    if failed:
        raise RuntimeError(said)
    found = {}
    for part in re.split(r"Compiling entry function '", said)[1:]:
        spilled = re.findall(r"(\d+) bytes spill", part)  # of functions that it calls too
        assert spilled, part
        (registers,) = re.findall(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.partition("'")[0]] = Usage(
            int(registers), int(shared[1]) if shared else 0, sum(map(int, spilled))
        )
    return found


def main() -> None:
    if compiler() is None:
        raise SystemExit("no compiler for CUDA: pip install nvidia-cuda-nvrtc-cu12 (90 MB)")
    print(f"{'':6} {'kernel':34} {'dtype':9} {'registers':>9} {'shared':>7} {'spilled':>8}")
    for gpu in GPUS:
        for file, dtype in sources():
            for name, used in compiled(file, dtype, gpu).items():
                print(f"{gpu:6} {name:34} {dtype:9} {used.registers:9} {used.shared:7}"
                      f" {used.spilled:8}")  # fmt: skip


if __name__ == "__main__":
    main()
