"""Files that this library has written, and what they must say and do for ever.

`edition1.zip` holds pickles, checkpoints and safetensors as the first edition wrote them, and
`expected.json`: what was to be seen in them then.  A later edition is added beside it:

    python -m tests.old_files tests/old_files/edition2.zip

Every file brings its own inputs, so that `look` needs its name and contents alone.
"""

from __future__ import annotations

import io
import itertools
import pickle
import zlib
from operator import attrgetter
from typing import Any

import tinygrad_edu as torch
from tinygrad_edu import nn, safetensors

from .user import Net


def load(name: str, data: bytes) -> Any:
    """What one of the files holds."""
    if name.endswith(".pt"):
        return torch.load(io.BytesIO(data))
    if name.endswith(".safetensors"):
        return dict(sorted(safetensors.load(data).items()))  # the library has no order
    return pickle.loads(data)


def look(name: str, loaded: Any) -> Any:
    """What is to be seen in it, as JSON has it: floats in `does` may differ in the last digits."""
    kind = name.partition("/")[0]
    return LOOKS[kind](loaded)


def holds(x: Any, seen: dict[int, int] | None = None) -> Any:
    """Exactly what is in it: types, numbers, layouts, and which tensors share their memory."""
    seen = {} if seen is None else seen
    if isinstance(x, torch.Tensor):
        return tensor(x, seen)
    if isinstance(x, dict):
        return [type(x).__name__, [[repr(k), holds(v, seen)] for k, v in x.items()]]
    if isinstance(x, (list, tuple)) and not isinstance(x, torch.Size):
        fields = getattr(x, "_fields", ())
        return [type(x).__name__, *fields, [holds(v, seen) for v in x]]
    return [type(x).__name__, repr(x)]


def tensor(x: Any, seen: dict[int, int]) -> dict[str, Any]:
    plain = x.detach()
    numbers = plain.double() if plain.is_floating_point() else plain
    short = numbers.numel() <= 12
    memory = x.untyped_storage().data_ptr() if x.numel() else 0
    return {
        "type": type(x).__name__, "dtype": str(x.dtype), "shape": list(x.shape),
        "stride": list(x.stride()), "requires_grad": x.requires_grad, "leaf": x.is_leaf,
        "memory": seen.setdefault(memory, len(seen)), "note": getattr(x, "note", None),
        "numbers": numbers.tolist() if short else zlib.crc32(numbers.contiguous().numpy()),
    }  # fmt: skip


def does(x: Any) -> Any:
    """A result of arithmetic: tensors as one number, which rounding changes little."""
    if isinstance(x, torch.Tensor):
        y = x.detach().double().reshape(-1)
        weights = (torch.arange(y.numel(), dtype=torch.float64) + 1).cos()
        return [str(x.dtype), list(x.shape), (y * weights).sum().item()]
    if isinstance(x, (list, tuple)):
        return [does(part) for part in x]
    return x


def tensors_of(x: Any) -> list[Any]:
    if isinstance(x, torch.Tensor):
        return [x] if x.is_floating_point() else []
    return [t for part in x for t in tensors_of(part)] if isinstance(x, (list, tuple)) else []


def look_at_tensors(loaded: Any) -> Any:
    """Its contents; tensors go on working in a graph, leaves collect gradients."""
    leaves = [t for t in tensors_of(loaded) if t.requires_grad]
    for t in leaves:
        (t * t).sum().backward()
    return {"holds": holds(loaded), "does": [does(t.grad) for t in leaves]}


def look_at_module(loaded: Any) -> Any:
    """Its state, what it makes of the inputs beside it, and the gradients."""
    module, inputs = loaded
    state = {"text": repr(module), "state": module.state_dict(), "training": module.training}
    found = {"holds": holds(state)}
    torch.manual_seed(0)
    y = module(*inputs)
    trained = [t for t in tensors_of(y) if t.requires_grad]
    if trained:
        sum((t.square().sum() for t in trained), torch.zeros(())).backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    after = module.eval()(*inputs)
    buffers = list(module.buffers())
    found["does"] = [does(y), does(gradients), does(after), does(buffers)]
    return found


def look_at_optimizer(loaded: Any) -> Any:
    """Its state and options, and where two more steps go."""
    parameters, optimizer = loaded
    assert optimizer.param_groups[0]["params"][0] is parameters[0]
    found = {"holds": holds([optimizer.state_dict(), parameters])}
    rates = []
    for _ in range(2):
        optimizer.zero_grad()
        sum((p.sin().sum() for p in parameters), torch.zeros(())).backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return {**found, "does": does([parameters, rates])}


def look_at_scheduler(loaded: Any) -> Any:
    """The learning rates to come."""
    optimizer, scheduler = loaded
    watches = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    rates = []
    for _ in range(6):
        optimizer.step()
        scheduler.step(*[1.0] * watches)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"holds": holds(type(scheduler).__name__), "does": rates}


def look_at_generator(generator: Any) -> Any:
    """Its state, and the next numbers it draws."""
    found = {"holds": holds([generator.get_state(), generator.initial_seed(), generator.device])}
    draws = [draw(5, generator=generator) for draw in (torch.rand, torch.randn, torch.randperm)]
    return {**found, "does": does(draws)}


OWN_NOW = {"conj_physical"}
"""Once another name of `conj`, which an old pickle still gives; today a function of its own."""


def look_at_names(loaded: Any) -> Any:
    """Public names that do not stand for the pickled object any more: none but `OWN_NOW`."""
    others = [name for name, obj in loaded.items() if attrgetter(name)(torch) is not obj]
    others = [name for name in others if name not in OWN_NOW]
    return {"holds": [len(loaded), others], "does": []}


def look_at_distribution(distribution: Any) -> Any:
    torch.manual_seed(0)
    draw = distribution.sample()
    return {"holds": holds(repr(distribution)), "does": does([draw, distribution.log_prob(draw)])}


def look_at_data(loaded: Any) -> Any:
    torch.manual_seed(0)
    return {"holds": holds([[*part] for part in loaded]), "does": []}


def look_at_modes(modes: Any) -> Any:
    """What each makes of a product."""
    x = torch.ones(2, 2, requires_grad=True)
    found = []
    for mode in modes:
        with mode:
            y = x @ x
        found.append([type(mode).__name__, str(y.dtype), y.requires_grad])
    return {"holds": found, "does": []}


def look_at_run(loaded: Any) -> Any:
    """A run that was broken off: its state, and the losses of the next steps."""
    found = {"holds": holds(loaded)}
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
        part.load_state_dict(loaded[name])
    torch.set_rng_state(loaded["rng"])
    return {**found, "does": train(model, optimizer, scheduler, 3)}


def train(model: Any, optimizer: Any, scheduler: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        index, target = torch.randint(7, (4, 5)), torch.randint(3, (4,))
        loss = nn.functional.cross_entropy(model(index), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


LOOKS = {
    "tensors": look_at_tensors, "values": look_at_tensors, "modules": look_at_module,
    "optimizers": look_at_optimizer, "schedulers": look_at_scheduler,
    "generators": look_at_generator, "names": look_at_names, "modes": look_at_modes,
    "distributions": look_at_distribution, "data": look_at_data, "runs": look_at_run,
}  # fmt: skip


def same(found: Any, expected: Any, rtol: float = 0.0) -> bool:
    """Equal; floats within `rtol`, or both nan."""
    if isinstance(found, float) and isinstance(expected, float):
        if found == expected or (found != found and expected != expected):
            return True
        return rtol > 0 and abs(found - expected) <= rtol * max(1.0, abs(expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            same(found[k], expected[k], rtol)
            for k in found
            if k != "stride" or 0 not in found["shape"]  # an empty tensor is never stepped along
        )
    if isinstance(found, list) and isinstance(expected, list):
        pairs = itertools.zip_longest(found, expected, fillvalue=...)
        return all(same(a, b, rtol) for a, b in pairs)
    return type(found) is type(expected) and found == expected
