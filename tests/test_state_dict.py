"""State dicts against torch's: saving, loading, reports of every difference, hooks."""

from __future__ import annotations

from typing import Any

import pytest
from beside_torch import same, same_error
from test_module import make

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def test_state_dict() -> None:
    def run(T: Any) -> Any:
        m = make(T)
        d = m.state_dict()
        kept = m.state_dict(prefix="net.", keep_vars=True)
        return [
            type(d).__name__, list(d), d, list(kept), kept["net.tied"].requires_grad,
            d["tied"].requires_grad, dict(d._metadata), list(kept._metadata),
        ]  # fmt: skip

    same(run)
    m = make(ours)
    m.state_dict()["first.factor"].fill_(5)
    assert m.first.factor.tolist() == [5.0, 5.0]


def test_load_copies_in_place() -> None:
    def run(T: Any) -> Any:
        m, other = make(T), make(T)
        with T.no_grad():
            for i, p in enumerate(other.parameters()):
                p.fill_(i + 10)
        before = m.first.factor
        keys = m.load_state_dict(other.state_dict())
        return [repr(keys), before is m.first.factor, m.state_dict(), m.first.factor.requires_grad]

    same(run)


def test_load_reports_every_difference() -> None:
    def broken(T: Any) -> Any:
        d = make(T).state_dict()
        del d["first.seen"], d["tied"]
        d["extra"] = T.ones(1)
        d["first.deep.extra"] = T.ones(1)
        d["body.b.0.factor"] = T.ones(2, 2)
        d["second.factor"] = 3
        return d

    def strict(T: Any) -> Any:
        return make(T).load_state_dict(broken(T))

    def lenient(T: Any) -> Any:
        d = broken(T)
        del d["body.b.0.factor"], d["second.factor"]
        return repr(make(T).load_state_dict(d, strict=False))

    kind, text = same(strict)
    assert kind == "RuntimeError" and text.count("\n\t") == 4
    assert same(lenient).startswith("_IncompatibleKeys(missing_keys=['tied', 'first.seen'")
    same_error(lambda T: make(T).load_state_dict([1]), TypeError, "dict-like")


def test_load_assign() -> None:
    def run(T: Any) -> Any:
        m = make(T)
        given = {k: v.double() if v.is_floating_point() else v for k, v in m.state_dict().items()}
        m.load_state_dict(given, assign=True)
        return [
            m.first.factor.dtype, m.first.factor.requires_grad, type(m.first.factor).__name__,
            m.first.seen is given["first.seen"],
        ]  # fmt: skip

    same(run)


def test_batch_norm_counts_need_not_be_saved() -> None:
    """By checkpoints without a version; those with one must have the counter."""
    norm = ours.nn.BatchNorm1d(2)
    norm.num_batches_tracked.fill_(3)
    saved = norm.state_dict()
    del saved["num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        norm.load_state_dict(saved)
    norm.load_state_dict(dict(saved))
    assert norm.num_batches_tracked == 3 and "num_batches_tracked" not in saved


def test_load_a_number_from_a_vector_of_one() -> None:
    def run(T: Any) -> Any:
        m = T.nn.Module()
        m.p = T.nn.Parameter(T.tensor(1.0))
        m.load_state_dict({"p": T.tensor([4.0])})
        return m.p

    same(run)


def test_extra_state() -> None:
    def run(T: Any) -> Any:
        class Counter(T.nn.Module):  # type: ignore[misc,name-defined]
            count = 0

            def get_extra_state(self) -> Any:
                return {"count": self.count}

            def set_extra_state(self, state: Any) -> None:
                self.count = state["count"]

        a, b = T.nn.Sequential(Counter()), T.nn.Sequential(Counter())
        a[0].count = 5
        keys = b.load_state_dict(a.state_dict())
        missing = b.load_state_dict({}, strict=False)
        excess = T.nn.Sequential(T.nn.Identity()).load_state_dict(a.state_dict(), strict=False)
        return [list(a.state_dict()), b[0].count, repr(keys), repr(missing), repr(excess)]

    same(run)


def test_state_dict_hooks() -> None:
    def run(T: Any) -> Any:
        m, log = make(T), []
        m.register_state_dict_pre_hook(lambda mod, prefix, keep: log.append(("pre", prefix, keep)))
        m.first.register_state_dict_post_hook(
            lambda mod, d, prefix, meta: log.append(("post", prefix, len(d), meta))
        )
        m._register_load_state_dict_pre_hook(lambda d, *rest: d.pop("tied"))
        m.first.register_load_state_dict_pre_hook(
            lambda mod, d, prefix, *rest: log.append((type(mod).__name__, prefix))
        )
        m.register_load_state_dict_post_hook(
            lambda mod, keys: log.append((list(keys.missing_keys), keys.missing_keys.clear()))
        )
        log.append(repr(m.load_state_dict(m.state_dict())))
        handle = m.register_state_dict_post_hook(lambda *rest: 3)
        with handle:
            try:
                m.state_dict()
            except RuntimeError as error:
                log.append(type(error).__name__)
        return [*log, len(m.state_dict())]

    same(run)


def test_overridden_load() -> None:
    def run(T: Any) -> Any:
        class Old(T.nn.Module):  # type: ignore[misc,name-defined]
            _version = 2

            def __init__(self) -> None:
                super().__init__()
                self.new = T.nn.Parameter(T.ones(1))

            def _load_from_state_dict(self, d: Any, prefix: str, meta: Any, *rest: Any) -> None:
                if meta.get("version", 1) < 2:
                    d[prefix + "new"] = d.pop(prefix + "old")
                super()._load_from_state_dict(d, prefix, meta, *rest)

        m = T.nn.Sequential(Old())
        m.load_state_dict({"0.old": T.zeros(1)})
        return [m[0].new, dict(m.state_dict()._metadata)]

    same(run)


# ---- copies
