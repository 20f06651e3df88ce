"""What all tests share: hypothesis profiles, and a fresh seed for every test."""

from __future__ import annotations

import os
import pathlib
import zlib
from collections.abc import Callable, Iterator

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is listed in slow.txt: tests, and files of tests, "but 1 in N" of them."""
    lines = (pathlib.Path(__file__).parent / "slow.txt").read_text().splitlines()
    listed = [line.partition(", but 1 in ") for line in lines]
    slow = {name: int(every or 0) for name, _, every in listed}
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        names = (name, name.partition("[")[0], name.partition("::")[0])
        every = next((slow[n] for n in names if n in slow), None)
        if every is not None and not (every and zlib.crc32(name.encode()) % every == 0):
            item.add_marker("slow")


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


_NO_KERNEL = "torch has no kernel here"


@pytest.fixture
def no_kernel(record_property: Callable[[str, object], None]) -> Callable[[Exception], bool]:
    """Asks of an error whether torch lacks the kernel for this processor, and counts it if so.

    oneDNN has none for an LSTM in 16 bits without AVX-512, for example.  Such a test compares
    with a result in wider floats; the end of the run lists them.
    """

    def asked(error: Exception) -> bool:
        missing = isinstance(error, RuntimeError) and "could not create a primitive" in str(error)
        if missing:
            record_property(_NO_KERNEL, str(error))
        return missing

    return asked


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    tests = [
        f"{report.nodeid}, {cases} case{'s' * (cases > 1)}"
        for report in reports
        if getattr(report, "when", None) == "call"
        and (cases := sum(name == _NO_KERNEL for name, _ in report.user_properties))
    ]
    if tests:
        terminalreporter.section(f"{_NO_KERNEL}; compared with wider floats: {len(tests)} tests")
        terminalreporter.write_line("\n".join(tests))
