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

from tinygrad_edu.kernels.cuda import flash, launch

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


def sources() -> list[tuple[str, str, str]]:
    """(file, dtype, variant) of all that is compiled; of 16 bits there are three files alone.

    The variants of flash.cu are the widths of a head, with "tf32" behind where that is meant.
    """
    narrow, found = ("float16", "bfloat16"), []
    for file in launch.FILES:
        for dtype in DTYPES:
            if file == "flash":
                widths = flash.SHAPES[_numpy(dtype).itemsize]
                found += [(file, dtype, str(width)) for width in widths]
                found += [(file, dtype, f"{w} tf32") for w in widths if dtype == "float32"]
            elif file in ("elementwise", "norm") or dtype not in narrow:
                found.append((file, dtype, ""))
    return found


def _numpy(dtype: str) -> Any:
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)


def compiled(file: str, dtype: str, variant: str, gpu: str) -> dict[str, Usage]:
    """The kernels of a source, compiled for that GPU.

    Raises:
        RuntimeError: what the compiler says.
    """
    return usage(text(file, dtype, variant), gpu)


def text(file: str, dtype: str, variant: str) -> str:
    """The whole of a source."""
    kind = _numpy(dtype)
    if file != "flash":
        return launch.source(file, kind, launch.THREADS)
    width, *tf32 = variant.split()
    return launch.source(file, kind, *flash.variant(int(width), kind, bool(tf32)))


def usage(code: str, gpu: str) -> dict[str, Usage]:
    """As `compiled`, for any source."""
    found = {}
    for part in re.split(r"Compiling entry function '", _compile(code, gpu)[0])[1:]:
        spilled = re.findall(r"(\d+) bytes spill", part)  # of functions that it calls too
        assert spilled, part
        (registers,) = re.findall(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.partition("'")[0]] = Usage(
            int(registers), int(shared[1]) if shared else 0, sum(map(int, spilled))
        )
    return found


def ptx(code: str, gpu: str) -> str:
    """The instructions that a source becomes, for any GPU of that generation."""
    return _compile(code, gpu.replace("sm", "compute"))[1]


def _compile(code: str, gpu: str) -> tuple[str, str]:
    """What the compiler says, and what it makes of a source where that is text."""
    library, program, size = compiler(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library is not None
    library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels", 0, None, None)
    options = [f"--gpu-architecture={gpu}", "--std=c++14"]
    options += ["--ptxas-options=-v"] if gpu.startswith("sm") else []
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = library.nvrtcCompileProgram(program, len(options), given)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    made = ctypes.create_string_buffer(0)
    if gpu.startswith("compute") and not failed:
        library.nvrtcGetPTXSize(program, ctypes.byref(size))
        made = ctypes.create_string_buffer(size.value)
        library.nvrtcGetPTX(program, made)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    said = log.value.decode()
    if failed:
        raise RuntimeError(said)
    return said, made.value.decode()


def main() -> None:
    if compiler() is None:
        raise SystemExit("no compiler for CUDA: pip install nvidia-cuda-nvrtc-cu12 (90 MB)")
    print(f"{'':6} {'kernel':34} {'dtype':9} {'registers':>9} {'shared':>7} {'spilled':>8}")
    for gpu in GPUS:
        for file, dtype, variant in sources():
            for name, used in compiled(file, dtype, variant, gpu).items():
                numbers = f"{used.registers:9} {used.shared:7} {used.spilled:8}"
                print(f"{gpu:6} {f'{name} {variant}':34} {dtype:9} {numbers}")


if __name__ == "__main__":
    main()
