"""Random trainings beside torch: python tests/fuzz_training.py --minutes 10 --seed 3.

Layers, a loss, an optimizer and a scheduler are drawn; both libraries begin with the same weights
and see the same data, and the same random numbers where dropout draws some.  Losses and weights
must be equal within rounding.  Half-way everything is saved, loaded into what was newly made, and
must go on exactly as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from fuzz_programs import main

import tinygrad_edu

SHAPES = {"flat": (4, 6), "sequence": (3, 5, 6), "signal": (3, 4, 6), "image": (3, 3, 6, 6)}
"""What the data of each kind of network look like; the first dimension is the batch."""

LAYERS = {
    "flat": [
        "Linear({n}, 5)", "Linear({n}, 7, bias=False)", "BatchNorm1d({n})",
        "LayerNorm({n})", "RMSNorm({n})", "GroupNorm(1, {n})", "Dropout(0.4)", "AlphaDropout(0.3)",
    ],
    "sequence": [
        "Linear({n}, 4)", "LayerNorm({n})", "RMSNorm({n})", "Dropout(0.3)",
        "TransformerEncoderLayer({n}, {heads}, 8, dropout=0.1, batch_first=True)",
        "LSTM({n}, 4, batch_first=True)", "GRU({n}, 6, batch_first=True)", "RNN({n}, 4)",
        "LSTM({n}, 3, bidirectional=True)", "GRU({n}, 4, num_layers=2, dropout=0.2)",
    ],
    "signal": [
        "Conv1d({n}, 4, 3, padding=1)", "Conv1d({n}, 6, 2, dilation=2)", "BatchNorm1d({n})",
        "InstanceNorm1d({n}, affine=True)", "ConvTranspose1d({n}, 3, 3)", "MaxPool1d(2)",
        "AvgPool1d(2, 1)", "GroupNorm(1, {n})", "Dropout1d(0.3)", "AdaptiveAvgPool1d(3)",
    ],
    "image": [
        "Conv2d({n}, 4, 3)", "Conv2d({n}, {n}, 3, padding=1, groups={n})", "BatchNorm2d({n})",
        "Conv2d({n}, 2, 3, stride=2, padding=1, padding_mode='reflect')", "MaxPool2d(2, 1)",
        "ConvTranspose2d({n}, 3, 2, stride=2)", "AvgPool2d(2)", "GroupNorm(1, {n})",
        "InstanceNorm2d({n})", "Dropout2d(0.3)", "AdaptiveAvgPool2d(3)", "Upsample(scale_factor=2)",
    ],
}  # fmt: skip
"""Layers by the kind of data; {n} is how many features or channels arrive."""

ACTIVATIONS = [
    "ReLU()", "GELU()", "GELU('tanh')", "SiLU()", "Tanh()", "Sigmoid()", "ELU()", "SELU()",
    "LeakyReLU(0.1)", "PReLU()", "Softplus()", "Hardswish()", "Mish()", "LogSigmoid()",
    "Softmax(-1)", "Tanhshrink()", "Softsign()", "ReLU6()", "RReLU()", "ReLU(inplace=True)",
]  # fmt: skip

OPTIMIZERS = [
    "SGD(lr=0.05)", "SGD(lr=0.05, momentum=0.9, nesterov=True)", "Adam(lr=0.01, amsgrad=True)",
    "SGD(lr=0.1, momentum=0.8, dampening=0.1, weight_decay=0.01)", "Adam(lr=0.01)",
    "Adam(lr=0.02, betas=(0.8, 0.95), weight_decay=0.01)", "AdamW(lr=0.01)", "NAdam(lr=0.01)",
    "AdamW(lr=0.01, maximize=True)", "RMSprop(lr=0.01, momentum=0.5, centered=True)",
    "RMSprop(lr=0.01)", "Adagrad(lr=0.05, lr_decay=0.01)", "Adadelta(lr=0.5)", "Adamax(lr=0.01)",
    "RAdam(lr=0.01)", "ASGD(lr=0.05)", "Rprop(lr=0.01)", "NAdam(lr=0.01, weight_decay=0.1)",
    "Adafactor(lr=0.05)", "RAdam(lr=0.02, decoupled_weight_decay=True, weight_decay=0.1)",
]  # fmt: skip

SCHEDULERS = [
    "", "", "StepLR(o, 2, 0.5)", "MultiStepLR(o, [1, 3], 0.3)", "ExponentialLR(o, 0.8)",
    "CosineAnnealingLR(o, 4)", "CosineAnnealingWarmRestarts(o, 2, 2)", "LinearLR(o, 0.2)",
    "ConstantLR(o, 0.5, 3)", "PolynomialLR(o, 6, 2.0)", "LambdaLR(o, lambda e: 1 / (1 + e))",
    "MultiplicativeLR(o, lambda e: 0.9)", "ReduceLROnPlateau(o, patience=0, factor=0.3)",
    "OneCycleLR(o, 0.1, total_steps=9, cycle_momentum=False)",
    "CyclicLR(o, 0.01, 0.1, 2, mode='triangular2', cycle_momentum=False)",
    "SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=2), s.StepLR(o, 1)], [2])",
    "ChainedScheduler([s.ConstantLR(o), s.ExponentialLR(o, 0.9)], o)",
]  # fmt: skip

LOSSES = {  # what a loss wants: classes, numbers, or numbers between 0 and 1
    "CrossEntropyLoss()": "class", "CrossEntropyLoss(label_smoothing=0.1)": "class",
    "MultiMarginLoss()": "class", "MSELoss()": "number", "L1Loss(reduction='sum')": "number",
    "SmoothL1Loss(beta=0.5)": "number", "HuberLoss(delta=0.7)": "number",
    "BCEWithLogitsLoss()": "part", "SoftMarginLoss()": "sign", "PoissonNLLLoss()": "part",
    "KLDivLoss(reduction='batchmean')": "part", "MultiLabelSoftMarginLoss()": "part",
}  # fmt: skip


CHANGES = [
    "",
    "",
    "",
    "freeze",
    "weight_norm",
    "spectral_norm",
    "clip_value",
    "zeros",
    "autocast off",
]
"""What else a training may do."""


@dataclass(frozen=True)
class Plan:
    """One training, as text.

    Attributes:
        clip: the norm to which gradients are clipped; 0 for none.
        groups: whether the head's weights have a learning rate of their own.
        evaluate: whether a pass in eval mode follows every step.
        accumulate: how many backward passes make a step.
        change: one of CHANGES.
    """

    seed: int
    kind: str
    layers: tuple[str, ...]
    loss: str = "MSELoss()"
    optimizer: str = "SGD(lr=0.05)"
    scheduler: str = ""
    clip: float = 0.0
    groups: bool = False
    evaluate: bool = False
    accumulate: int = 1
    change: str = ""
    dtype: str = "float64"


def make_plan(seed: int, only: str = "") -> Plan:
    """A random training whose layers fit together, as torch finds out."""
    r = random.Random(seed)
    while True:
        kind = r.choice(list(SHAPES))
        layers: list[str] = []
        with contextlib.suppress(RuntimeError, ValueError):
            for _ in range(r.randint(1, 4)):
                n = Network(torch, kind, layers).width
                text = r.choice(LAYERS[kind] if r.random() < 0.6 else ACTIVATIONS)
                layers.append(text.format(n=n, heads=max(h for h in (1, 2, 3) if n % h == 0)))
            Network(torch, kind, layers)
            plan = Plan(
                seed, kind, tuple(layers), r.choice(list(LOSSES)), r.choice(OPTIMIZERS),
                r.choice(SCHEDULERS), clip=r.choice([0.0, 0.0, 0.5]), groups=r.random() < 0.3,
                evaluate=r.random() < 0.3, accumulate=r.choice([1, 1, 2]),
                change=r.choice(CHANGES), dtype=r.choice(["float32", "float64", "float64"]),
            )  # fmt: skip
            if re.search(only, repr(plan)):
                return plan


class Network:
    """The layers one after another, flattened, and a linear head with three outputs.

    Attributes:
        width: how many features or channels the last layer gives.
    """

    def __init__(self, T: Any, kind: str, layers: Sequence[str]) -> None:
        self.T = T
        self.body = T.nn.ModuleList([eval(f"nn.{text}", {"nn": T.nn}) for text in layers])
        x = T.ones(SHAPES[kind])
        self.body.eval()
        with T.no_grad():
            y = self.features(x)
        self.body.train()
        self.width = int(y.shape[2 if kind == "sequence" else 1])
        self.head = T.nn.Linear(y.flatten(1).shape[1], 3)
        self.modules = T.nn.ModuleList([self.body, self.head])

    def features(self, x: Any) -> Any:
        for module in self.body:
            x = module(x)
            if isinstance(x, tuple):  # of a recurrent layer the outputs, not the last state
                x = x[0]
        return x

    def __call__(self, x: Any) -> Any:
        return self.head(self.features(x).flatten(1))


class Training:
    """A plan carried out by one library.

    Args:
        nudge: how much, relatively, the inputs are moved, to see what rounding may do.
    """

    def __init__(self, T: Any, plan: Plan, nudge: float = 0.0) -> None:
        self.T, self.plan, self.nudge = T, plan, nudge
        self.dtype = getattr(T, plan.dtype)
        T.manual_seed(plan.seed)
        self.net = Network(T, plan.kind, plan.layers)
        self.modules = self.net.modules.to(self.dtype)
        if plan.change == "freeze":
            next(self.modules.parameters()).requires_grad_(False)
        elif plan.change.endswith("_norm"):
            getattr(T.nn.utils.parametrizations, plan.change)(self.net.head)
        self.loss = eval(f"nn.{plan.loss}", {"nn": T.nn})
        o = eval(f"o.{plan.optimizer}".replace("(", "(p, ", 1), {"o": T.optim, "p": self.groups()})
        s = T.optim.lr_scheduler
        self.optimizer = o
        self.scheduler = eval(f"s.{plan.scheduler}", {"s": s, "o": o}) if plan.scheduler else None

    def groups(self) -> Any:
        head = list(self.net.head.parameters())
        if not self.plan.groups:
            return self.modules.parameters()
        rest = [p for p in self.modules.parameters() if not any(p is q for q in head)]
        return [{"params": rest}, {"params": head, "lr": 0.02}] if rest else [{"params": head}]

    def batch(self, step: int) -> tuple[Any, Any]:
        """Inputs and targets of a step."""
        r = np.random.default_rng([self.plan.seed, step])
        x = r.standard_normal(SHAPES[self.plan.kind])
        x *= 1 + self.nudge * np.random.default_rng(0).standard_normal(x.shape)
        rows, wanted = len(x), LOSSES[self.plan.loss]
        if wanted == "class":
            return self.T.tensor(x, dtype=self.dtype), self.T.tensor(r.integers(0, 3, rows))
        y = {"number": r.standard_normal((rows, 3)), "part": r.random((rows, 3)),
             "sign": r.choice([-1.0, 1.0], (rows, 3))}[wanted]  # fmt: skip
        return self.T.tensor(x, dtype=self.dtype), self.T.tensor(y, dtype=self.dtype)

    def step(self, k: int) -> list[float]:
        """One step of the optimizer and the scheduler; the losses that were seen."""
        T, plan, seen = self.T, self.plan, []
        self.optimizer.zero_grad(set_to_none=plan.change != "zeros")
        for part in range(plan.accumulate):
            x, target = self.batch(10 * k + part)
            with T.autocast("cpu", enabled=False) if plan.change else contextlib.nullcontext():
                loss = self.loss(self.net(x), target)
            (loss / plan.accumulate).backward()
            seen.append(loss.item())
        if plan.clip:
            seen.append(T.nn.utils.clip_grad_norm_(self.modules.parameters(), plan.clip).item())
        if plan.change == "clip_value":
            T.nn.utils.clip_grad_value_(self.modules.parameters(), 0.02)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step(*[seen[0]] * plan.scheduler.startswith("Reduce"))
        seen += [group["lr"] for group in self.optimizer.param_groups]
        if plan.evaluate:
            self.modules.eval()
            with T.no_grad():
                seen.append(self.net(self.batch(k)[0]).sum().item())
            self.modules.train()
        return [float(v) for v in seen]

    def steps(self, *which: int) -> list[list[float]]:
        return [self.step(k) for k in which]

    def weights(self) -> dict[str, np.ndarray]:
        state = self.modules.state_dict()
        return {name: t.detach().numpy().copy() for name, t in state.items()}

    def save(self) -> io.BytesIO:
        file, parts = io.BytesIO(), {"modules": self.modules, "optimizer": self.optimizer}
        parts |= {"scheduler": self.scheduler} if self.scheduler else {}
        states = {name: part.state_dict() for name, part in parts.items()}
        self.T.save({**states, "random": self.T.get_rng_state()}, file)
        file.seek(0)
        return file

    def load(self, file: io.BytesIO) -> None:
        state = self.T.load(file)
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.T.set_rng_state(state["random"])


STEPS = 6


def trained(T: Any, plan: Plan, nudge: float = 0.0) -> Any:
    """What a whole training shows, or the type and the text of its exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            training = Training(T, plan, nudge)
            seen = training.steps(*range(STEPS))
            return {"seen": np.array(seen), **training.weights()}
        except Exception as error:
            return type(error).__name__, str(error)


def resumed(T: Any, plan: Plan) -> Any:
    """The same with a save in the middle, loaded into what another seed made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = Training(T, plan)
        seen = first.steps(*range(STEPS // 2))
        file = first.save()
        first.steps(STEPS // 2)  # what goes on must not change what was saved
        second = Training(T, dataclasses.replace(plan, seed=plan.seed + 1))
        second.load(file)
        second.plan = plan
        seen += second.steps(*range(STEPS // 2, STEPS))
        return {"seen": np.array(seen), **second.weights()}


def difference(plan: Plan, T: Any = tinygrad_edu, counts: Counter[str] | None = None) -> Any:
    """What differs from torch when the plan is carried out: (kind, text), or None."""
    counts = Counter() if counts is None else counts
    mine, theirs = trained(T, plan), trained(torch, plan)
    if isinstance(mine, tuple) or isinstance(theirs, tuple):
        same = isinstance(mine, tuple) and isinstance(theirs, tuple) and mine[0] == theirs[0]
        return None if same else ("refused", f"here {mine}, torch {theirs}"[:600])
    again = resumed(T, plan)
    for name, values in mine.items():
        if not np.array_equal(values, again[name], equal_nan=True):
            if not np.array_equal(resumed(torch, plan)[name], theirs[name], equal_nan=True):
                counts["not compared: torch does not resume exactly either"] += 1
                return None
            return "resumed", f"{name}: {again[name]}, not interrupted {values}"
    if list(mine) != list(theirs):
        return "names", f"here {list(mine)}, torch {list(theirs)}"
    rtol, nudge = (1e-8, 1e-12) if plan.dtype == "float64" else (2e-3, 5e-7)
    for name, values in mine.items():
        if close(values, theirs[name], rtol):
            continue
        moved = [trained(torch, plan, sign * nudge)[name] for sign in (1, -1)]
        if plan.dtype == "float32":  # what vanishes but for rounding is scaled up by Adam
            moved.append(trained(torch, dataclasses.replace(plan, dtype="float64"))[name])
        if not all(close(m, theirs[name], rtol) for m in moved):
            counts["not compared: rounding decides"] += 1
            return None
        return "values", f"{name}: here {values}, torch {theirs[name]}"
    return None


def close(a: np.ndarray, b: np.ndarray, rtol: float) -> bool:
    scale = np.abs(b[np.isfinite(b)]).max(initial=1e-3)
    return a.shape == b.shape and np.allclose(a, b, rtol, rtol * scale, equal_nan=True)


def minimised(plan: Plan, differs: Callable[[Plan], bool]) -> Plan:
    """The plan with everything left out that the difference does not need."""
    plain = Plan(plan.seed, plan.kind, ())
    changed = True
    while changed:
        changed = False
        fewer = [
            dataclasses.replace(plan, layers=plan.layers[:i] + plan.layers[i + 1 :])
            for i in range(len(plan.layers))
        ]
        for one in dataclasses.fields(Plan)[3:]:
            fewer.append(dataclasses.replace(plan, **{one.name: getattr(plain, one.name)}))
        for simpler in fewer:
            if simpler != plan and differs(simpler):
                plan, changed = simpler, True
                break
    return plan


def fuzz(
    seed: int = 0, programs: int | None = None, minutes: float = inf, only: str = "",
    T: Any = tinygrad_edu, say: Callable[[str], Any] = print,
) -> tuple[Counter[str], list[tuple[Any, Plan]]]:  # fmt: skip
    """Carry out random plans until their number or the time is reached; as fuzz_programs.fuzz."""
    counts: Counter[str] = Counter()
    found: list[tuple[Any, Plan]] = []
    marks: set[str] = set()
    end = time.monotonic() + 60 * minutes
    for k in itertools.count(seed):
        if k - seed == programs or time.monotonic() > end:
            break
        plan = make_plan(k, only)
        counts["trainings"] += 1
        what = difference(plan, T, counts)
        if what is None:
            continue
        kind = what[0]
        counts[f"differs: {kind}"] += 1
        plan = minimised(plan, lambda p, kind=kind: (difference(p, T) or [""])[0] == kind)
        mark = kind + re.sub(r"\d", "", repr(plan))
        if mark not in marks:
            marks.add(mark)
            found.append((difference(plan, T), plan))
            say(f"# ---- seed {k}: {kind}: {found[-1][0][1]}\n"
                f"from fuzz_training import *\nprint(difference({plan}))\n")  # fmt: skip
    return counts, found


if __name__ == "__main__":
    raise SystemExit(main(fuzz, __doc__ or ""))
