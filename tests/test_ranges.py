"""`arange` and `linspace` equal torch's to the last bit."""

import pytest

torch = pytest.importorskip("torch")

import tinygrad_edu as tg  # noqa: E402

ENDS = [(0.0, 1.0), (-5.3, 4.1), (2.5, -9.9), (1e-3, 1e3)]
COUNTS = [1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 64, 100, 301]


@pytest.fixture(autouse=True)
def one_thread():
    """torch cuts long ranges for its threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int32", "uint8"])
@pytest.mark.parametrize("ends", [*ENDS, (-7, 3), (0, 250)])
def test_linspace(dtype, ends):
    for count in (0, *COUNTS):
        found = []
        for lib in (tg, torch):
            try:
                found.append(lib.linspace(*ends, count, dtype=getattr(lib, dtype)).tolist())
            except RuntimeError as error:  # a fraction below zero is no uint8
                found.append("without overflow" in str(error) and type(error))
        assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start, step", [(0.0, 0.1), (-3.7, 0.013), (2.5, -0.7), (0, 1)])
def test_arange(dtype, start, step):
    for count in (*COUNTS, 20_000):
        end = start + step * (count - 0.5)
        found = [lib.arange(start, end, step, dtype=getattr(lib, dtype)) for lib in (tg, torch)]
        assert found[0].shape == (count,)
        assert found[0].tolist() == found[1].tolist()
