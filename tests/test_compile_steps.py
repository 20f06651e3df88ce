"""`torch.compile` of whole training steps: they leave what eager steps leave, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from compiling import GPT, bits, both_ways, explained, left_behind, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupting import sweep

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
}


def mlp() -> Any:
    return nn.Sequential(
        nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 32), nn.GELU(),
        nn.Dropout(0.2), nn.LayerNorm(32), nn.Linear(32, 5),
    )  # fmt: skip


class Scores(nn.Module):
    """Those of a transformer with tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.gpt = GPT()

    def forward(self, ids: Any) -> Any:
        return self.gpt(ids)[0]


class Reader(nn.Module):
    """An LSTM whose last output is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(6, 7, batch_first=True), nn.Linear(7, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


def convnet() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def classes(n: int) -> Any:
    return torch.randint(0, 5, (n,))


TASKS: dict[str, tuple[Callable[[], Any], Callable[[int], Any]]] = {
    "mlp": (mlp, lambda n: (torch.randn(n, 12), classes(n))),
    "gpt": (Scores, lambda n: (torch.randint(0, 11, (n, 9)), torch.randint(0, 11, (n, 9)))),
    "lstm": (Reader, lambda n: (torch.randn(n, 4, 6), classes(n))),
    "convnet": (convnet, lambda n: (torch.randn(n, 1, 8, 8), classes(n))),
}


def make_step(model: Any, optimizer: Any, clip: bool = True) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    return step


def train(
    compile: Any, task: str, steps: int, batch: int, name: str = "adamw",
    between: Callable[[int, Any, Any], None] = lambda i, model, optimizer: None,
    looks: Callable[[int], bool] = lambda i: True,
) -> list[Any]:  # fmt: skip
    """Run so many steps; all that was seen."""
    make, data = TASKS[task]
    model = make()
    optimizer = OPTIMIZERS[name](model.parameters())
    run = compile(make_step(model, optimizer))
    seen: list[Any] = []
    for i in range(steps):
        n = batch - 3 if i % 10 == 9 else batch  # the last batch of an epoch is smaller
        loss = run(*data(n))
        seen.append(loss.item())
        if looks(i):
            seen.append((bits(loss), loss.requires_grad, left_behind(model, optimizer)))
        between(i, model, optimizer)
    return seen


@pytest.mark.parametrize(
    ("task", "batch"), [("mlp", 8), ("mlp", 64), ("gpt", 4), ("lstm", 5), ("convnet", 6)]
)
def test_500_steps_are_those_of_eager(task: str, batch: int) -> None:
    def looks(i: int) -> bool:
        return i < 12 or i % 100 == 99

    (run,) = both_ways(lambda compile: train(compile, task, 500, batch, looks=looks))
    assert run.looks == 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str) -> None:
    both_ways(lambda compile: train(compile, "mlp", 12, 8, name))


def test_what_happens_between_steps() -> None:
    """Schedules, other rates, evaluation, loading, hooks, frozen layers: seen at the next step."""
    checkpoints: dict[int, Any] = {}
    log: list[Any] = []

    def between(i: int, model: Any, optimizer: Any) -> None:
        group = optimizer.param_groups[0]
        if i == 4:
            group["lr"] = 3e-3
        elif i == 6:
            checkpoints[id(model)] = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        elif i == 9:
            model.eval()
            log.append(model(torch.ones(2, 12)).tolist())
            model.train()
        elif i == 12:
            saved = checkpoints[id(model)]
            model.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
        elif i == 15:
            model[0].weight.register_hook(lambda g: g * 2)
        elif i == 18:
            model[3].bias.register_post_accumulate_grad_hook(
                lambda p: None if p.grad.mul_(3) is p else None
            )
        elif i == 21:
            model[0].register_forward_hook(lambda m, args, y: y * 2)
        elif i == 24:
            model[3].weight.requires_grad_(False)
        elif i == 27:
            model[3].weight.data = torch.ones(32, 32)
        elif i == 28:
            torch.autograd.graph.register_multi_grad_hook(
                [model[0].weight, model[7].bias],
                lambda gs: log.extend([None if g is None else g.tolist() for g in gs]),
            )
        elif i == 30:
            optimizer.register_step_post_hook(lambda o, a, k: log.append("stepped"))
        elif i == 33:
            model.eval()
        elif i == 36:
            model[2].p = 0.6
            model.train()

    def script(compile: Any) -> list[Any]:
        log.clear()
        return [*train(compile, "mlp", 40, 8, between=between), *log]

    (run,) = both_ways(script, is_recorded=None)
    assert "recorded" in explained(run)


@pytest.mark.parametrize("inside", [True, False])
def test_a_schedule(inside: bool) -> None:
    def script(compile: Any) -> list[Any]:
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        one = make_step(model, optimizer)

        def both(x: Any, y: Any) -> Any:
            loss = one(x, y)
            scheduler.step()
            return loss

        run = compile(both if inside else one)
        for _ in range(30):
            run(torch.randn(8, 12), classes(8))
            if not inside:
                scheduler.step()
        return [left_behind(model, optimizer), scheduler.state_dict()]

    (run,) = both_ways(script)
    assert run.looks == 2


def test_gradients_are_kept_added_and_shared_as_in_eager() -> None:
    """A gradient somebody holds is not written again; without zero_grad gradients add up."""

    def script(compile: Any) -> list[Any]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(8, 12), classes(8)

        def halves() -> Any:
            for a, b in ((x[:4], y[:4]), (x[4:], y[4:])):
                (F.cross_entropy(model(a), b) / 2).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        run, run_halves = compile(make_step(model, optimizer, clip=False)), compile(halves)
        held, losses = [], []
        for _ in range(6):
            losses.append(run(x, y))
            held.append([p.grad for p in model.parameters()])
        for _ in range(5):
            run_halves()
        with pytest.raises(RuntimeError, match="second time"):
            losses[-1].backward()
        return [[bits(g) for gs in held for g in gs], [bits(loss) for loss in losses],
                left_behind(model, optimizer)]  # fmt: skip

    both_ways(script)


def test_other_words_for_the_same() -> None:
    def script(compile: Any) -> list[Any]:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())

        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            losses = F.cross_entropy(model(x), y, reduction="none")
            losses.mean().backward(retain_graph=True)
            losses.max().backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.01)
            norm = nn.utils.clip_grad_norm_([*model.parameters()], 0.01, norm_type=1)
            optimizer.step()
            return {"norm": norm * 2, "loss": losses.detach().mean()}

        run = compile(step)
        said = [run(torch.randn(8, 12), classes(8)) for _ in range(6)]
        return [[(k, bits(v)) for one in said for k, v in one.items()],
                left_behind(model, optimizer)]  # fmt: skip

    both_ways(script)


def test_a_kept_graph_can_be_walked_again() -> None:
    w = nn.Parameter(torch.ones(3))

    def step(x: Any) -> Any:
        loss = (w * x).sum()
        loss.backward(retain_graph=True)
        return loss

    run = torch.compile(step)
    for call in range(1, 6):
        run(torch.ones(3)).backward()
        assert w.grad is not None and w.grad.tolist() == [2.0 * call] * 3
    assert "could be walked" in explained(run)


def test_ignored_classes_may_come_after_the_recording() -> None:
    def script(compile: Any) -> list[Any]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run = compile(make_step(model, optimizer))
        for i in range(8):
            y = classes(8)
            if i > 4:
                y[2] = -100
            run(torch.randn(8, 12), y)
        return left_behind(model, optimizer)

    both_ways(script)


def test_errors_leave_what_eager_leaves() -> None:
    def script(compile: Any) -> list[Any]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run = compile(make_step(model, optimizer))
        for i in range(8):
            if i == 5:
                with pytest.raises(IndexError) as caught:
                    run(torch.randn(8, 12), classes(8) + 3)
            else:
                run(torch.randn(8, 12), classes(8))
        return [left_behind(model, optimizer), str(caught.value)]

    both_ways(script, is_recorded=None)


# ---- what is not recorded, and why


def not_recorded(change: str) -> Callable[..., Any]:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        if change == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x), y)
        else:
            loss = F.cross_entropy(model(x), y)
        if change == "create_graph":
            loss.backward(create_graph=True)
        elif change == "scaler":
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss
        else:
            loss.backward()
        if change == "reads a gradient" and next(model.parameters()).grad.norm() > 0.1:
            return loss
        if change == "closure":
            optimizer.step(lambda: F.cross_entropy(model(x), y))
            return loss
        optimizer.step()
        return loss.item() if change == "item" else loss

    return step


@pytest.mark.parametrize(
    "change", ["autocast", "create_graph", "scaler", "reads a gradient", "closure", "item"]
)
def test_a_reason_where_nothing_is_recorded(change: str) -> None:
    def script(compile: Any) -> list[Any]:
        run = compile(not_recorded(change))
        losses = [run(torch.randn(8, 12), classes(8)) for _ in range(6)]
        return [x if isinstance(x, float) else x.item() for x in losses]

    (run,) = both_ways(script, is_recorded=False)
    assert "runs as it is: " in explained(run)


# ---- any layers


LAYERS: dict[str, Callable[[], Any]] = {
    "linear": lambda: nn.Linear(6, 6), "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid, "silu": nn.SiLU, "leaky": lambda: nn.LeakyReLU(0.1),
    "norm": lambda: nn.LayerNorm(6), "dropout": lambda: nn.Dropout(0.3),
    "softmax": lambda: nn.Softmax(-1), "without bias": lambda: nn.Linear(6, 6, bias=False),
    "elu": nn.ELU, "rms": lambda: nn.RMSNorm(6), "prelu": nn.PReLU,
}  # fmt: skip


class Stack(nn.Module):
    def __init__(self, names: list[str], residual: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([LAYERS[name]() for name in names])
        self.residual = residual

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x) + x if self.residual else layer(x)
        return x


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=6),
    name=st.sampled_from(sorted(OPTIMIZERS)),
    residual=st.booleans(), clip=st.booleans(), double=st.booleans(), turned=st.booleans(),
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=2), mse=st.booleans(),
)  # fmt: skip
def test_any_stack_of_layers(
    names: list[str], name: str, residual: bool, clip: bool, double: bool, turned: bool,
    rows: list[int], mse: bool,
) -> None:  # fmt: skip
    def script(compile: Any) -> list[Any]:
        model: Any = Stack(["linear", *names], residual)
        x, target = torch.randn(*rows, 6), torch.randn(*rows, 6)
        if turned:
            x = torch.randn(6, *rows).movedim(0, -1)
        if double:
            model, x, target = model.double(), x.double(), target.double()
        optimizer = OPTIMIZERS[name](model.parameters())

        def step(x: Any, target: Any) -> Any:
            optimizer.zero_grad()
            y = model(x)
            loss = F.mse_loss(y, target) if mse else (y * target).sum() + y.mean()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            return loss.detach(), y.detach()

        run = compile(step)
        for _ in range(5):
            loss, y = run(x, target)
        return [bits(loss), bits(y), left_behind(model, optimizer)]

    both_ways(script)


# ---- interrupts


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_replay(kind: type[BaseException], request: pytest.FixtureRequest) -> None:
    """Of each parameter the step is made or not; the next one is that of an eager twin."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5))
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = torch.randn(6, 4), classes(6)
    step = make_step(model, optimizer)
    compiled = torch.compile(step)
    for _ in range(4):
        compiled(x, y)
    assert recorded(compiled)
    stopped = 0
    for interrupter in sweep(request, lambda: compiled(x, y), 40, kind=kind):
        values = {p: (p.tolist(), optimizer.state[p]["step"].item()) for p in model.parameters()}
        stopped += interrupter.run(lambda: compiled(x, y))
        for p, (value, count) in values.items():
            moved = p.tolist() != value
            assert optimizer.state[p]["step"].item() == count + moved, interrupter.where
        assert torch.is_grad_enabled()
        saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        after = []
        for run in (compiled, step):
            model.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
            torch.manual_seed(5)
            after.append((run(x, y).item(), left_behind(model, optimizer)))
        assert after[0] == after[1], interrupter.where
    assert stopped > 20


def test_the_plan_of_an_mlp_is_calls_of_numpy() -> None:
    """What operations come to in a plan (compiler/lower.py) follows their rules as they are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = torch.compile(make_step(model, optimizer))
    for _ in range(3):
        run(torch.randn(8, 12), classes(8))
    plan = explained(run)
    assert plan.count("np.matmul") == 2 + 1 + 2 * 2  # forward, to the activation, to each parameter
    assert plan.count("out=") == 2 + 1 + 1  # biases, relu, dropout's gradient
    for name in ("linear", "relu", "mul("):
        assert name not in plan.replace("np.matmul(", "")


def test_an_optimizers_state_is_guarded_where_the_step_names_it() -> None:
    """Of what only the optimizer looks at, nothing is guarded; its replay looks at it again."""
    found = []
    for compiled in (False, True):
        w = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([w], lr=0.1)

        def step(w: Any = w, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (w * w).sum() * (2 if "exp_avg" in optimizer.state.get(w, ()) else 1)
            loss.backward()
            optimizer.step()
            return loss.detach()

        run = torch.compile(step) if compiled else step
        losses = [run().item() for _ in range(5)]
        optimizer.state.clear()
        losses += [run().item() for _ in range(2)]
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        found.append(losses + [run().item() for _ in range(3)])
        assert not compiled or "recorded:" in explained(run)
    assert found[0] == found[1]
