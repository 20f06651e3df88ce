"""torch.distributed in two and three real processes over MPI: see tests/ranks/checks.py."""

from __future__ import annotations

import functools
import importlib.util
import json
import pathlib
import re
import sys
import tempfile
import textwrap

import pytest
from launching import MPI, ROOT, finish, launch

from tinygrad_edu.backend import cupy_problem

CHECKS = ROOT / "tests" / "ranks" / "checks.py"
NAMES = re.findall(r"^def (check_\w+)\(", CHECKS.read_text(), re.M)
needs_mpi = pytest.mark.skipif(not MPI, reason="mpi4py or an MPI is not installed")


@functools.cache
def results(size: int) -> list[dict[str, str]]:
    """How the checks went, on each rank of one job."""
    with tempfile.TemporaryDirectory() as folder:
        done = launch(size, str(CHECKS), folder, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads((pathlib.Path(folder) / f"{r}.json").read_text()) for r in range(size)]


@needs_mpi
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [2, 3])
def test_checks(size: int, name: str) -> None:
    for rank, found in enumerate(results(size)):
        assert found[name] == "ok", f"rank {rank}: {found[name]}"


@needs_mpi
def test_nccl_on_the_stand_in() -> None:
    """Its interface, on memory of the host: see tests/ranks/nccl_checks.py."""
    done = launch(2, str(ROOT / "tests" / "ranks" / "nccl_checks.py"), paths=("tests",))
    assert done.stdout.splitlines() == ["ok", "ok"], done.stderr


@pytest.mark.gpu
@needs_mpi
def test_nccl_on_a_gpu() -> None:
    """A group of one: more than one rank a GPU NCCL refuses."""
    if cupy_problem() is not None:
        pytest.skip(f"no GPU: {cupy_problem()}")
    code = """
        import tinygrad_edu as torch, tinygrad_edu.distributed as dist
        dist.init_process_group("nccl")
        x = torch.arange(4.0).cuda(); dist.all_reduce(x); dist.broadcast(x, 0)
        y = torch.empty(1, 4).cuda(); dist.all_gather_into_tensor(y, x); print(y.tolist())
    """
    done = finish([sys.executable, "-c", textwrap.dedent(code)], 60)
    assert done.stdout.splitlines() == ["[[0.0, 1.0, 2.0, 3.0]]"], done.stderr


def test_without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    import tinygrad_edu.distributed as dist

    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(dist.DistError, match=r"pip install 'tinygrad-edu\[mpi\]'"):
        dist.init_process_group("gloo")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "mpi4py" else find(n))
    assert not dist.is_available() and not dist.is_nccl_available()
    with pytest.raises(ValueError, match="has not been initialized"):
        dist.all_reduce(__import__("tinygrad_edu").ones(1))


@needs_mpi
def test_alone() -> None:
    """One process that MPI has not started: a group of one."""
    code = """
        import tinygrad_edu as torch, tinygrad_edu.distributed as dist
        dist.init_process_group()
        x = torch.ones(2); dist.all_reduce(x); print(x.tolist(), dist.get_world_size())
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
        model(x).sum().backward(); print(model.module.weight.grad.tolist())
    """
    done = finish([sys.executable, "-c", textwrap.dedent(code)], 30)
    assert done.stdout.splitlines() == ["[1.0, 1.0] 1", "[[1.0, 1.0]]"], done.stderr


def test_places() -> None:
    """Variables of MPICH, Open MPI and Slurm."""
    from tinygrad_edu.names.ranks import announce, place

    assert place({}) is None and place({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) is None
    slurm = {
        "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0",
        "SLURM_NTASKS_PER_NODE": "2",
    }  # fmt: skip
    openmpi = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4",
               "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}  # fmt: skip
    mpich = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    for variables in (slurm, openmpi, mpich):
        assert place(variables) == (3, 4, 1, 2)
        announce(variables)
        found = [variables[k] for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
        assert found == ["3", "4", "1", "2"] and variables["GROUP_RANK"] == "1"
        assert {"MASTER_ADDR", "MASTER_PORT"} <= set(variables)
