"""What `tinygrad-edu` does besides running scripts: a demonstration, the examples, the kernel."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pathlib
import runpy
import shutil
import sys
import tempfile
import webbrowser
from typing import Any

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
KERNEL = "tinygrad-edu"
BARS = "▁▂▃▄▅▆▇█"


def demo(arguments: list[str]) -> int:
    """Train the perceptron of the examples on real digits and show its curve."""
    missing = [m for m in ("sklearn", "tqdm") if importlib.util.find_spec(m) is None]
    if missing:
        print("The demonstration needs scikit-learn and tqdm: pip install 'tinygrad-edu[examples]'",
              file=sys.stderr)  # fmt: skip
        return 2
    import tinygrad_edu as torch
    from tinygrad_edu.utils.data import DataLoader, TensorDataset

    folder = str(_folder())
    sys.path.insert(0, folder)
    try:
        example = runpy.run_path(f"{folder}/01_mlp_digits.py", run_name="example")
    finally:
        sys.path.remove(folder)
    sets = importlib.import_module("datasets").load_digits()
    (x, y), (x_test, y_test) = [[torch.from_numpy(array) for array in arrays] for arrays in sets]
    train: DataLoader[Any] = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    test: DataLoader[Any] = DataLoader(TensorDataset(x_test, y_test), batch_size=64)
    torch.manual_seed(0)
    model = example["MLP"](x.shape[1], 64, 10)
    print(f"{model}\nlearns {len(x)} pictures of digits in 20 epochs.\n")
    history = example["train"](model, train, test, 20, x.device, report=lambda _: None)
    losses, accuracy = [epoch[0] for epoch in history], history[-1][2]
    print(f"loss  {losses[0]:.2f} {curve(losses)} {losses[-1]:.2f}")
    print(f"It reads {accuracy:.1%} of {len(x_test)} digits that it has not seen.\n")
    _show(example, model, history, x_test, y_test)
    print(f"The script: {folder}/01_mlp_digits.py; `tinygrad-edu examples` shows the others.")
    return 0


def _show(example: Any, model: Any, history: Any, x: Any, y: Any) -> None:
    """Draw what was learnt, if there is matplotlib; open the picture, if somebody is watching."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    path = pathlib.Path("outputs", "mlp_digits.png").absolute()
    worst = example["worst_mistakes"](model, x, y, x.device)
    example["draw"](history, x.numpy(), worst, path)
    print(f"The picture: {path}")
    if sys.stdout.isatty():
        webbrowser.open(path.as_uri())


def curve(values: list[float]) -> str:
    """Numbers as bars.

    >>> from tinygrad_edu.names.commands import curve
    >>> curve([4.0, 2.0, 1.0, 0.0])
    '█▅▃▁'
    """
    low, high = min(values), max(values)
    steps = [int((v - low) / ((high - low) or 1) * (len(BARS) - 1) + 0.5) for v in values]
    return "".join([BARS[step] for step in steps])


def examples(arguments: list[str]) -> int:
    """List the examples, or copy them into a folder."""
    folder = _folder()
    if arguments:
        target = pathlib.Path(arguments[0])
        target.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob("*.*"))
        there = [path.name for path in files if (target / path.name).exists()]
        if there:
            print(f"{target} has a {there[0]} already; nothing is copied", file=sys.stderr)
            return 2
        for path in filter(pathlib.Path.is_file, files):
            shutil.copy(path, target)
        print(f"The examples are in {target}.")
        return 0
    for path in sorted(folder.glob("[0-9]*.py")):
        first = path.read_text(encoding="utf-8").partition("\n")[0].strip('"')
        print(f"{path.name:28}{first}")
    print(f"\nThey are in {folder}; `tinygrad-edu examples FOLDER` copies them.")
    return 0


def _folder() -> pathlib.Path:
    """Where the examples are: in the installed package, or beside it in a checkout."""
    places = (PACKAGE / "examples", PACKAGE.parent / "examples")
    return next((place for place in places if place.is_dir()), places[0])


def install_kernel(arguments: list[str]) -> int:
    """Install a Jupyter kernel for notebooks that say `import torch`."""
    try:
        kernels = importlib.import_module("jupyter_client.kernelspec")
    except ImportError:
        print("A kernel needs Jupyter: pip install ipykernel", file=sys.stderr)
        return 2
    spec = {
        "argv": [
            sys.executable, "-m", "tinygrad_edu", "-m", "ipykernel_launcher",
            "-f", "{connection_file}", "--InteractiveShellApp.extensions=tinygrad_edu",
        ],
        "display_name": "Python (tinygrad-edu)",
        "language": "python",
        "metadata": {"debugger": True},
    }  # fmt: skip
    prefix = arguments[0] if arguments else sys.prefix
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "kernel.json").write_text(json.dumps(spec, indent=1))
        place = kernels.KernelSpecManager().install_kernel_spec(folder, KERNEL, prefix=prefix)
    print(f"Installed the kernel {KERNEL!r} in {place}; choose it in a notebook.")
    return 0


COMMANDS = {"demo": demo, "examples": examples, "install-kernel": install_kernel}
