"""KeyboardInterrupt and MemoryError anywhere in a training step: what is left is consistent.

Of each parameter a step is done or not done, and its counters agree with it; the generator goes on
with its stream, gradients are added whole, modes are as they were, and the next step runs.  A
sample of the places; `pytest --sweep` tries every bytecode.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import strict_cupy
from interrupting import sweep

import tinygrad_edu as torch
from tinygrad_edu import nn

KINDS = [KeyboardInterrupt, MemoryError]
A = torch.optim
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: A.SGD(p, lr=0.1),
    "momentum": lambda p: A.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, dampening=0.5),
    "nesterov": lambda p: A.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: A.Adam(p, amsgrad=True, weight_decay=0.1),
    "adamw": lambda p: A.AdamW(p, maximize=True),
    "capturable": lambda p: A.AdamW(p, capturable=True, amsgrad=True),
    "adadelta": lambda p: A.Adadelta(p),
    "adafactor": lambda p: A.Adafactor(p, weight_decay=0.1),
    "adagrad": lambda p: A.Adagrad(p),
    "adamax": lambda p: A.Adamax(p),
    "asgd": lambda p: A.ASGD(p),
    "muon": lambda p: A.Muon([x for x in p if x.ndim == 2]),
    "nadam": lambda p: A.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: A.RAdam(p),
    "rmsprop": lambda p: A.RMSprop(p, momentum=0.9, centered=True),
    "rprop": lambda p: A.Rprop(p),
}
S = A.lr_scheduler
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "exponential": lambda o: S.ExponentialLR(o, 0.5),
    "one cycle": lambda o: S.OneCycleLR(o, 1.0, total_steps=20),
    "restarts": lambda o: S.CosineAnnealingWarmRestarts(o, 2),
    "plateau": lambda o: S.ReduceLROnPlateau(o, patience=0),
    "sequential": lambda o: S.SequentialLR(
        o, [S.ConstantLR(o, 0.5), S.ExponentialLR(o, 0.5)], milestones=[2]
    ),
    "chained": lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.5), S.ExponentialLR(o, 0.5)]),
}
SHAPES = {
    "small": [(3, 4), (5,)],
    "half": [(3, 4)],
    "large": [(700, 701), (3,)],  # updated block by block
    "many": [(3,)] * 70,  # more than one launch takes
}


def content(x: Any) -> bytes:
    found: bytes = x.detach().cpu().array.tobytes()
    return found


def parts(optimizer: Any, p: Any) -> dict[str, Any]:
    """A parameter and what is remembered of it; nothing remembered is as good as zeros."""
    state = optimizer.state.get(p, {})
    found = {k: content(v) for k, v in state.items() if isinstance(v, torch.Tensor)}
    return {"x": content(p), **found}


def trained(name: str, size: str, device: str = "cpu") -> tuple[list[Any], Any]:
    """Parameters with gradients, and an optimizer that has made a step."""
    torch.manual_seed(1)
    dtype = torch.float16 if size == "half" else torch.float32
    params = [nn.Parameter(torch.randn(shape).to(device, dtype)) for shape in SHAPES[size]]
    for p in params:
        p.grad = torch.randn(p.shape).to(device, dtype)
    optimizer = OPTIMIZERS[name](params)
    optimizer.step()
    return optimizer.param_groups[0]["params"], optimizer


def samples(size: str) -> int:
    return 6 if size in ("large", "many") else 16


@pytest.mark.parametrize("size", ["small", "half", "large"])
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "capturable"])
def test_a_step_is_done_or_not_done(name: str, size: str, request: pytest.FixtureRequest) -> None:
    done_or_not_done(*trained(name, size), samples(size), request)


@pytest.mark.parametrize("size", ["small", "half", "many"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw", "capturable", "rmsprop"])
def test_a_step_on_a_gpu(name: str, size: str, request: pytest.FixtureRequest) -> None:
    """Where one launch moves many parameters and their counters are apart."""
    with strict_cupy.installed():
        done_or_not_done(*trained(name, size, "cuda"), samples(size), request)


def done_or_not_done(
    params: list[Any], optimizer: Any, samples: int, request: pytest.FixtureRequest
) -> None:
    """Interrupt steps; those of which nothing is done must be among them."""
    saved = [p.detach().clone() for p in params], deepcopy(optimizer.state_dict())

    def back() -> None:
        for p, value in zip(params, saved[0], strict=True):
            p.data.copy_(value)
        optimizer.load_state_dict(saved[1])

    back()
    before = [parts(optimizer, p) for p in params]
    optimizer.step()
    after = [parts(optimizer, p) for p in params]
    assert before != after
    folder, outcomes = ("optim", "kernels"), set()
    for i, interrupter in enumerate(sweep(request, optimizer.step, samples, folder)):
        back()
        interrupter.kind = KINDS[i % 2]
        assert interrupter.run(optimizer.step)
        now = [parts(optimizer, p) for p in params]
        for found, old, new in zip(now, before, after, strict=True):
            assert found in (old, new), interrupter.where
            outcomes.add(found == new)
        optimizer.step()  # the next one runs
    assert False in outcomes


class Alarm(BaseException):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs Unix")
@pytest.mark.parametrize("name", ["nesterov", "adamw", "rmsprop"])
def test_alarms_at_any_time(name: str, request: pytest.FixtureRequest) -> None:
    """Real signals, which may fall into the middle of a call of NumPy."""
    params, optimizer = trained(name, "large")
    start = time.perf_counter()
    optimizer.step()
    duration = 1.2 * (time.perf_counter() - start)
    rng = random.Random(0)

    def ring(number: int, frame: Any) -> None:
        raise Alarm

    def states() -> list[Any]:
        return [parts(optimizer, p) for p in params]

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(2000 if request.config.getoption("--sweep") else 40):
            old, saved = states(), deepcopy(optimizer.state_dict())
            values = [p.detach().clone() for p in params]
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, duration))
                optimizer.step()
                time.sleep(2 * duration)
            except Alarm:
                pass
            found = states()
            for p, value in zip(params, values, strict=True):
                p.data.copy_(value)
            optimizer.load_state_dict(saved)
            optimizer.step()
            assert all([one in pair for one, *pair in zip(found, old, states(), strict=True)])
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_first_step(request: pytest.FixtureRequest) -> None:
    """The state is made in it: it is there with a step counted, or the parameter has not moved."""
    for name in OPTIMIZERS:
        first_step(name, "cpu", request)
    with strict_cupy.installed():
        first_step("nesterov", "cuda", request)


def first_step(name: str, device: str, request: pytest.FixtureRequest) -> None:
    def fresh() -> tuple[Any, Any]:
        x = nn.Parameter(torch.tensor([[1.0, 2.0]], device=device))
        x.grad = torch.tensor([[0.5, -1.0]], device=device)
        return x, OPTIMIZERS[name]([x])

    def run() -> None:
        fresh()[1].step()

    moved, optimizer = fresh()
    optimizer.step()
    for interrupter in sweep(request, run, 15, ("optim", "kernels")):
        x, again = fresh()
        if not interrupter.run(again.step):
            continue
        if x.tolist() == [[1.0, 2.0]]:
            assert again.state.get(x, {}).get("step", torch.zeros(())).item() == 0
            again.step()
        assert parts(again, x) == parts(optimizer, moved), (name, interrupter.where)


def training() -> tuple[Any, Any, Callable[[], None]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = A.AdamW(model.parameters())
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return model, optimizer, step


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step(kind: type[BaseException], request: pytest.FixtureRequest) -> None:
    """Whatever was interrupted, each parameter's count of steps is that of its updates."""
    model, optimizer, step = training()
    step()
    stream = torch.default_generator
    for interrupter in sweep(request, step, 40, kind=kind):
        start = stream.clone_state()
        values = {p: (p.tolist(), optimizer.state[p]["step"].item()) for p in model.parameters()}
        interrupter.run(step)
        for p, (value, count) in values.items():
            moved = p.tolist() != value
            assert optimizer.state[p]["step"].item() == count + moved, interrupter.where
        # the numbers go on where they were, or behind those that a dropout has taken
        coming = start.clone_state().words(208).tobytes()
        assert stream.clone_state().words(8).tobytes() in coming, interrupter.where
        assert torch.is_grad_enabled()
    step()


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * g + 0 * x


@pytest.mark.parametrize("kind", KINDS)
def test_function_backward_and_hooks(
    kind: type[BaseException], request: pytest.FixtureRequest
) -> None:
    """A gradient is the old one, or the old one and the new; hooks fire again in the next pass."""
    fired: list[str] = []
    w = torch.ones(3, requires_grad=True)
    w.register_hook(lambda g: fired.append("tensor"))
    w.register_post_accumulate_grad_hook(lambda p: fired.append("accumulated"))
    linear = nn.Linear(3, 1)
    linear.register_forward_hook(lambda *args: fired.append("forward"))
    linear.register_full_backward_hook(lambda *args: fired.append("backward"))

    def run() -> None:
        linear(Doubled.apply(w)).sum().backward()

    run()
    assert w.grad is not None
    one = w.grad.tolist()
    for interrupter in sweep(request, run, 40, kind=kind):
        w.grad = torch.zeros(3)
        interrupter.run(run)
        assert w.grad.tolist() in ([0.0] * 3, one), interrupter.where
        w.grad = None
        fired.clear()
        run()
        assert w.grad.tolist() == one
        assert fired == ["forward", "backward", "tensor", "accumulated"], interrupter.where


def rates(scheduler: Any) -> str:
    """All that a scheduler has set and remembers."""
    groups = scheduler.optimizer.param_groups
    options = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    return f"{options} {groups[1]['lr'].item()} {scheduler.state_dict()}"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedulers_step(name: str, request: pytest.FixtureRequest) -> None:
    """All learning rates and counters are those before the step, or those after it."""

    def fresh() -> tuple[Any, Callable[[], None]]:
        lrs = 0.1, torch.tensor(0.2)  # a tensor is filled in place
        groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs]
        optimizer = A.SGD(groups, momentum=0.9)
        scheduler, args = SCHEDULERS[name](optimizer), (1.0,) if name == "plateau" else ()
        optimizer.step()
        scheduler.step(*args)
        return scheduler, lambda: scheduler.step(*args)

    scheduler, step = fresh()
    before = rates(scheduler)
    step()
    after, found = rates(scheduler), set()
    assert before != after
    for i, interrupter in enumerate(sweep(request, fresh()[1], 20)):
        scheduler, step = fresh()
        interrupter.kind = KINDS[i % 2]
        interrupter.run(step)
        found.add(rates(scheduler))
        assert found <= {before, after}, interrupter.where
    assert before in found


def test_a_gradient_scaler(request: pytest.FixtureRequest) -> None:
    """Gradients are divided by the scale once, all or none; the scale and its counter agree."""
    p = [nn.Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = A.SGD(p, lr=0.5)
    start = torch.amp.GradScaler("cpu", growth_interval=1)
    start.scale(torch.ones(()))
    saved = start.state_dict()

    def fresh() -> Any:
        scaler = torch.amp.GradScaler("cpu", growth_interval=1)
        scaler.load_state_dict(saved)
        scaler.scale(torch.ones(()))
        for x in p:
            x.data.fill_(1.0)
            x.grad = torch.full((3,), 65536.0)
        return scaler

    def run(scaler: Any) -> None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(p, 1.5)
        scaler.step(optimizer)
        scaler.update()

    scaler = fresh()
    for i, interrupter in enumerate(sweep(request, lambda: run(fresh()), 60)):
        scaler = fresh()
        interrupter.kind = KINDS[i % 2]
        interrupter.run(lambda scaler=scaler: run(scaler))
        grads = {tuple(x.grad.tolist()) for x in p if x.grad is not None}
        assert len(grads) == 1, interrupter.where
        stage = scaler._per_optimizer_states[id(optimizer)]["stage"].name
        grad, scale = grads.pop()[0], scaler.get_scale()
        assert (scale == 131072) == (stage == "READY" and grad != 65536), interrupter.where
        assert (grad == 65536) == (stage == "READY" and scale == 65536), interrupter.where
        scaler.update(65536.0)  # as in torch, it is what ends an iteration
        run(scaler)
