"""Optimizers against torch's: the same parameters and gradients must take the same steps."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref

import numpy as np
import pytest

import tinygrad_edu as tg

torch = pytest.importorskip("torch")

SHAPES = [(5, 7), (7,), (), (1, 3, 2), (0, 4)]
CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True, "weight_decay": 0.2, "foreach": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.8, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "maximize": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.1, "betas": (0.3, 0.6)}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "momentum_decay": 0.01}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1,
               "decoupled_weight_decay": True, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.5), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "t0": 5, "weight_decay": 0.1, "maximize": True}),
]  # fmt: skip
NAMES = sorted({name for name, _ in CASES})


def arrays(seed, dtype=np.float32, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def pair(seed, dtype=np.float32, shapes=SHAPES, device="cpu"):
    """The same parameters for both."""
    values = arrays(seed, dtype, shapes)
    ours = [tg.tensor(v.copy(), requires_grad=True, device=device) for v in values]
    theirs = [torch.tensor(v.copy(), requires_grad=True) for v in values]
    return ours, theirs


def set_gradients(ours, theirs, seed):
    values = arrays(seed, ours[0].array.dtype, [tuple(p.shape) for p in ours])
    for p, q, g in zip(ours, theirs, values, strict=True):
        p.grad, q.grad = tg.tensor(g, device=p.device), torch.tensor(g)


def run(steps, ours, theirs, optimizers, seed=100):
    for step in range(steps):
        set_gradients(ours, theirs, seed + step)
        for optimizer in optimizers:
            optimizer.step()


def same(ours, theirs, rtol, atol):
    for p, q in zip(ours, theirs, strict=True):
        expected = q.detach().numpy()
        assert p.array.dtype == expected.dtype
        assert tuple(p.shape) == expected.shape
        np.testing.assert_allclose(p.detach().cpu().numpy(), expected, rtol=rtol, atol=atol)


def to_torch(value):
    if isinstance(value, tg.Tensor):
        return torch.tensor(value.detach().numpy())
    if isinstance(value, dict):
        return {k: to_torch(v) for k, v in value.items()}
    return [to_torch(v) for v in value] if isinstance(value, list) else value


def from_torch(value):
    if isinstance(value, torch.Tensor):
        return tg.tensor(value.detach().numpy().copy())
    if isinstance(value, dict):
        return {k: from_torch(v) for k, v in value.items()}
    return [from_torch(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "options"), CASES)
def test_twenty_steps(name, options, device):
    for dtype, rtol, atol in ((np.float32, 2e-6, 2e-6), (np.float64, 1e-13, 1e-13)):
        ours, theirs = pair(1, dtype, device=device)
        optimizers = [
            getattr(m.optim, name)(p, **options) for m, p in ((tg, ours), (torch, theirs))
        ]
        run(20, ours, theirs, optimizers)
        same(ours, theirs, rtol, atol)
        state, expected = (o.state_dict() for o in optimizers)
        assert state["param_groups"] == expected["param_groups"]
        assert state["state"].keys() == expected["state"].keys()
        for key, values in expected["state"].items():
            assert list(state["state"][key]) == list(values)
            for what, value in values.items():
                found = state["state"][key][what]
                if value is None:
                    assert found is None
                    continue
                found = found.cpu().numpy()
                assert found.dtype == value.numpy().dtype
                np.testing.assert_allclose(found, value.numpy(), rtol=rtol * 10, atol=atol * 10)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_one_step_to_the_last_digits(name):
    ours, theirs = pair(2, shapes=[(300, 400)])
    optimizers = [getattr(m.optim, name)(p, lr=1e-3) for m, p in ((tg, ours), (torch, theirs))]
    run(1, ours, theirs, optimizers)
    p, q = ours[0].detach().numpy(), theirs[0].detach().numpy()
    ulp = np.abs(p - q) / np.spacing(np.maximum(np.abs(q), np.float32(1e-3)))
    assert ulp.max() <= 2


@pytest.mark.parametrize(("name", "options"), CASES)
def test_half_precision(name, options):
    ours, theirs = pair(3, np.float16, [(5, 7), (3,)])
    optimizers = [getattr(m.optim, name)(p, **options) for m, p in ((tg, ours), (torch, theirs))]
    run(5, ours, theirs, optimizers)
    same(ours, theirs, rtol=0.02, atol=0.02)
    for state in optimizers[0].state.values():
        kinds = {k: v.detach().numpy().dtype for k, v in state.items() if k in ("exp_avg", "sum")}
        assert all(kind == np.float16 for kind in kinds.values())


def test_groups_with_options_of_their_own():
    ours, theirs = pair(5)
    made = []
    for m, p in ((tg, ours), (torch, theirs)):
        groups = [{"params": p[:2], "lr": 0.2}, {"params": p[2], "momentum": 0.5}]
        optimizer = m.optim.SGD(groups, lr=0.01, momentum=0.9)
        optimizer.add_param_group({"params": p[3:], "weight_decay": 0.3})
        made.append(optimizer)
    run(6, ours, theirs, made)
    same(ours, theirs, 2e-6, 2e-6)
    assert repr(made[0]) == repr(made[1])
    assert made[0].state_dict()["param_groups"] == made[1].state_dict()["param_groups"]


def test_parameters_without_gradient_are_left_alone():
    ours, theirs = pair(6)
    made = [m.optim.Adam(p, lr=0.1) for m, p in ((tg, ours), (torch, theirs))]
    for step in range(4):
        set_gradients(ours, theirs, step)
        if step % 2:
            ours[0].grad = theirs[0].grad = None
        for optimizer in made:
            optimizer.step()
    same(ours, theirs, 2e-6, 2e-6)
    assert made[0].state[ours[0]]["step"].item() == 2


def test_learning_rate_and_betas_may_be_tensors():
    ours, theirs = pair(7)
    made = [
        m.optim.Adam(p, lr=m.tensor(0.1), betas=(m.tensor(0.8), m.tensor(0.9)))
        for m, p in ((tg, ours), (torch, theirs))
    ]
    run(5, ours, theirs, made)
    same(ours, theirs, 1e-5, 1e-5)
    ours, theirs = pair(8)
    made = [m.optim.SGD(p, lr=m.tensor(0.1)) for m, p in ((tg, ours), (torch, theirs))]
    run(5, ours, theirs, made)
    same(ours, theirs, 2e-6, 2e-6)


def test_closure_runs_with_grad_enabled():
    w = tg.tensor([1.0], requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 1.0
    assert w.item() == pytest.approx(0.8)
    assert optimizer.step() is None


def test_zero_grad():
    w = tg.ones(3, requires_grad=True)
    optimizer = tg.optim.SGD([w])
    w.grad = tg.ones(3)
    held = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is held and held.tolist() == [0, 0, 0]
    assert not w.grad.requires_grad
    optimizer.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize("package", [tg, torch])
@pytest.mark.parametrize("of", ["optimizer", "module"])
def test_zero_grad_writes_into_a_flat_buffer_of_gradients(package, of):
    model = package.nn.Linear(2, 1)
    flat = package.ones(4)
    model.weight.grad, model.bias.grad = flat[:2].view(1, 2), flat[2:3]
    held = model.weight.grad
    owner = model if of == "module" else package.optim.SGD(model.parameters())
    owner.zero_grad(set_to_none=False)
    assert model.weight.grad is held and flat.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("of", ["optimizer", "module"])
def test_zero_grad_cuts_a_gradient_from_its_graph(of):
    model = tg.nn.Linear(2, 1, bias=False)
    (model.weight**3).sum().backward(create_graph=True)
    held = model.weight.grad
    assert held.grad_fn is not None
    owner = model if of == "module" else tg.optim.SGD(model.parameters())
    owner.zero_grad(set_to_none=False)
    assert model.weight.grad is held and held.tolist() == [[0, 0]] and not held.requires_grad


@pytest.mark.parametrize("name", [*NAMES, "Adafactor", "Muon"])
def test_converting_a_model_after_its_first_step(name):
    """torch's averages refuse to mix dtypes; what it computes otherwise goes on in float32."""

    def step(package):
        model = package.nn.Linear(2, 1, bias=False)
        optimizer = getattr(package.optim, name)(model.parameters())
        model(package.ones(1, 2)).sum().backward()
        optimizer.step()
        model.double()
        model.weight.grad = package.ones(1, 2, dtype=package.float64)
        return optimizer, model.weight

    ours, w = step(tg)
    theirs, _ = step(torch)
    try:
        theirs.step()
    except RuntimeError:
        before = w.tolist()
        message = f"{name}: expected dtype torch.float32.* but got .* dtype torch.float64"
        with pytest.raises(RuntimeError, match=message):
            ours.step()
        assert w.tolist() == before
        ours.load_state_dict(ours.state_dict())  # as the message says
    ours.step()


@pytest.mark.parametrize("name, kernel", [("SGD", "sgd_calls"), ("Adam", "adam_calls")])
def test_a_step_that_fails_leaves_no_state_behind(name, kernel, monkeypatch):
    w = tg.ones(3, requires_grad=True)
    w.grad = tg.ones(3)
    optimizer = getattr(tg.optim, name)([w], lr=0.5, **({"momentum": 0.9} if name == "SGD" else {}))

    def fail(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(f"{getattr(tg.optim, name).__module__}.{kernel}", fail)
        with pytest.raises(MemoryError):
            optimizer.step()
    state = optimizer.state[w]
    assert state["momentum_buffer"] is None if name == "SGD" else state["step"] == 0
    optimizer.step()
    np.testing.assert_allclose(w.detach().numpy(), 0.5, rtol=1e-6)


def test_a_step_between_forward_and_backward_is_noticed():
    w = tg.ones(3, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)
    loss = (w * w).sum()
    w.grad = tg.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_named_parameters():
    ours, theirs = pair(9)
    made = []
    for m, p in ((tg, ours), (torch, theirs)):
        made.append(m.optim.SGD([(f"p{i}", q) for i, q in enumerate(p)], lr=0.1))
    assert made[0].state_dict() == made[1].state_dict()
    assert repr(made[0]) == repr(made[1])
    with pytest.raises(ValueError, match="without names"):
        made[0].add_param_group({"params": tg.ones(1, requires_grad=True)})
    with pytest.raises(ValueError, match="Some param names are missing"):
        tg.optim.SGD([("a", ours[0]), ours[1]])


def errors(m):
    """What both must refuse, and the kind of exception."""
    w, v = (m.ones(2, requires_grad=True) for _ in range(2))
    o = m.optim
    return [
        lambda: o.SGD(w),
        lambda: o.SGD([]),
        lambda: o.SGD([w * 2]),
        lambda: o.SGD([1.0]),
        lambda: o.SGD([{"params": {w}}]),
        lambda: o.SGD([{"params": [w]}, {"params": [v, w]}]),
        lambda: o.SGD([w]).add_param_group([v]),
        lambda: o.SGD([w]).add_param_group({"params": [w]}),
        lambda: o.SGD([w], lr=-1),
        lambda: o.SGD([w], momentum=-0.1),
        lambda: o.SGD([w], weight_decay=-1),
        lambda: o.SGD([w], nesterov=True),
        lambda: o.SGD([w], nesterov=True, momentum=0.9, dampening=0.1),
        lambda: o.SGD([w], lr=m.ones(2)),
        lambda: o.SGD([w], fused=True, foreach=True),
        lambda: o.SGD([w], fused=True, differentiable=True),
        lambda: o.Adagrad([w], lr=-1),
        lambda: o.Adagrad([w], lr_decay=-1),
        lambda: o.Adagrad([w], weight_decay=-1),
        lambda: o.Adagrad([w], initial_accumulator_value=-1),
        lambda: o.Adagrad([w], eps=-1),
        lambda: o.RMSprop([w], lr=-1),
        lambda: o.RMSprop([w], alpha=-1),
        lambda: o.RMSprop([w], eps=-1),
        lambda: o.RMSprop([w], momentum=-1),
        lambda: o.RMSprop([w], weight_decay=-1),
        lambda: o.Adam([w], lr=-1),
        lambda: o.Adam([w], eps=-1),
        lambda: o.Adam([w], betas=(1.0, 0.9)),
        lambda: o.Adam([w], betas=(0.9, -0.1)),
        lambda: o.Adam([w], betas=(0.9, m.tensor(0.9))),
        lambda: o.Adam([w], betas=(0, 0.9)),
        lambda: o.Adam([w], weight_decay=-1),
        lambda: o.Adam([w], lr=m.tensor(0.1), foreach=True),
        lambda: o.AdamW([w], lr=float("nan")),
        lambda: o.Adadelta([w], rho=1.1),
        lambda: o.Adamax([w], betas=(1.0, 0.9)),
        lambda: o.NAdam([w], momentum_decay=-1),
        lambda: o.RAdam([w], eps=-1),
        lambda: o.Rprop([w], etas=(1.0, 1.2)),
        lambda: o.ASGD([w], weight_decay=-1),
    ]


def test_the_same_errors_in_the_same_words():
    for i, (ours, theirs) in enumerate(zip(errors(tg), errors(torch), strict=True)):
        with pytest.raises(Exception) as expected:  # noqa: PT011
            theirs()
        text = str(expected.value)
        with pytest.raises(expected.type) as found:
            ours()
            pytest.fail(f"case {i} is not refused: {text}")
        if "torch.FloatTensor" in text:  # how torch names the class of a tensor
            continue
        assert str(found.value) == text


def test_differentiable_is_refused_in_words():
    with pytest.raises(RuntimeError, match="differentiable=True is not supported"):
        tg.optim.Adam([tg.ones(2, requires_grad=True)], differentiable=True)


def test_duplicates_in_one_group_warn():
    w = tg.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        tg.optim.SGD([w, w])


def test_hooks():
    w = tg.ones(2, requires_grad=True)
    seen = []

    class Mine(tg.optim.SGD):
        def step(self, closure=None):
            seen.append("step")
            return super().step(closure)

    optimizer = Mine([w], lr=0.1)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", args[0]))),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", o))),
    ]
    optimizer.step()
    assert seen == [("before", optimizer), "step", ("after", optimizer)]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(seen) == 4
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 1)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_hooks_of_all_optimizers():
    from tinygrad_edu.optim.optimizer import register_optimizer_step_pre_hook

    seen = []
    with register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append(o)):
        optimizer = tg.optim.SGD([tg.ones(2, requires_grad=True)])
        optimizer.step()
    optimizer.step()
    assert seen == [optimizer]


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on_alone(twin):
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = tg.optim.Adam([w], lr=0.1)
    w.grad = tg.ones(2)
    optimizer.step()
    other = twin(optimizer)
    q = other.param_groups[0]["params"][0]
    assert q is not w and q.tolist() == w.tolist()
    q.grad = tg.ones(2)
    for _ in range(2):
        other.step()
    assert other.state[q]["step"].item() == 3 and optimizer.state[w]["step"].item() == 1


def test_a_users_optimizer():
    class Lion(tg.optim.Optimizer):
        def __init__(self, params, lr=1e-4, betas=(0.9, 0.99)):
            super().__init__(params, dict(lr=lr, betas=betas))

        @tg.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                beta1, beta2 = group["betas"]
                for p in group["params"]:
                    state = self.state[p]
                    if not state:
                        state["exp_avg"] = tg.zeros_like(p)
                    m = state["exp_avg"]
                    p.add_((m * beta1 + p.grad * (1 - beta1)).sign_(), alpha=-group["lr"])
                    m.mul_(beta2).add_(p.grad, alpha=1 - beta2)

    w = tg.tensor([1.0, -1.0], requires_grad=True)
    optimizer = Lion([w], lr=0.5)
    (w * w).sum().backward()
    optimizer.step()
    assert w.tolist() == [0.5, -0.5]
    with pytest.raises(NotImplementedError):
        base = tg.optim.Optimizer([w], {})
        base.step()


def test_the_optimizer_dies_without_the_garbage_collector():
    gc.disable()
    try:
        w = tg.ones(2, requires_grad=True)
        optimizer = tg.optim.Adam([w])
        scheduler = tg.optim.lr_scheduler.StepLR(optimizer, 1)
        watch = weakref.ref(optimizer)
        del optimizer, scheduler
        assert watch() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_trains(name):
    """A least-squares fit goes to (almost) zero."""
    rng = np.random.default_rng(0)
    x = tg.tensor(rng.standard_normal((64, 3)).astype(np.float32))
    target = x @ tg.tensor([1.0, -2.0, 3.0])
    w = tg.zeros(3, requires_grad=True)
    lr = {"SGD": 0.1, "Adagrad": 1.0}.get(name, 0.05)
    optimizer = getattr(tg.optim, name)([w], lr=lr)
    for _ in range(300):
        optimizer.zero_grad()
        loss = ((x @ w - target) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_no_warnings_from_division_by_zero():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    w.grad = tg.tensor([0.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for name in NAMES:
            getattr(tg.optim, name)([w]).step()
