"""Training: the same weights and batches give the same losses as torch, 200 steps long.

Both libraries start from one seed, so weights, batches and dropout masks are the same numbers, and
only the rounding of sums differs.  And the mistakes that users make show what they show in torch.
"""

import importlib

import numpy as np
import pytest

import tinygrad_edu

torch = pytest.importorskip("torch")

OPTIMIZERS = {
    "SGD": {"lr": 0.1},
    "SGD, momentum": {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-3},
    "SGD, nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 2e-3, "weight_decay": 1e-3},
    "Adam, amsgrad": {"lr": 2e-3, "amsgrad": True},
    "AdamW": {"lr": 2e-3, "weight_decay": 1e-2},
    "RMSprop": {"lr": 1e-3, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 1e-2, "lr_decay": 1e-3},
}
SCHEDULERS = {
    "LambdaLR": {"lr_lambda": lambda epoch: 0.95**epoch},
    "StepLR": {"step_size": 5, "gamma": 0.5},
    "MultiStepLR": {"milestones": [3, 10]},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 20},
    "CosineAnnealingWarmRestarts": {"T_0": 4, "T_mult": 2},
    "LinearLR": {"start_factor": 0.2, "total_iters": 10},
    "OneCycleLR": {"max_lr": 5e-3, "total_steps": 25},
    "ReduceLROnPlateau": {"patience": 1, "factor": 0.5},
}


def mlp(lib, sizes=(20, 32, 32, 5), dropout=0.1):
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [lib.nn.Linear(a, b), lib.nn.ReLU(), lib.nn.Dropout(dropout)]
    return lib.nn.Sequential(*layers[:-2])


def batches(lib):
    """200 samples whose label a random linear map decides: something that can be learnt."""
    random = np.random.default_rng(0)
    X = random.standard_normal((200, 20)).astype(np.float32)
    y = (X @ random.standard_normal((20, 5))).argmax(1)
    data = importlib.import_module(f"{lib.__name__}.utils.data")
    dataset = data.TensorDataset(lib.from_numpy(X), lib.from_numpy(y))
    return data.DataLoader(dataset, batch_size=25, shuffle=True)


def train(lib, optimizer, scheduler=None, epochs=25, mistake="", device="cpu", dropout=0.1):
    """The losses of 25 epochs of 8 steps each, and the weights at the end."""
    lib.manual_seed(0)
    model = mlp(lib, dropout=dropout).to(device)
    make = getattr(lib.optim, optimizer.partition(",")[0])
    opt = make(model.parameters(), **OPTIMIZERS[optimizer])
    schedule = None
    if scheduler:
        schedule = getattr(lib.optim.lr_scheduler, scheduler)(opt, **SCHEDULERS[scheduler])
    criterion = lib.nn.CrossEntropyLoss()
    loader, losses = batches(lib), []
    for _ in range(epochs):
        model.train()
        for X, y in loader:
            if mistake != "no zero_grad":
                opt.zero_grad()
            X, y = X.to(device), y.to(device)
            out = model(X)
            loss = criterion(out.detach() if mistake == "detach" else out, y)
            loss.backward()
            lib.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            opt.step()
            losses.append(loss.item())
        if schedule is not None:
            schedule.step(losses[-1]) if scheduler == "ReduceLROnPlateau" else schedule.step()
    return losses, [p.detach().cpu().numpy().copy() for p in model.parameters()]


def compare(*args, device="cpu", **kwargs):
    (ours, our_weights), (theirs, their_weights) = (
        train(lib, *args, device=place, **kwargs)
        for lib, place in ((tinygrad_edu, device), (torch, "cpu"))
    )
    assert len(ours) == 200
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    for a, b in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)
    return ours


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_follows_torch(optimizer):
    losses = compare(optimizer)
    assert losses[-1] < 0.8 * losses[0]  # and it learns


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_follows_torch_on_a_gpu(optimizer, cuda):
    """Without dropout, whose numbers are other ones on a GPU."""
    compare(optimizer, device=cuda, dropout=0.0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_follows_torch(scheduler):
    compare("AdamW", scheduler)


def test_forgetting_zero_grad_accumulates_as_in_torch():
    losses = compare("SGD", mistake="no zero_grad")
    assert losses != train(tinygrad_edu, "SGD")[0]


def test_detaching_the_output_raises_torchs_error():
    for lib in (tinygrad_edu, torch):
        with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
            train(lib, "SGD", epochs=1, mistake="detach")


def test_forgetting_eval_leaves_dropout_on():
    results = []
    for lib in (tinygrad_edu, torch):
        lib.manual_seed(3)
        model, x = mlp(lib, dropout=0.5), lib.ones(4, 20)
        with lib.no_grad():
            in_training = model(x)
            model.eval()
            results.append((in_training.numpy(), model(x).numpy(), model(x).numpy()))
    (train_ours, a, b), (train_theirs, c, _) = results
    np.testing.assert_allclose(train_ours, train_theirs, atol=1e-6)
    np.testing.assert_allclose(a, c, atol=1e-6)
    assert (a == b).all() and not np.allclose(a, train_ours)


def test_stepping_the_scheduler_first_warns_as_torch_does():
    for lib in (tinygrad_edu, torch):
        opt = lib.optim.SGD(mlp(lib).parameters(), lr=0.1)
        schedule = lib.optim.lr_scheduler.StepLR(opt, 1)
        with pytest.warns(UserWarning, match="lr_scheduler.step.*before.*optimizer.step"):
            schedule.step()


def test_stepping_before_backward_changes_nothing():
    for lib in (tinygrad_edu, torch):
        model = mlp(lib)
        before = [p.detach().clone() for p in model.parameters()]
        opt = lib.optim.AdamW(model.parameters())
        model(lib.ones(2, 20)).sum()
        opt.step()
        for p, old in zip(model.parameters(), before, strict=True):
            assert bool((p == old).all()) and p.grad is None
