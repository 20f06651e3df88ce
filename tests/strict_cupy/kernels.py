"""CUDA kernels run on the host: `RawModule` compiles their source with a C++ compiler.

The stand-in has it only where such a compiler is found; without, the library does without kernels.
Checked besides the results: the size of every argument, that arrays lie in contiguous memory, and
that a barrier is reached by all threads of a block.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from typing import Any

import numpy as np

from .array import ndarray
from .counters import Counters, StrictError
from .traffic import of_kernel, of_product

COMPILER = shutil.which("g++") or shutil.which("clang++")
THREADS = 32
"""Threads of a block: fewer than on a GPU, since each is a fiber."""
BACKWARDS = False
"""Whether the last thread of a block goes first: a result may not depend on it."""

_HERE = pathlib.Path(__file__).parent


class RawModule:
    """A compiled source; `get_function` gives its kernels."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        self.code, self.library = code, None

    def get_function(self, name: str) -> RawKernel:
        if self.library is None:
            self.library = ctypes.CDLL(str(_compiled(self.code)))
        found = re.search(rf"KERNEL {name}\(([^)]*)\)", self.code)
        if found is None:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        types = [p.rpartition(" ")[0].strip() for p in found[1].split(",")]
        sizes = (ctypes.c_size_t * len(types)).in_dll(self.library, f"sizes_{name}")
        launch = getattr(self.library, f"launch_{name}")
        item = ctypes.c_size_t.in_dll(self.library, "itemsize").value
        return RawKernel(name, launch, found[1], types, list(sizes), item)


def _compiled(code: str) -> pathlib.Path:
    """The library made of a kernels' source."""
    launchers = []
    for name, parameters in re.findall(r"KERNEL (\w+)\(([^)]*)\)", code):
        types = [p.rpartition(" ")[0] for p in parameters.split(",")]
        given = ", ".join(f"*({t}*)a[{i}]" for i, t in enumerate(types))
        launchers.append(
            f'extern "C" int launch_{name}(const unsigned* g, unsigned t, int b, void** a)'
            f"{{ return run(g, t, b, [](void** a) {{ {name}({given}); }}, a); }}\n"
            f'extern "C" const size_t sizes_{name}[] = {{'
            f"{', '.join([f'sizeof({t})' for t in types])}}};"
        )
    launchers.append('extern "C" const size_t itemsize = sizeof(E);')
    return _library("\n".join([(_HERE / "cuda_on_host.h").read_text(), code, *launchers]))


class _Counted:
    """A library whose products are counted."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.library, name)
        if "Gemm" in name or name == "cublasLtMatmul":
            found = _Product(name, found)
        setattr(self, name, found)
        return found


class _Product:
    def __init__(self, name: str, function: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.function, name, value)  # the types of the arguments

    def __call__(self, *args: Any) -> int:
        Counters.launches[self.name] += 1
        Counters.bytes[self.name] += of_product(self.name, args)
        status: int = 0 if Counters.only_counting else self.function(*args)
        return status


def cublas(major: int) -> _Counted:
    """cuBLAS on the host."""
    if COMPILER is None:
        raise OSError("no C++ compiler")
    return _Counted(ctypes.CDLL(str(_library((_HERE / "cublas_on_host.cpp").read_text()))))


def _library(text: str) -> pathlib.Path:
    """The library made of a C++ source; made once, and kept for later runs."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"tinygrad-edu-kernels-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    made = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.so"
    if not made.exists():
        part = folder / f"{made.stem}.{os.getpid()}"
        part.with_suffix(".cpp").write_text(text)
        command = [COMPILER, "-std=c++14", "-O1", "-w", "-shared", "-fPIC", "-o", str(part),
                   str(part.with_suffix(".cpp"))]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{COMPILER}: {done.stderr[:2000]}")
        part.rename(made)
    return made


class RawKernel:
    """One kernel: call it with the grid, the block and the arguments."""

    def __init__(
        self, name: str, launch: Any, parameters: str, types: list[str], sizes: list[int], item: int
    ) -> None:
        self.name, self.launch, self.types, self.sizes = name, launch, types, sizes
        self.parameters, self.itemsize = parameters, item

    def compile(self, log_stream: Any = None) -> None:
        """CuPy's kernel is compiled by it; ours is already."""

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]
    ) -> None:
        if len(args) != len(self.types):
            raise StrictError(f"{self.name} takes {len(self.types)} arguments, not {len(args)}")
        Counters.launches[self.name] += 1
        values = [self._bytes(*a) for a in zip(self.types, self.sizes, args, strict=True)]
        Counters.bytes[self.name] += of_kernel(self.name, self.parameters, args, self.itemsize)
        pointers = (ctypes.c_void_p * len(values))(*[v.ctypes.data for v in values])
        sizes = (ctypes.c_uint * 2)(*(*grid, 1)[:2])
        if Counters.only_counting:
            return
        if self.launch(sizes, ctypes.c_uint(block[0]), int(BACKWARDS), pointers):
            raise StrictError(f"{self.name}: not all threads of a block reach a barrier")

    def _bytes(self, kind: str, size: int, value: Any) -> np.ndarray:
        """The memory that an argument arrives in."""
        if kind.endswith("*"):
            if not isinstance(value, ndarray):
                raise StrictError(f"{self.name}: {kind} got {type(value).__name__}")
            if not value.flags.c_contiguous:
                raise StrictError(f"{self.name}: an array that is not contiguous")
            return np.array(value.host.ctypes.data, np.uint64)
        if isinstance(value, np.ndarray) and value.size != 1:
            raise TypeError("Only numpy.ndarrays of size one can be passed by value")
        if not isinstance(value, (np.ndarray, np.generic)) or value.nbytes != size:
            raise StrictError(f"{self.name}: {kind} got {value!r} of {type(value).__name__}")
        if (value.dtype.kind == "f") != (kind in ("T", "float", "double")):
            raise StrictError(f"{self.name}: {kind} got {value.dtype}")
        return np.asarray(value)
