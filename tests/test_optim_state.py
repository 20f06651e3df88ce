"""State dicts of optimizers: torch's go on in ours, and the other way round."""

from __future__ import annotations

import pytest
from test_optim import NAMES, from_torch, pair, run, same, to_torch

import tinygrad_edu as tg

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", NAMES)
def test_continues_torchs_checkpoint_and_the_other_way_round(name):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    ours, theirs = pair(4)
    mine = getattr(tg.optim, name)(ours, **options)
    other = getattr(torch.optim, name)(theirs, **options)
    run(5, ours, theirs, [other], seed=10)  # torch alone
    for p, q in zip(ours, theirs, strict=True):
        with tg.no_grad():
            p.copy_(tg.tensor(q.detach().numpy().copy()))
    mine.load_state_dict(from_torch(other.state_dict()))
    run(5, ours, theirs, [mine, other], seed=20)
    same(ours, theirs, 2e-6, 2e-6)
    other.load_state_dict(to_torch(mine.state_dict()))
    run(5, ours, theirs, [mine, other], seed=30)
    same(ours, theirs, 4e-6, 4e-6)


def test_loading_casts_state_but_not_the_step():
    w32, w64 = (
        tg.tensor([1.0, 2.0], dtype=d, requires_grad=True) for d in (tg.float32, tg.float64)
    )
    first, second = tg.optim.Adam([w32]), tg.optim.Adam([w64])
    w32.grad = tg.ones(2)
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.state[w64]["exp_avg"].dtype == tg.float64
    assert second.state[w64]["step"].dtype == tg.float32
    first.step()
    assert second.state[w64]["step"].item() == 1  # not shared


def test_loading_own_optimizers_leaves_their_numbers_alone():
    class Mine(tg.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                self.state[p]["step"] = self.state[p].get("step", 0) + 1

    x = tg.zeros(2, requires_grad=True)
    first, second = Mine([x]), Mine([x])
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.state[x]["step"].__class__ is int
    adam = tg.optim.Adam([x])
    x.grad = tg.ones(2)
    adam.step()
    old = adam.state_dict()
    old["state"][0]["step"] = 7  # as before torch 1.12
    adam.load_state_dict(old)
    assert tg.is_tensor(adam.state[x]["step"]) and adam.state[x]["step"] == 7


def test_loading_refuses_other_groups():
    w = [tg.ones(2, requires_grad=True) for _ in range(3)]
    a = tg.optim.SGD(w[:2], lr=0.1)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        a.load_state_dict(tg.optim.SGD([{"params": w[:1]}, {"params": w[1:]}]).state_dict())
    with pytest.raises(ValueError, match="doesn't match the size"):
        a.load_state_dict(tg.optim.SGD(w).state_dict())


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_another_optimizers_checkpoint_is_refused_where_torch_fails(source, target):
    """torch notices at the next step that an option or a state is missing."""

    def go_on(package):
        x = package.ones(2, requires_grad=True)
        first = getattr(package.optim, source)([x])
        second = getattr(package.optim, target)([x])
        x.grad = package.ones(2)
        first.step()
        second.load_state_dict(first.state_dict())
        second.step()

    try:
        go_on(torch)
    except KeyError as error:
        option = error.args[0] in getattr(tg.optim, target)([tg.ones(2)]).defaults
        with pytest.raises(ValueError if option else (ValueError, KeyError), match="[a-z]"):
            go_on(tg)
    else:
        go_on(tg)


def test_the_missing_option_is_named_and_nothing_changed():
    x = tg.ones(2, requires_grad=True)
    adam = tg.optim.Adam([x])
    with pytest.raises(ValueError, match="not one of Adam: .* no option 'betas'"):
        adam.load_state_dict(tg.optim.SGD([x], lr=5.0, momentum=0.9).state_dict())
    assert adam.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize("package", [tg, torch])
def test_options_younger_than_the_checkpoint_are_what_they_were_then(package):
    x = package.ones(2, requires_grad=True)
    adam = package.optim.Adam([x], amsgrad=True, maximize=True)
    old = package.optim.Adam([x]).state_dict()
    for name in ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused",
                 "decoupled_weight_decay"):  # fmt: skip
        del old["param_groups"][0][name]
    adam.load_state_dict(old)
    group = adam.param_groups[0]
    assert group["amsgrad"] is False and group["maximize"] is False
    assert group["decoupled_weight_decay"] is False


def test_adamw_stays_adamw_after_loading_adam():
    w = [tg.ones(2, requires_grad=True)]
    optimizer = tg.optim.AdamW(w)
    optimizer.load_state_dict(tg.optim.Adam(w).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"]


def test_state_dict_hooks():
    w = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)
    order = []
    optimizer.register_state_dict_pre_hook(lambda o: order.append("first"))
    optimizer.register_state_dict_pre_hook(lambda o: order.append("zeroth"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, d: d | {"more": 1})
    saved = optimizer.state_dict()
    assert order == ["zeroth", "first"] and saved["more"] == 1
    optimizer.register_load_state_dict_pre_hook(lambda o, d: d | {"state": {}})
    optimizer.register_load_state_dict_post_hook(lambda o: order.append("loaded"))
    optimizer.load_state_dict(saved)
    assert order[-1] == "loaded"


def test_an_optimizer_that_wraps_another_need_not_call_init():
    """Lookahead and its kin subclass Optimizer and take over the fields of the one they wrap."""

    class Wrapper(tg.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer, self.param_groups, self.state = optimizer, optimizer.param_groups, {}

        def step(self, closure=None):
            return self.optimizer.step(closure)

        def zero_grad(self):
            self.optimizer.zero_grad()

    w = tg.tensor([1.0], requires_grad=True)
    wrapper = Wrapper(tg.optim.SGD([w], lr=0.5))
    wrapper.zero_grad()
    (3 * w).sum().backward()
    wrapper.step()
    assert w.tolist() == [-0.5]


@pytest.mark.parametrize("wrong", [(100, "float32"), (4096, "float64")])
def test_state_of_another_size_or_dtype_never_reaches_the_blas(wrong):
    """It would write beyond a shorter array, and read floats of 64 bits as twice as many."""
    w = tg.zeros(4096, requires_grad=True)
    optimizer = tg.optim.Adam([w], lr=0.1)
    w.grad = tg.ones(4096)
    optimizer.step()
    size, dtype = wrong
    optimizer.state[w]["exp_avg_sq"] = tg.ones(size, dtype=getattr(tg, dtype))
    if size != 4096:
        with pytest.raises(ValueError, match="shape"):
            optimizer.step()
    else:
        optimizer.step()
        assert optimizer.state[w]["exp_avg_sq"].tolist() == pytest.approx([0.999 + 0.001] * 4096)
