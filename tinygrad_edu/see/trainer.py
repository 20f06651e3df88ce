"""`training`: how a training goes, step by step."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tinygrad_edu.nn import Module
from tinygrad_edu.see.charts import columns, lines
from tinygrad_edu.see.glance import BARS, host

ACTIVATIONS = "ReLU", "ReLU6", "LeakyReLU", "GELU", "SiLU", "ELU", "Hardtanh"


class training:
    """Watch a training: loss, gradient norms by layer, update-to-weight ratios, dead units, rate.

    Args:
        model: its parameters and activations are watched.
        optimizer: its steps are.
        every: the table is shown at every so many steps; 0 never.

    Call it with the loss after each step.  Gradient norms are those that the optimizer finds,
    behind any clipping.  An update-to-weight ratio is `|step| / |weight|` (2-norms); about 1e-3 is
    usual.
    A unit is dead if an activation module gave 0 for it in every sample of the last batch.
    In a terminal the table is redrawn in place; a notebook shows the object as table and chart.
    `close()`, or the end of a `with` block, removes the hooks.

    >>> import tinygrad_edu as torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with torch.see.training(model, optimizer, every=0) as watched:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         loss = model(torch.ones(4, 2)).square().mean()
    ...         loss.backward()
    ...         optimizer.step()
    ...         watched(loss)
    >>> len(watched.losses), sorted(watched.layers)
    (3, ['0.bias', '0.weight', '2.bias', '2.weight'])
    """

    def __init__(self, model: Module, optimizer: Any, *, every: int = 10) -> None:
        self.optimizer, self.every = optimizer, every
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.norms: list[float] = []
        """Of all gradients together."""
        self.layers: dict[str, tuple[float, float]] = {}
        """For each parameter the norm of its gradient and its update-to-weight ratio, lately."""
        self.history: dict[str, list[float]] = {}
        """Those norms, step by step."""
        self.dead: dict[str, float] = {}
        """For each activation module the share of dead units in the last batch."""
        self.names = dict(model.named_parameters())
        self.before: dict[str, Any] = {}
        self.drawn = 0
        self.handles = [
            optimizer.register_step_pre_hook(lambda *_: self._before()),
            optimizer.register_step_post_hook(lambda *_: self._after()),
        ]
        for path, module in model.named_modules():
            if type(module).__name__ in ACTIVATIONS:
                self.handles.append(
                    module.register_forward_hook(lambda m, x, y, path=path: self._units(path, y))
                )

    def _before(self) -> None:
        self.before = {n: host(p).copy() for n, p in self.names.items() if p.grad is not None}

    def _after(self) -> None:
        total = 0.0
        for name, old in self.before.items():
            parameter = self.names[name]
            grad = parameter.grad
            norm = float(np.linalg.norm(host(grad))) if grad is not None else 0.0
            size = float(np.linalg.norm(old))
            step = float(np.linalg.norm(host(parameter) - old))
            self.layers[name] = norm, step / size if size else float("inf") if step else 0.0
            self.history.setdefault(name, []).append(norm)
            total += norm * norm
        self.before = {}
        self.norms.append(total**0.5)

    def _units(self, path: str, y: object) -> None:
        values = host(y)
        axis = 1 if values.ndim == 4 else values.ndim - 1  # channels of images
        others = tuple([d for d in range(values.ndim) if d != axis])
        if values.size:
            self.dead[path] = float((values == 0).all(axis=others).mean())

    def __call__(self, loss: Any) -> None:
        """Note the loss of a step."""
        self.losses.append(loss.item() if hasattr(loss, "item") else float(loss))
        self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        if self.every and len(self.losses) % self.every == 0:
            text = str(self)
            if self.drawn and sys.stdout.isatty():
                sys.stdout.write(f"\x1b[{self.drawn}F\x1b[J")
            print(text, flush=True)
            self.drawn = text.count("\n") + 1

    def __str__(self) -> str:
        if not self.losses:
            return "no steps yet"
        head = f"step {len(self.losses)}  loss {self.losses[-1]:.4g} {_spark(self.losses)}"
        head += f"  lr {self.rates[-1]:.3g}"
        if self.norms:
            head += f"  |grad| {self.norms[-1]:.3g} {_spark(self.norms)}"
        rows = [["parameter", "|grad|", "update / weight"]]
        rows += [[n, f"{norm:.3g}", f"{ratio:.2g}"] for n, (norm, ratio) in self.layers.items()]
        text = head + "\n" + columns(rows, right=(1, 2))
        dead = [f"{p or 'model'} {100 * share:.0f} %" for p, share in self.dead.items() if share]
        return text + ("\ndead units: " + ", ".join(dead) if dead else "")

    __repr__ = __str__

    def chart(self) -> str:
        """The loss, step by step, as SVG."""
        return lines(range(1, len(self.losses) + 1), {"loss": self.losses}, "step")

    def layer_chart(self) -> str:
        """The gradient norms of the eight largest parameters, step by step, as SVG."""
        steps = range(1, len(self.norms) + 1)
        largest = sorted(self.history, key=lambda name: -self.names[name].numel())[:8]
        norms = {n: self.history[n] for n in largest if len(self.history[n]) == len(steps)}
        return lines(steps, norms, "step", y_name="|grad|", log_y=True) if norms else ""

    def _repr_html_(self) -> str:
        return f"{self.chart()}{self.layer_chart()}<pre>{self}</pre>"

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def __enter__(self) -> training:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _spark(values: list[float], width: int = 20) -> str:
    """The last values as bars."""
    last = np.asarray(values[-width:])
    last = last[np.isfinite(last)]
    if len(last) < 2 or last.max() == last.min():
        return ""
    heights = (last - last.min()) / (last.max() - last.min()) * (len(BARS) - 1)
    return "".join([BARS[round(float(h))] for h in heights])
