"""What all tests share: hypothesis profiles, and a fresh seed for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Two BLAS pools, ours and torch's, slow each other down in one process: one thread each, unless
# the environment says otherwise.  This has to be set before either is imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from devices import EVERYWHERE, ON_A_GPU, placed  # noqa: E402

try:
    import hypothesis
except ImportError:  # the tests that need it say so themselves
    pass
else:
    # "ci" repeats the same examples in every run; `--hypothesis-profile=thorough` looks further.
    hypothesis.settings.register_profile(
        "ci", derandomize=True, deadline=None, max_examples=50, print_blob=True
    )
    hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sweep", action="store_true", help="try every place where a sample is the rule"
    )


@pytest.fixture(params=EVERYWHERE)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the device that the test is to use: each in turn."""
    with placed(request.param) as name:
        yield name


@pytest.fixture(params=["strict", ON_A_GPU])
def cuda(request: pytest.FixtureRequest) -> Iterator[str]:
    """As `device`, without the CPU."""
    with placed(request.param) as name:
        yield name


@pytest.fixture(autouse=True)
def seed() -> Iterator[int]:
    """Every test starts from the same random state, of NumPy, of ours, and of torch if it is there.

    It also puts the default dtype back.
    """
    import tinygrad_edu

    np.random.seed(0)
    tinygrad_edu.manual_seed(0)
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.manual_seed(0)
    yield 0
    tinygrad_edu.set_default_dtype(tinygrad_edu.float32)
