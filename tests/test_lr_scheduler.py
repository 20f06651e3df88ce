"""Schedulers against torch's: every learning rate of a hundred steps, to the last bit."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import pytest

import tinygrad_edu as tg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")

LRS = (0.5, 0.03)


def make(m, kind="SGD", lrs=LRS, **options):
    """An optimizer with two groups, of either library."""
    if kind == "SGD":
        options.setdefault("momentum", 0.9)
    groups = [{"params": [m.ones(1, requires_grad=True)], "lr": lr} for lr in lrs]
    return getattr(m.optim, kind)(groups, lr=0.1, **options)


class Factor:
    """A callable object: its attributes are saved."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate**epoch


def chained(m, o):
    s = m.optim.lr_scheduler
    parts = [s.ConstantLR(o, 0.3, 4), s.ExponentialLR(o, 0.93), s.StepLR(o, 7, 0.5)]
    return s.ChainedScheduler(parts)


def sequential(m, o):
    s = m.optim.lr_scheduler
    parts = [s.LinearLR(o, 0.1, 1.0, 8), s.CosineAnnealingLR(o, 30), s.ExponentialLR(o, 0.97)]
    return s.SequentialLR(o, parts, milestones=[8, 50])


def nested(m, o):
    s = m.optim.lr_scheduler
    inner = s.SequentialLR(o, [s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.9)], [5])
    return s.SequentialLR(o, [inner, s.CosineAnnealingWarmRestarts(o, 7, 2)], [20])


def of(name, *args, **options):
    return lambda m, o: getattr(m.optim.lr_scheduler, name)(o, *args, **options)


SCHEDULES = {
    "lambda": of("LambdaLR", lambda e: 0.95**e),
    "lambdas": of("LambdaLR", [lambda e: 1 / (e + 1), lambda e: e // 3]),
    "multiplicative": of("MultiplicativeLR", lambda e: 0.97),
    "step": of("StepLR", 7, 0.3),
    "multistep": of("MultiStepLR", [3, 3, 20, 71], 0.4),
    "constant": of("ConstantLR", 0.3, 13),
    "constant default": of("ConstantLR"),
    "linear": of("LinearLR", 0.1, 0.7, 40),
    "linear default": of("LinearLR"),
    "linear down": of("LinearLR", 1.0, 0.0, 33),
    "exponential": of("ExponentialLR", 0.95),
    "polynomial": of("PolynomialLR", 40, 0.9),
    "polynomial default": of("PolynomialLR"),
    "cosine": of("CosineAnnealingLR", 50),
    "cosine short": of("CosineAnnealingLR", 7, eta_min=0.01),
    "cosine 1": of("CosineAnnealingLR", 1),
    "restarts": of("CosineAnnealingWarmRestarts", 10),
    "restarts longer": of("CosineAnnealingWarmRestarts", 5, 2, 0.001),
    "cyclic": of("CyclicLR", 0.1, 0.5, 9, 4),
    "cyclic 2": of("CyclicLR", [0.1, 0.2], [0.5, 0.6], 11, mode="triangular2"),
    "cyclic exp": of("CyclicLR", 0.1, 0.5, 6, mode="exp_range", gamma=0.99),
    "cyclic own": of("CyclicLR", 0.1, 0.5, 6, scale_fn=Factor(0.9), scale_mode="iterations"),
    "one cycle": of("OneCycleLR", 1.0, 100),
    "one cycle linear": of("OneCycleLR", [1.0, 0.5], epochs=10, steps_per_epoch=10,
                           pct_start=0.25, anneal_strategy="linear", div_factor=10.0),
    "one cycle three": of("OneCycleLR", 1.0, 120, three_phase=True, cycle_momentum=False),
    "chained": chained,
    "sequential": sequential,
    "nested": nested,
}  # fmt: skip
NAMES = list(SCHEDULES)


def options_of(optimizer):
    keys = ("lr", "momentum", "betas", "initial_lr", "max_lr", "min_lr")
    return [{k: group[k] for k in keys if k in group} for group in optimizer.param_groups]


def walk(schedules, optimizers, steps):
    for _ in range(steps):
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        ours, theirs = optimizers
        assert options_of(ours) == options_of(theirs)
        assert schedules[0].get_last_lr() == schedules[1].get_last_lr()


def plain(state):
    """A state dict without functions."""
    return {k: v for k, v in state.items() if "scale_fn" not in k and "lambda" not in k}


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_steps(name, kind):
    optimizers = [make(tg, kind), make(torch, kind)]
    schedules = [SCHEDULES[name](m, o) for m, o in zip((tg, torch), optimizers, strict=True)]
    assert options_of(optimizers[0]) == options_of(optimizers[1])
    assert schedules[0].get_last_lr() == schedules[1].get_last_lr()
    walk(schedules, optimizers, 100)
    assert plain(schedules[0].state_dict()) == plain(schedules[1].state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_continues_a_checkpoint(name):
    """Half the way, save both, load into new ones, and go on: as torch, and as without a break."""
    whole = make(tg)
    unbroken = SCHEDULES[name](tg, whole)
    optimizers = [make(tg), make(torch)]
    schedules = [SCHEDULES[name](m, o) for m, o in zip((tg, torch), optimizers, strict=True)]
    walk(schedules, optimizers, 41)
    fresh = [make(tg), make(torch)]
    resumed = [SCHEDULES[name](m, o) for m, o in zip((tg, torch), fresh, strict=True)]
    for i in range(2):
        resumed[i].load_state_dict(copy.deepcopy(schedules[i].state_dict()))
        fresh[i].load_state_dict(copy.deepcopy(optimizers[i].state_dict()))
    walk(resumed, fresh, 41)
    whole.step()
    for _ in range(82):
        unbroken.step()
    assert options_of(whole) == options_of(fresh[0])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("chained", "sequential", "nested")])
def test_torchs_scheduler_state_is_ours(name):
    optimizers = [make(tg), make(torch)]
    schedules = [SCHEDULES[name](m, o) for m, o in zip((tg, torch), optimizers, strict=True)]
    for _ in range(10):
        optimizers[1].step()
        schedules[1].step()
    state = {k: v for k, v in schedules[1].state_dict().items() if k != "_scale_fn_ref"}
    schedules[0].load_state_dict(state)
    saved = optimizers[1].state_dict() | {"state": {}}
    optimizers[0].load_state_dict(saved)
    walk(schedules, optimizers, 20)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if not n.startswith(("cyclic", "one", "chained", "seq", "nest"))]
)
def test_starts_at_a_last_epoch(name):
    """`last_epoch=12` without a state dict."""
    made = []
    for m in (tg, torch):
        optimizer = make(m)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] * 2
        schedule = SCHEDULES[name](m, optimizer)  # only to learn its arguments
        del schedule
        for group, lr in zip(optimizer.param_groups, LRS, strict=True):
            group["lr"] = lr
        made.append(optimizer)
    arguments = {
        "lambda": ("LambdaLR", lambda e: 0.95**e), "lambdas": ("LambdaLR", lambda e: 1 / (e + 1)),
        "multiplicative": ("MultiplicativeLR", lambda e: 0.97), "step": ("StepLR", 13),
        "multistep": ("MultiStepLR", [13, 20]), "constant": ("ConstantLR", 0.3, 13),
        "constant default": ("ConstantLR",), "linear": ("LinearLR", 0.1, 0.7, 40),
        "linear default": ("LinearLR",), "linear down": ("LinearLR", 1.0, 0.0, 33),
        "exponential": ("ExponentialLR", 0.9), "polynomial": ("PolynomialLR", 40, 0.9),
        "polynomial default": ("PolynomialLR",), "cosine": ("CosineAnnealingLR", 50),
        "cosine short": ("CosineAnnealingLR", 7, 0.01), "cosine 1": ("CosineAnnealingLR", 1),
        "restarts": ("CosineAnnealingWarmRestarts", 10),
        "restarts longer": ("CosineAnnealingWarmRestarts", 5, 2),
    }[name]  # fmt: skip
    schedules = [
        getattr(m.optim.lr_scheduler, arguments[0])(o, *arguments[1:], last_epoch=12)
        for m, o in zip((tg, torch), made, strict=True)
    ]
    assert options_of(made[0]) == options_of(made[1])
    walk(schedules, made, 20)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("chained", "sequential", "nested")])
def test_going_to_an_epoch(name):
    optimizers = [make(tg), make(torch)]
    schedules = [SCHEDULES[name](m, o) for m, o in zip((tg, torch), optimizers, strict=True)]
    for epoch in (3, 0, 17, 5, 29, 30, 64):
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                schedule.step(epoch)
        assert options_of(optimizers[0]) == options_of(optimizers[1])
    walk(schedules, optimizers, 5)


def test_restarts_at_a_fraction_of_an_epoch():
    for longer in (1, 3):
        optimizers = [make(tg), make(torch)]
        schedules = [
            m.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4, longer)
            for m, o in zip((tg, torch), optimizers, strict=True)
        ]
        for batch in range(200):
            for schedule in schedules:
                schedule.step(batch / 10)
            assert options_of(optimizers[0]) == options_of(optimizers[1])
        with pytest.raises(ValueError, match="Expected non-negative epoch"):
            schedules[0].step(-1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2, "cooldown": 3, "factor": 0.5},
        {"mode": "max", "patience": 1, "threshold": 0.1},
        {"patience": 1, "threshold": 0.05, "threshold_mode": "abs", "min_lr": [0.1, 0.001]},
        {"mode": "max", "threshold_mode": "abs", "patience": 0, "min_lr": 0.01, "eps": 1e-3},
    ],
)
def test_plateau(options):
    optimizers = [make(tg), make(torch)]
    schedules = [
        m.optim.lr_scheduler.ReduceLROnPlateau(o, **options)
        for m, o in zip((tg, torch), optimizers, strict=True)
    ]
    for epoch in range(100):
        metric = math.sin(epoch * 0.7) / (1 + epoch // 20) + 2
        schedules[0].step(tg.tensor(metric, dtype=tg.float64) if epoch % 2 else metric)
        schedules[1].step(metric)
        assert options_of(optimizers[0]) == options_of(optimizers[1])
        assert schedules[0].state_dict() == schedules[1].state_dict()
        if epoch == 50:
            fresh = tg.optim.lr_scheduler.ReduceLROnPlateau(optimizers[0])
            fresh.load_state_dict(schedules[1].state_dict())
            schedules[0] = fresh


def test_plateau_and_a_new_group():
    made = []
    for m in (tg, torch):
        optimizer = make(m)
        schedule = m.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0, 0])
        optimizer.add_param_group({"params": m.ones(1, requires_grad=True)})
        schedule.step(1.0)
        with pytest.raises(RuntimeError, match="differs from when") as error:
            schedule.step(1.0)
        made.append(str(error.value))
    assert made[0] == made[1]


@pytest.mark.parametrize("lrs", [LRS, LRS[:1]], ids=["of two", "of one"])
@pytest.mark.parametrize("extra", [{}, {"initial_lr": 0.25}], ids=["", "with initial_lr"])
@pytest.mark.parametrize("name", [*NAMES, "swa"])
def test_a_group_that_is_added_later(name, extra, lrs):
    """Goes on in torch where each rate follows from the one before; elsewhere both refuse."""
    if len(lrs) == 1 and name in ("lambdas", "cyclic 2", "one cycle linear"):
        return  # these name two groups
    build = SCHEDULES.get(name, lambda m, o: m.optim.swa_utils.SWALR(o, 0.05, 6))
    optimizers = [make(tg, lrs=lrs), make(torch, lrs=lrs)]
    schedules = [build(m, o) for m, o in zip((tg, torch), optimizers, strict=True)]
    walk(schedules, optimizers, 3)
    for m, optimizer in zip((tg, torch), optimizers, strict=True):
        optimizer.add_param_group({"params": m.ones(1, requires_grad=True), "lr": 0.4, **extra})
    for _ in range(60):
        try:
            schedules[1].step()
        except (ValueError, KeyError) as error:  # torch has changed some of the groups by then
            before = options_of(optimizers[0])
            with pytest.raises(type(error), match="param_groups|initial_lr|max_lr|swa_lr"):
                schedules[0].step()
            assert options_of(optimizers[0]) == before
            break
        schedules[0].step()
        assert options_of(optimizers[0]) == options_of(optimizers[1])
        assert schedules[0].get_last_lr() == schedules[1].get_last_lr()


def test_learning_rate_tensors_are_filled_in_place():
    optimizers = [
        m.optim.SGD([m.ones(1, requires_grad=True)], lr=m.tensor(0.5)) for m in (tg, torch)
    ]
    schedules = [
        m.optim.lr_scheduler.CosineAnnealingLR(o, 10)
        for m, o in zip((tg, torch), optimizers, strict=True)
    ]
    held = optimizers[0].param_groups[0]["lr"]
    for _ in range(12):
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        found = schedules[0].get_last_lr()[0].item()
        assert found == pytest.approx(schedules[1].get_last_lr()[0].item(), rel=1e-5, abs=1e-7)
    assert optimizers[0].param_groups[0]["lr"] is held
    assert schedules[0].get_last_lr()[0] is not held


def messages(m, act):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act(m)
    if m is tg:  # they point at the caller
        assert all(w.filename == __file__ for w in caught)
    return [(w.category, str(w.message)) for w in caught]


def wrong_order(m):
    optimizer = make(m)
    schedule = m.optim.lr_scheduler.StepLR(optimizer, 1)
    schedule.step()
    optimizer.step()
    schedule.step()


def right_order(m):
    optimizer = make(m)
    schedule = m.optim.lr_scheduler.StepLR(optimizer, 1)
    second = m.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for _ in range(3):
        optimizer.step()
        schedule.step()
        second.step()


def overridden(m):
    optimizer = make(m)
    schedule = m.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step = lambda: None
    optimizer.step()
    schedule.step()


def with_epoch(m):
    optimizer = make(m)
    schedule = m.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    schedule.step(3)


def asks_get_lr(m):
    m.optim.lr_scheduler.ExponentialLR(make(m), 0.9).get_lr()


@pytest.mark.parametrize("act", [wrong_order, right_order, overridden, with_epoch, asks_get_lr])
def test_the_same_warnings_in_the_same_words(act):
    expected = messages(torch, act)
    assert messages(tg, act) == expected
    assert bool(expected) == (act is not right_order)


def test_a_step_replaced_before_the_scheduler_is_made():
    optimizer = make(tg)
    calls = []
    optimizer.step = lambda: calls.append(1)
    schedule = tg.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()
    assert calls == [1]


def errors(m):
    o, s = make(m), m.optim.lr_scheduler
    other, bare = make(m), m.optim.Adadelta([m.ones(1, requires_grad=True)])
    step, foreign = s.StepLR(o, 1), s.StepLR(other, 1)
    plateau = s.ReduceLROnPlateau(o)
    return [
        lambda: s.StepLR(1, 1),
        lambda: s.StepLR(bare, 1, last_epoch=3),
        lambda: s.LambdaLR(o, [lambda e: 1]),
        lambda: s.MultiplicativeLR(o, 3),
        lambda: s.ConstantLR(o, 1.1),
        lambda: s.LinearLR(o, 0),
        lambda: s.LinearLR(o, 0.5, 2),
        lambda: s.CosineAnnealingWarmRestarts(o, 0),
        lambda: s.CosineAnnealingWarmRestarts(o, 1.5),
        lambda: s.CosineAnnealingWarmRestarts(o, 1, 0),
        lambda: s.CosineAnnealingWarmRestarts(o, 1, 1, "0"),
        lambda: s.SequentialLR(o, [], []),
        lambda: s.SequentialLR(o, [step], [1]),
        lambda: s.SequentialLR(o, [step, plateau], [1]),
        lambda: s.SequentialLR(o, [1], []),
        lambda: s.ChainedScheduler([]),
        lambda: s.ChainedScheduler([step, plateau]),
        lambda: s.ReduceLROnPlateau(o, factor=1),
        lambda: s.ReduceLROnPlateau(1),
        lambda: s.ReduceLROnPlateau(o, mode="least"),
        lambda: s.ReduceLROnPlateau(o, threshold_mode="x"),
        lambda: s.ReduceLROnPlateau(o, min_lr=[1]),
        lambda: s.CyclicLR(o, 0.1, 0.2, mode="square"),
        lambda: s.CyclicLR(o, [0.1], 0.2),
        lambda: s.CyclicLR(bare, 0.1, 0.2),
        lambda: s.OneCycleLR(o, 1.0),
        lambda: s.OneCycleLR(o, 1.0, 0),
        lambda: s.OneCycleLR(o, 1.0, epochs=0, steps_per_epoch=3),
        lambda: s.OneCycleLR(o, 1.0, epochs=3, steps_per_epoch=1.5),
        lambda: s.OneCycleLR(o, 1.0, 10, pct_start=2.0),
        lambda: s.OneCycleLR(o, 1.0, 10, anneal_strategy="x"),
        lambda: s.OneCycleLR(o, [1.0], 10),
        lambda: s.OneCycleLR(bare, 1.0, 10),
        lambda: s.LRScheduler(make(m)),
        lambda: s.SequentialLR(o, [step, foreign], [1]),
        lambda: s.ChainedScheduler([step, foreign]),
    ]


def test_the_same_errors_in_the_same_words():
    for i, (ours, theirs) in enumerate(zip(errors(tg), errors(torch), strict=True)):
        with pytest.raises(Exception) as expected:  # noqa: PT011
            theirs()
        with pytest.raises(expected.type) as found:
            ours()
        if expected.type in (KeyError, NotImplementedError):  # ours says more
            continue
        assert str(found.value) == str(expected.value), i


def test_one_cycle_ends():
    made = []
    for m in (tg, torch):
        schedule = m.optim.lr_scheduler.OneCycleLR(make(m), 1.0, 5)
        with pytest.raises(ValueError, match="Tried to step") as error, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(7):
                schedule.step()
        made.append(str(error.value))
    assert made[0] == made[1]


def test_a_users_schedule():
    class Warmup(tg.optim.lr_scheduler._LRScheduler):
        def get_lr(self):
            return [base * min(1.0, (self.last_epoch + 1) / 4) for base in self.base_lrs]

    optimizer = make(tg)
    schedule = Warmup(optimizer)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(5):
        optimizer.step()
        schedule.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]


def test_callable_objects_are_saved():
    optimizer = make(tg)
    schedule = tg.optim.lr_scheduler.LambdaLR(optimizer, Factor(0.5))
    saved = schedule.state_dict()
    assert saved["lr_lambdas"] == [{"rate": 0.5}, {"rate": 0.5}]
    other = tg.optim.lr_scheduler.LambdaLR(make(tg), Factor(0.1))
    other.load_state_dict(pickle.loads(pickle.dumps(saved)))
    assert other.lr_lambdas[0].rate == 0.5 and isinstance(other.lr_lambdas[0], Factor)
    assert saved["lr_lambdas"] == [{"rate": 0.5}, {"rate": 0.5}]  # loading changes nothing


def test_torchs_names():
    ours, theirs = tg.optim.lr_scheduler, torch.optim.lr_scheduler
    assert not [name for name in [*theirs.__all__, "_LRScheduler"] if not hasattr(ours, name)]


@pytest.mark.parametrize("options", [{}, {"anneal_epochs": 0}, {"anneal_strategy": "linear"}])
def test_swalr(options):
    optimizers = [make(tg), make(torch)]
    schedules = [
        m.optim.swa_utils.SWALR(o, [0.05, 0.01], **options)
        for m, o in zip((tg, torch), optimizers, strict=True)
    ]
    walk(schedules, optimizers, 5)
    again = [
        m.optim.swa_utils.SWALR(o, [0.05, 0.01])
        for m, o in zip((tg, torch), optimizers, strict=True)
    ]
    for new, old in zip(again, schedules, strict=True):
        new.load_state_dict(old.state_dict())
    walk(again, optimizers, 15)
