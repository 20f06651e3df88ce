"""`python -m tinygrad_edu`: unmodified scripts, the stand-in, errors as users see them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tomllib
import zipfile
from typing import Any

import pytest

import tinygrad_edu

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Any:
    """Run a script, given as text, in a process where no other torch can be found."""
    package = tmp_path / "packages"
    package.mkdir()
    (package / "tinygrad_edu").symlink_to(pathlib.Path(tinygrad_edu.__file__).parent)
    folder = pathlib.Path(sys.modules["numpy"].__file__ or "").parent.parent
    for part in ("numpy", "numpy.libs"):
        if (folder / part).exists():
            (package / part).symlink_to(folder / part)

    def start(text: str, *args: str, before: tuple[str, ...] = ()) -> Any:
        script = tmp_path / "folder" / "script.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(text)
        command = [sys.executable, "-S", "-m", "tinygrad_edu", *before, str(script), *args]
        environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    return start


def test_a_training_script(run: Any) -> None:
    done = run(
        """
import argparse, sys
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim, Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.optim.lr_scheduler import StepLR
import torch.optim.lr_scheduler as schedulers
import torch.utils.checkpoint
from torch.nn.utils import clip_grad_norm_
from torch.nn.modules.linear import Linear
from torch.autograd import Function
from torch.cuda.amp.grad_scaler import GradScaler
from torch.nn.common_types import _size_2_t
from torch.types import Device, Number
from torch.utils.data._utils.collate import default_collate
import torch.backends.cudnn as cudnn
import torch.utils.model_zoo as model_zoo

assert torch.__version__ >= "2.9" and torch.__version__.startswith("2.13")
assert int(torch.version.__version__.split(".")[0]) >= 2
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
args = parser.parse_args()
cudnn.benchmark = True
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to("cpu")
assert isinstance(model[0], Linear) and Linear is nn.Linear and F is nn.functional
x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
optimizer = optim.Adam(model.parameters(), lr=0.01)
scheduler = StepLR(optimizer, 1)
for epoch in range(args.epochs):
    for a, b in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(a), b)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    scheduler.step()
    print(f"{loss.item():.4f}")
if __name__ == "__main__":
    print(__file__.endswith("script.py"), torch.__name__, schedulers.__name__, len(sys.argv))
""",
        "--epochs",
        "2",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert float(lines[0]) > 0 and float(lines[1]) > 0
    assert lines[2] == "True tinygrad_edu tinygrad_edu.optim.lr_scheduler 3"


def test_one_set_of_classes(run: Any) -> None:
    done = run(
        """
import sys, torch, torch.nn.modules.linear, torch.nn.functional, torch.utils.data, tinygrad_edu
import torch.optim.adam, importlib, pickle
for name, module in list(sys.modules.items()):
    if name.split(".")[0] == "torch":
        own = "tinygrad_edu" + name[5:]
        assert module is sys.modules[own], name
        assert module.__name__ == own == module.__spec__.name, name
from torch.nn import Linear
assert Linear is tinygrad_edu.nn.Linear is importlib.import_module("torch.nn").Linear
class Net(torch.nn.Module):
    pass
assert type(pickle.loads(pickle.dumps(Net()))) is Net
import helper
print("fine", helper.value)
""",
    )
    assert done.returncode == 1 and "No module named 'helper'" in done.stderr


def test_spawned_processes(run: Any) -> None:
    done = run(
        """
import sys
import torch, torch.multiprocessing as mp
from torch.utils.data import DataLoader, Dataset
class Squares(Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return torch.tensor(i * i)
def work(i, n):
    assert torch.__name__ == "tinygrad_edu" and __file__.endswith("script.py")
    assert torch.ones(n).sum() == n
if __name__ == "__main__":
    mp.spawn(work, (3,), nprocs=1)
    loader = DataLoader(Squares(), batch_size=3, num_workers=1, multiprocessing_context="spawn")
    print([batch.tolist() for batch in loader])
    try:
        from . import anything
    except ImportError as error:
        print(error)
"""
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[0] == "[[0, 1, 4], [9, 16, 25]]"
    assert lines[1] == "attempted relative import with no known parent package"


def test_modules_beside_the_script(run: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "helper.py").write_text("import torch\nvalue = torch.ones(2)\n")
    done = run("import helper\nprint(helper.value)\n")
    assert done.stdout == "tensor([1., 1.])\n", done.stderr


def test_tracebacks_show_the_script(run: Any) -> None:
    text = """import torch

def layer(a, b):
    return a @ b

layer(torch.ones(2, 3), torch.ones(2, 3))
"""
    done = run(text)
    assert done.returncode == 1
    lines = done.stderr.strip().split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    files = [line for line in lines if line.lstrip().startswith("File ")]
    assert len(files) == 2 and all("script.py" in line for line in files), done.stderr
    assert "return a @ b" in done.stderr and lines[-2].startswith("RuntimeError: ")
    assert "2x3" in lines[-2] or "[2, 3]" in lines[-2]
    assert "b.transpose(0, 1) of shape [3, 2] would fit" in lines[-1]
    full = run(text, before=("--full-traceback",))
    assert "tinygrad_edu" in full.stderr and full.returncode == 1


def test_errors_of_the_script_keep_their_chain(run: Any) -> None:
    done = run(
        """
try:
    {}["a"]
except KeyError as error:
    raise ValueError("mine") from error
"""
    )
    assert "KeyError: 'a'" in done.stderr and done.stderr.endswith("ValueError: mine\n")
    assert "direct cause" in done.stderr


def test_syntax_error_and_exit_status(run: Any) -> None:
    done = run("x = = 1\n")
    assert done.returncode == 1 and "SyntaxError" in done.stderr and "x = = 1" in done.stderr
    assert "__main__.py" not in done.stderr
    assert run("raise SystemExit(7)").returncode == 7
    assert run("import sys; sys.exit('bye')").stderr == "bye\n"


@pytest.mark.parametrize(
    ("line", "kind", "facts"),
    [
        (
            "import torch.optim.lr_schedular",
            "ModuleNotFoundError",
            ["lr_schedular", "lr_scheduler"],
        ),
        ("from torch.nn import Liner", "ImportError", ["'Liner'", "Linear"]),
        ("from torch import radn", "ImportError", ["'radn'", "rand"]),
        ("import torch; torch.ones_lik", "AttributeError", ["ones_lik", "ones_like"]),
        ("from torch import fft", "ImportError", ["'fft'", "no Fourier transforms"]),
        ("import torch.fft", "ModuleNotFoundError", ["torch.fft", "no Fourier transforms"]),
        ("import torch; torch.nn.Con2d", "AttributeError", ["Con2d"]),
    ],
)
def test_missing_names(run: Any, line: str, kind: str, facts: list[str]) -> None:
    done = run(line + "\n")
    assert done.returncode == 1
    last = done.stderr[done.stderr.index(kind) :]
    assert all(fact in last for fact in facts), done.stderr


def test_missing_names_can_be_caught(run: Any) -> None:
    done = run(
        """
import torch
assert not hasattr(torch, "no_such_thing")
try:
    import torch.no_such_thing
except ImportError:
    pass
try:
    from torch import no_such_thing
except ImportError:
    print("caught")
"""
    )
    assert done.stdout == "caught\n", done.stderr


def command(*args: str, cwd: Any = None) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_edu", *args],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_module(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "train.py").write_text(
        "import sys, torch\nfrom . import other\n"
        "print(__name__, sys.argv[1:], other.x, torch.__name__)\n"
    )
    (tmp_path / "pack" / "other.py").write_text("import torch\nx = torch.ones(1)\n")
    done = command("-m", "pack.train", "--lr", "1", cwd=tmp_path)
    assert done.stdout == "__main__ ['--lr', '1'] tensor([1.]) tinygrad_edu\n", done.stderr


def test_a_script_knows_where_it_is(tmp_path: pathlib.Path) -> None:
    """As Python itself does, also if it was named relative to where it was started."""
    (tmp_path / "where.py").write_text("import os\nos.chdir('/')\nprint(__file__)\n1 / 0\n")
    done = command("where.py", cwd=tmp_path)
    assert done.stdout.strip() == str(tmp_path / "where.py")
    assert f'File "{tmp_path / "where.py"}", line 4' in done.stderr and "1 / 0" in done.stderr


def test_command_line(tmp_path: pathlib.Path) -> None:
    version = command("--version")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version.stdout.startswith(f"tinygrad-edu {declared} (NumPy ")
    assert command("--help").stdout.startswith("usage: python -m tinygrad_edu")
    assert command().returncode == 2
    assert command("--nonsense").returncode == 2
    absent = command("absent.py", cwd=tmp_path)
    assert absent.returncode == 2 and "can't open file 'absent.py'" in absent.stderr


def test_standin_refuses_to_mix() -> None:
    code = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
        "import tinygrad_edu.standin as s\n"
        "try: s.install()\n"
        "except RuntimeError as e: print(e)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "imported already" in done.stdout, done.stderr


# ---- what comes first on the path; commands, folders, archives, children


SHOW = "import sys, torch\nprint(sys.argv, sys.path[0], torch.__name__, __name__)\n"


def plain(arguments: list[str], cwd: Any, text: str | None = None) -> str:
    """What Python itself prints, with a module `torch` that is none."""
    environment = {**os.environ, "PYTHONPATH": str(cwd / "fake")}
    (cwd / "fake").mkdir(exist_ok=True)
    (cwd / "fake" / "torch.py").write_text("__name__ = 'tinygrad_edu'\n")
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=environment, input=text, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_run_sees_what_python_shows_it(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "__main__.py").write_text(SHOW + "import beside\nprint(beside.x)\n")
    (folder / "beside.py").write_text("x = 3\n")
    (folder / "script.py").write_text(SHOW + "import beside\n")
    (tmp_path / "beside.py").write_text("raise SystemExit('the current folder came first')\n")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    for arguments in (
        ["folder/script.py", "a"], ["folder", "a"], ["archive.zip", "a"], ["-c", SHOW, "a"],
        ["-m", "folder.script2", "a"],
    ):  # fmt: skip
        (folder / "script2.py").write_text(SHOW)
        mine = command(*arguments, cwd=tmp_path)
        assert mine.stdout == plain(arguments, tmp_path), (arguments, mine.stderr)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_edu", "-", "a"],
        cwd=tmp_path, env=environment, input=SHOW, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == plain(["-", "a"], tmp_path, SHOW), done.stderr


def test_safe_path_is_respected(tmp_path: pathlib.Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nprint(sys.path[0])\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_edu", "script.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() != str(tmp_path) and done.returncode == 0, done.stderr


def test_errors_of_commands_show_their_lines(tmp_path: pathlib.Path) -> None:
    done = command("-c", "x = 1\nx / 0", cwd=tmp_path)
    assert done.returncode == 1 and "    x / 0\n    ~~^~~\n" in done.stderr
    assert "__main__.py" not in done.stderr
    assert "needs a command" in command("-c").stderr and command("-c").returncode == 2
    (tmp_path / "empty").mkdir()
    assert "__main__" in command("empty", cwd=tmp_path).stderr


CHILD = """
import subprocess, sys
code = "import torch.nn as nn, torch; from importlib.metadata import version; " \\
       "print(torch.__name__, nn.Linear.__module__, version('torch'))"
import multiprocessing as mp
def work(queue):
    import torch
    queue.put(torch.__name__)
if __name__ == "__main__":
    for option in ([], ["-B"]):
        command = [sys.executable, *option, "-c", code]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="")
    for method in ("spawn", "fork", "forkserver"):
        context = mp.get_context(method)
        queue = context.Queue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        print(method, queue.get(timeout=60))
        process.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_children_of_the_same_python_inherit_the_alias(run: Any) -> None:
    done = run(CHILD)
    assert done.returncode == 0, done.stderr
    line = "tinygrad_edu tinygrad_edu.nn.modules.linear 2.13.0"
    methods = [f"{method} tinygrad_edu" for method in ("spawn", "fork", "forkserver")]
    assert done.stdout.splitlines() == [line, line, *methods]


def test_another_python_goes_on_without_it(tmp_path: pathlib.Path) -> None:
    """One in another folder has its own torch, or none."""
    from tinygrad_edu import standin

    folder = pathlib.Path(standin.__file__).parent / "names" / "children"
    (tmp_path / "torch.py").write_text("real = True\n")
    environment = {**os.environ, "TINYGRAD_EDU_PYTHON": "/elsewhere"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.real)"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


def test_metadata_names_torchs_version(run: Any) -> None:
    done = run(
        "from importlib.metadata import distribution, version, PackageNotFoundError\n"
        "print(version('torch'), distribution('torch').name)\n"
        "try: version('torchvision')\nexcept PackageNotFoundError: print('none')\n"
    )
    assert done.stdout.startswith("2.13.0 torch"), done.stderr


def test_commands(tmp_path: pathlib.Path) -> None:
    listed = command("examples", cwd=tmp_path)
    names = [p.name for p in sorted((ROOT / "examples").glob("[0-9]*.py"))]
    assert [line.split()[0] for line in listed.stdout.splitlines()[: len(names)]] == names
    copied = command("examples", "mine", cwd=tmp_path)
    assert copied.returncode == 0 and (tmp_path / "mine" / "datasets.py").is_file()
    assert {*names} <= {p.name for p in (tmp_path / "mine").iterdir()}
    again = command("examples", "mine", cwd=tmp_path)
    assert again.returncode == 2 and "nothing is copied" in again.stderr
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "__main__.py").write_text("print('a folder of the user')\n")
    assert command("demo", cwd=tmp_path).stdout == "a folder of the user\n"


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [("tinygrad_edu examples", "1"), ("tinygrad_edu examples", ""), ("tinygrad_edu --help", ""),
     ("tinygrad_edu --doctor-explain step-missing", ""), ("tinygrad_edu torchrun --help", ""),
     ("tinygrad_edu.course list", "")],
)  # fmt: skip
def test_a_reader_that_goes_away(words: str, unbuffered: str, tmp_path: pathlib.Path) -> None:
    """`tinygrad-edu examples | head -1` ends without a word, with a shell's status of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([sys.executable, "-m", *words.split()], stdout=write, text=True,
                          stderr=subprocess.PIPE, cwd=tmp_path, env=environment)  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_demo(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    done = command("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "█" in done.stdout and " of 360 digits" in done.stdout
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in made} <= {tmp_path / "outputs"}
    assert {path.suffix for path in made} <= {".png"}  # none without matplotlib


def test_uninstall_undoes_install() -> None:
    code = (
        "import tinygrad_edu as tg, sys; from tinygrad_edu import standin\n"
        "before = tg.__version__, tg.Tensor.__module__, tg.nn.Parameter.__module__\n"
        "standin.install(); import torch.nn; assert torch is tg and torch.__version__ > '2'\n"
        "standin.uninstall(); assert not [m for m in sys.modules if m.startswith('torch')]\n"
        "assert before == (tg.__version__, tg.Tensor.__module__, tg.nn.Parameter.__module__)\n"
        "standin.install(); import torch; assert torch is tg; print('done')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "done\n", done.stderr
