"""The operations by family; each forward function with its derivative rules beneath it."""


def load_library(path: str) -> None:
    """OSError: operators compiled for PyTorch cannot be loaded; libraries go on without them."""
    raise OSError(f"{path}: operators compiled for PyTorch cannot be loaded")


def __getattr__(name: str) -> object:
    if name == "aten":
        from tinygrad_edu.ops.more.aten import aten

        return aten
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
