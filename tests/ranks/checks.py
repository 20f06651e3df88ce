"""What every rank of a job checks; run by tests/test_distributed.py, several checks per job.

Each rank writes how its checks went, as JSON, into the folder that it is given.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import sys
import time
import traceback

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_edu as torch
import tinygrad_edu.distributed as dist
from tinygrad_edu import nn
from tinygrad_edu.distributed.nn import functional as DF
from tinygrad_edu.distributed.optim import ZeroRedundancyOptimizer
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.parallel import DistributedDataParallel as DDP

DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8"]
OPS = {"SUM": np.add, "PRODUCT": np.multiply, "MIN": np.minimum, "MAX": np.maximum}
# All ranks must draw the same examples.
same_everywhere = settings(
    derandomize=True, database=None, deadline=None, max_examples=15,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)


def values(shape, dtype, seed, rank):
    """What a rank has; every rank knows what the others have."""
    made = np.random.default_rng([seed, rank]).integers(0, 4, shape)
    return np.asarray(made).astype(dtype)


def world():
    return dist.get_rank(), dist.get_world_size()


def raises(kind, words, call):
    try:
        call()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")


# ---- collectives, against NumPy


@same_everywhere
@given(shapes, st.sampled_from(DTYPES), st.sampled_from(sorted(OPS)), st.integers(0, 99))
def check_all_reduce(shape, dtype, op, seed):
    rank, size = world()
    every = [values(shape, dtype, seed, r) for r in range(size)]
    x = torch.tensor(every[rank])
    dist.all_reduce(x, dist.ReduceOp[op])
    expected = every[0]
    for other in every[1:]:
        expected = OPS[op](expected, other)
    np.testing.assert_array_equal(x.numpy(), expected)


@same_everywhere
@given(shapes, st.sampled_from([*DTYPES, "bool", "float16"]), st.integers(0, 99), st.data())
def check_moves(shape, dtype, seed, data):
    rank, size = world()
    root = data.draw(st.integers(0, size - 1))
    every = [values(shape, dtype, seed, r) for r in range(size)]
    mine = lambda: torch.tensor(every[rank])  # noqa: E731
    empty = lambda: [torch.zeros_like(mine()) for _ in range(size)]  # noqa: E731
    x = mine()
    dist.broadcast(x, root)
    np.testing.assert_array_equal(x.numpy(), every[root])
    parts = empty()
    dist.all_gather(parts, mine())
    for part, expected in zip(parts, every, strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)
    whole = torch.zeros((size, *shape), dtype=x.dtype)
    dist.all_gather_into_tensor(whole, mine())
    np.testing.assert_array_equal(whole.numpy(), np.stack(every))
    parts = empty() if rank == root else None
    dist.gather(mine(), parts, root)
    for part, expected in zip(parts or [], every, strict=False):
        np.testing.assert_array_equal(part.numpy(), expected)
    x = torch.zeros_like(mine())
    given_parts = [torch.tensor(e) for e in every] if rank == root else None
    dist.scatter(x, given_parts, root)
    np.testing.assert_array_equal(x.numpy(), every[rank])
    outputs = empty()
    dist.all_to_all(outputs, [torch.tensor(values(shape, dtype, seed + r, rank))
                              for r in range(size)])  # fmt: skip
    for r, part in enumerate(outputs):
        np.testing.assert_array_equal(part.numpy(), values(shape, dtype, seed + rank, r))


@same_everywhere
@given(shapes, st.sampled_from(DTYPES), st.integers(0, 99), st.data())
def check_reductions_to_one(shape, dtype, seed, data):
    rank, size = world()
    root = data.draw(st.integers(0, size - 1))
    every = [values(shape, dtype, seed, r) for r in range(size)]
    x = torch.tensor(every[rank])
    dist.reduce(x, root)
    total = np.sum(every, axis=0).astype(dtype)
    np.testing.assert_array_equal(x.numpy(), total if rank == root else every[rank])
    x = torch.zeros(shape, dtype=x.dtype)
    dist.reduce_scatter(x, [torch.tensor(every[rank]) + r for r in range(size)])
    np.testing.assert_array_equal(x.numpy(), (total + size * rank).astype(dtype))
    whole = torch.stack([torch.tensor(every[rank]) + r for r in range(size)])
    dist.reduce_scatter_tensor(x, whole)
    np.testing.assert_array_equal(x.numpy(), (total + size * rank).astype(dtype))


@functools.cache
def group_of(members):
    return dist.new_group(members, sort_ranks=False)


@same_everywhere
@given(shapes, st.sampled_from(DTYPES), st.integers(0, 99), st.data())
def check_any_group(shape, dtype, seed, data):
    """Groups of any members, in any order; the others keep what they have."""
    rank, size = world()
    members = data.draw(st.permutations(range(size)))[: data.draw(st.integers(1, size))]
    root, group = data.draw(st.sampled_from(members)), group_of(tuple(members))
    inside = rank in members
    place = members.index(rank) if inside else 0
    every = [values(shape, dtype, seed, r) for r in members]
    mine = torch.tensor(values(shape, dtype, seed, rank))
    total = np.sum(every, axis=0).astype(dtype)

    def check(got, expected, there=inside):
        np.testing.assert_array_equal(got.numpy(), expected if there else mine.numpy())

    x = mine.clone()
    dist.all_reduce(x, group=group)
    check(x, total)
    x = mine.clone()
    dist.reduce(x, root, group=group)
    check(x, total, rank == root)
    x = mine.clone()
    dist.broadcast(x, root, group=group)
    check(x, every[members.index(root)])
    parts = [mine.clone() for _ in members]
    dist.all_gather(parts, mine, group=group)
    for part, expected in zip(parts, every, strict=True):
        check(part, expected)
    dist.gather(mine, parts if rank == root else None, root, group=group)
    x = mine.clone()
    dist.scatter(x, parts if rank == root else None, root, group=group)
    check(x, every[place])
    x = mine.clone()
    dist.reduce_scatter(x, [mine * (i + 1) for i in range(len(members))], group=group)
    check(x, (total * (place + 1)).astype(dtype))
    outputs = [mine.clone() for _ in members]
    dist.all_to_all(outputs, [mine * (i + 1) for i in range(len(members))], group=group)
    for part, expected in zip(outputs, every, strict=True):
        check(part, (expected * (place + 1)).astype(dtype))


@same_everywhere
@given(shapes.filter(len), st.integers(0, 99))
def check_layouts(shape, seed):
    """Tensors that are no row of memory, and views: the base sees what arrives."""
    rank, size = world()
    every = [values((*shape, 2), "float64", seed, r) for r in range(size)]
    base = torch.tensor(every[rank])
    view = base.transpose(0, -1)[0]
    before = base._version
    dist.all_reduce(view)
    expected = every[rank].copy()
    np.swapaxes(expected, 0, -1)[0] = np.sum([np.swapaxes(e, 0, -1)[0] for e in every], axis=0)
    np.testing.assert_array_equal(base.numpy(), expected)
    assert base._version > before


def check_sixteen_bits():
    """Added up in float32, rounded once."""
    rank, size = world()
    for name in ("float16", "bfloat16"):
        dtype = getattr(torch, name)
        x = torch.tensor([1.0 if rank == 0 else 2**-9], dtype=dtype)
        dist.all_reduce(x)
        exact = torch.tensor([1.0 + (size - 1) * 2**-9]).to(dtype)
        assert x.dtype == dtype and torch.equal(x, exact), (x, exact)
        x = torch.full((3,), float(rank), dtype=dtype)
        dist.all_reduce(x, dist.ReduceOp.AVG)
        assert torch.equal(x, torch.full((3,), (size - 1) / 2).to(dtype))


def check_bits_and_bools():
    rank, size = world()
    x = torch.tensor([1 << rank])
    dist.all_reduce(x, dist.ReduceOp.BOR)
    assert x.item() == 2**size - 1
    b = torch.tensor([rank == 0, False])
    dist.all_reduce(b)
    assert b.tolist() == [True, False]
    raises(RuntimeError, "AVG", lambda: dist.all_reduce(x, dist.ReduceOp.AVG))
    raises(RuntimeError, "BOR", lambda: dist.all_reduce(torch.ones(1), dist.ReduceOp.BOR))
    raises(TypeError, "ReduceOp", lambda: dist.all_reduce(x, "sum"))


def check_async():
    rank, size = world()
    xs = [torch.full((1000,), float(i + rank)) for i in range(20)]
    works = [dist.all_reduce(x, async_op=True) for x in xs]
    for i in reversed(range(20)):  # the order of waiting does not matter
        assert works[i].wait() and works[i].is_completed() and works[i].is_success()
        assert xs[i][0].item() == sum(i + r for r in range(size))


def check_no_deadlock_between_groups():
    """Each waits for its operation of one group before that of another."""
    rank, size = world()
    everyone, all_again = dist.group.WORLD, dist.new_group()
    x, y = torch.ones(1 << 18), torch.ones(1 << 18)
    first = dist.all_reduce(x, group=everyone, async_op=True)
    second = dist.all_reduce(y, group=all_again, async_op=True)
    for work in (first, second) if rank == 0 else (second, first):
        work.wait()
    assert x[0] == y[0] == size


def check_groups():
    rank, size = world()
    first = dist.new_group([0, size - 1])
    pairs = [dist.new_group([r]) for r in range(size)]
    assert pairs[rank].rank() == 0 and dist.get_world_size(pairs[rank]) == 1
    other = pairs[(rank + 1) % size]
    assert other == dist.GroupMember.NON_GROUP_MEMBER and dist.get_rank(other) == -1
    x = torch.tensor([rank + 1.0])
    assert dist.all_reduce(x, group=other) is None and x.item() == rank + 1
    dist.all_reduce(x, group=first)
    assert x.item() == (1 + size if rank in (0, size - 1) else rank + 1)
    if rank in (0, size - 1):
        assert dist.get_process_group_ranks(first) == [0, size - 1]
        assert dist.get_global_rank(first, 1) == size - 1
        assert dist.get_group_rank(first, size - 1) == 1
        y = torch.tensor([float(rank)])
        dist.broadcast(y, size - 1, group=first)
        assert y.item() == size - 1
    if 0 < rank < size - 1:
        assert dist.get_rank(first) == -1
    backwards = dist.new_group([*range(size)][::-1], sort_ranks=False)
    assert dist.get_rank(backwards) == size - 1 - rank
    raises(ValueError, "twice", lambda: dist.new_group([0, 0]))
    raises(ValueError, f"ranks in [0, {size})", lambda: dist.new_group([0, size]))


def check_messages():
    rank, size = world()
    following, previous = (rank + 1) % size, (rank - 1) % size
    x, y = torch.arange(5) + rank, torch.zeros(5, dtype=torch.int64)
    work = dist.isend(x, following, tag=3)
    assert dist.recv(y, previous, tag=3) == previous
    work.wait()
    assert y.tolist() == (np.arange(5) + previous).tolist()
    big, into = torch.full((300_000,), float(rank)), torch.empty(300_000)
    for w in dist.batch_isend_irecv([dist.P2POp(dist.isend, big, following),
                                     dist.P2POp(dist.irecv, into, previous)]):  # fmt: skip
        w.wait()
    assert into[-1].item() == previous
    if rank == 0:
        found = sorted(dist.recv(torch.empty(1)) for _ in range(size - 1))
        assert found == [*range(1, size)]
    else:
        dist.send(torch.ones(1), 0)
    dist.barrier()
    raises(ValueError, "same as the rank", lambda: dist.send(x, rank))


def check_a_message_of_another_shape():
    rank, _ = world()
    if rank == 0:
        dist.send(torch.ones(3), 1)
        dist.send(torch.ones(2), 1)
    elif rank == 1:
        x = torch.zeros(2)
        raises(dist.DistBackendError, "rank 0 sent (float64, shape (3,)", lambda: dist.recv(x, 0))
        dist.recv(x, 0)  # the wrong one is out of the way
        assert x.tolist() == [1.0, 1.0]
    dist.barrier()


def check_objects():
    rank, size = world()
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank, "text": "x" * rank * 1000})
    assert [o["rank"] for o in found] == [*range(size)] and len(found[-1]["text"]) > 0
    box = [rank, "two"] if rank == 1 else [None, None]
    dist.broadcast_object_list(box, 1)
    assert box == [1, "two"]
    got = [None]
    dist.scatter_object_list(got, [*"abcdef"[:size]] if rank == 0 else None)
    assert got == ["abcdef"[rank]]
    gathered = [None] * size if rank == 1 else None
    dist.gather_object(rank, gathered, 1)
    assert gathered is None or gathered == [*range(size)]
    if rank == 0:
        dist.send_object_list([{"a": 1}, None], 1)
    elif rank == 1:
        box = [None, None]
        assert dist.recv_object_list(box, 0) == 0 and box == [{"a": 1}, None]


def check_disagreements():
    """All ranks raise, nobody hangs, and the group goes on."""
    rank, size = world()
    x = torch.ones(2)
    wrong = [
        lambda: dist.all_reduce(torch.ones(2 + (rank == 1))),
        lambda: dist.all_reduce(torch.ones(2, dtype=torch.float64 if rank else torch.float32)),
        lambda: dist.all_reduce(x, dist.ReduceOp.MAX if rank else dist.ReduceOp.SUM),
        lambda: dist.broadcast(x, min(rank, 1)),
        lambda: dist.barrier() if rank else dist.all_reduce(x),
        lambda: dist.all_gather([x.clone() for _ in range(size)], x) if rank else dist.barrier(),
        lambda: dist.all_reduce(torch.ones(6).view(2, 3) if rank else torch.ones(3, 2)),
        lambda: dist.all_reduce(torch.ones([1] * 50 + [1 + (rank == 1)])),  # told by a checksum
    ]
    for call in wrong:
        raises(dist.DistBackendError, "rank 1 called", call)
    assert x.tolist() == [1.0, 1.0]
    dist.all_reduce(x)
    assert x.tolist() == [size, size]


def check_initialization():
    rank, size = world()
    raises(ValueError, "twice", lambda: dist.init_process_group("gloo"))
    assert dist.get_backend() == "gloo" and dist.is_initialized() and dist.is_available()
    assert dist.group.WORLD is dist.GroupMember.WORLD
    dist.destroy_process_group()
    assert not dist.is_initialized()
    raises(ValueError, "has not been initialized", dist.get_rank)
    for wrong, words in (
        (dict(world_size=size + 1), "MPI's world_size is"),
        (dict(rank=rank + 1), "MPI's rank is"),
        (dict(init_method=f"tcp://localhost:1?world_size={size + 2}"), "MPI's world_size is"),
        (dict(init_method="ftp://x"), "expected env://"),
        (dict(backend="carrier pigeon"), "Unknown backend"),
    ):
        raises(ValueError, words, lambda w=wrong: dist.init_process_group(**w))
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29500", rank=rank, world_size=size)
    x = torch.ones(1)
    dist.all_reduce(x)
    assert x.item() == size


def check_host_tensors_and_nccl():
    host = dist.new_group(backend="nccl")
    raises(RuntimeError, "device type cpu", lambda: dist.all_reduce(torch.ones(1), group=host))


# ---- gradients


def check_functional():
    """The gradient of the sum of all ranks' losses, against finite differences."""
    rank, size = world()
    rng = np.random.default_rng(rank)
    weights = np.random.default_rng(7).normal(size=(size, 2))
    calls = {
        "sum": lambda x: (DF.all_reduce(x) * x,),
        "avg": lambda x: (DF.all_reduce(x, dist.ReduceOp.AVG) ** 2,),
        "max": lambda x: (DF.all_reduce(x, dist.ReduceOp.MAX) ** 2,),
        "broadcast": lambda x: (DF.broadcast(x, 1) * x,),
        "reduce": lambda x: (DF.reduce(x, 1) ** 2,),
        "all_gather": lambda x: tuple(y * y * (i + 1) for i, y in enumerate(DF.all_gather(x))),
        "gather": lambda x: tuple(y * y for y in DF.gather(x, 0)),
        "scatter": lambda x: (DF.scatter([x * (r + 1) for r in range(size)], 0) ** 2,),
        "reduce_scatter": lambda x: (
            DF.reduce_scatter(torch.empty(2), [x * x * (r + 1) for r in range(size)]) * x,),
        "all_to_all": lambda x: tuple(
            y * y for y in DF.all_to_all([torch.empty(2) for _ in range(size)],
                                         [x * (r + 1) for r in range(size)])),
    }  # fmt: skip
    for name, call in calls.items():
        start = rng.normal(size=2)

        def loss(array, call=call):
            x = torch.tensor(array, requires_grad=True)
            return x, sum((y * torch.tensor(weights[rank])).sum() for y in call(x))

        x, here = loss(start)
        (g,) = torch.autograd.grad(here, x)
        for r in range(size):
            for i in range(2):
                ends = []
                for step in (1e-6, -1e-6):
                    moved = start.copy()
                    moved[i] += step * (rank == r)
                    total = loss(moved)[1].detach().clone()
                    dist.all_reduce(total)
                    ends.append(total.item())
                if r == rank:
                    slope = (ends[0] - ends[1]) / 2e-6
                    assert abs(slope - g[i].item()) < 1e-6, (name, i, slope, g[i].item())


def check_functional_twice():
    rank, size = world()
    x = torch.tensor([1.0 + rank], requires_grad=True)
    y = DF.all_reduce(x * x)
    (g,) = torch.autograd.grad(y, x, create_graph=True)  # every rank's y: 2 x size
    (gg,) = torch.autograd.grad(g, x)
    assert g.item() == 2 * size * (1 + rank) and gg.item() == 2 * size


# ---- DistributedDataParallel


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)
    )


def batch(size=12):
    torch.manual_seed(99)
    return torch.randn(size, 6), torch.randint(0, 3, (size,))


def same_on_all_ranks(module):
    """Bitwise."""
    mine = [x.numpy().tobytes() for x in module.state_dict().values()]
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    assert all(theirs == mine for theirs in found)


def close(a, b, tolerance=1e-10):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert np.abs(x.numpy() - y.numpy()).max() <= tolerance, name


def check_ddp_is_one_process():
    rank, size = world()
    x, y = batch()
    for options in (
        {}, {"bucket_cap_mb": 1e-4}, {"gradient_as_bucket_view": True}, {"static_graph": True},
        {"find_unused_parameters": True, "bucket_cap_mb": 5e-4},
    ):  # fmt: skip
        alone, ddp = model(), DDP(model(rank), **options)  # rank 0's values are given to all
        optimizers = [torch.optim.Adam(m.parameters(), lr=0.01) for m in (alone, ddp)]
        for _ in range(6):
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.cross_entropy(alone(x), y).backward()
            F.cross_entropy(ddp(x[rank::size]), y[rank::size]).backward()
            for p, q in zip(alone.parameters(), ddp.parameters(), strict=True):
                assert np.abs(p.grad.numpy() - q.grad.numpy()).max() < 1e-10
            nn.utils.clip_grad_norm_(alone.parameters(), 0.5)
            nn.utils.clip_grad_norm_(ddp.parameters(), 0.5)
            for optimizer in optimizers:
                optimizer.step()
        close(alone, ddp.module)
        same_on_all_ranks(ddp)
        assert [*ddp.state_dict()][0] == "module.0.weight"


def check_no_sync():
    rank, size = world()
    x, y = batch(24)
    alone, ddp = model(), DDP(model())
    F.cross_entropy(alone(x), y).backward()
    mine, labels = x[rank::size], y[rank::size]
    half = len(mine) // 2
    with ddp.no_sync():
        (F.cross_entropy(ddp(mine[:half]), labels[:half]) / 2).backward()
    found = [None] * size
    dist.all_gather_object(found, next(ddp.parameters()).grad.numpy().tobytes())
    assert len(set(found)) == size  # not averaged yet
    (F.cross_entropy(ddp(mine[half:]), labels[half:]) / 2).backward()
    for p, q in zip(alone.parameters(), ddp.parameters(), strict=True):
        assert np.abs(p.grad.numpy() - q.grad.numpy()).max() < 1e-12
    ddp.zero_grad()
    ddp.require_backward_grad_sync = False  # as nanoGPT does
    F.cross_entropy(ddp(mine), labels).backward()
    ddp.require_backward_grad_sync = True
    dist.barrier()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])

    def forward(self, x, which):
        return {"y": self.parts[which](x)}


def check_unused_parameters():
    rank, size = world()
    x = torch.ones(2, 3)
    torch.manual_seed(1)
    ddp = DDP(Branches(), find_unused_parameters=True, bucket_cap_mb=1e-5)
    ddp(x, 0)["y"].sum().backward()
    assert ddp.module.parts[1].weight.grad is None  # nobody has used it
    assert torch.allclose(ddp.module.parts[0].weight.grad, 2 * torch.ones(3, 3))
    ddp.zero_grad()
    ddp(x, rank % 2)["y"].sum().backward()
    evens = (size + 1) // 2
    expected = [2 * evens / size, 2 * (size - evens) / size]
    for i in (0, 1):
        assert torch.allclose(ddp.module.parts[i].weight.grad, torch.full((3, 3), expected[i]))
    strict = DDP(Branches())
    strict(x, 0)["y"].sum().backward()
    raises(RuntimeError, "Expected to have finished reduction", lambda: strict(x, 0))


def check_batch_norm():
    rank, size = world()
    x, y = batch(12)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    ddp = DDP(synced)
    cuts = [12 * r * r // size**2 for r in range(size + 1)]  # batches of different sizes
    mine = slice(cuts[rank], cuts[rank + 1])
    for _ in range(3):
        plain.zero_grad()
        ddp.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        share = (cuts[rank + 1] - cuts[rank]) * size / 12
        (F.cross_entropy(ddp(x[mine]), y[mine]) * share).backward()
        for p, q in zip(plain.parameters(), ddp.parameters(), strict=True):
            assert np.abs(p.grad.numpy() - q.grad.numpy()).max() < 1e-10
    close(plain, synced)
    with torch.no_grad():
        assert torch.allclose(plain.eval()(x), synced.eval()(x))
    torch.manual_seed(rank)
    apart = DDP(nn.BatchNorm1d(6))
    apart(torch.randn(4, 6)).sum().backward()
    apart(torch.randn(4, 6)).sum().backward()  # it begins with rank 0's buffers
    apart = DDP(nn.BatchNorm1d(6), broadcast_buffers=False)
    alone = nn.BatchNorm1d(6)
    for x in torch.randn(2, 4, 6):
        apart(x).sum().backward()
        alone(x)
    assert torch.equal(apart.module.running_mean, alone.running_mean)


def check_uneven_inputs():
    """Against one process that does what join promises."""
    rank, size = world()
    x, y = batch(12)
    for by_all in (True, False):
        ddp, alone = DDP(model()), model()
        optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (ddp, alone)]
        with ddp.join(divide_by_initial_world_size=by_all):
            for i in range(1 + rank):
                optimizers[0].zero_grad()
                F.cross_entropy(ddp(x[i :: rank + 2]), y[i :: rank + 2]).backward()
                optimizers[0].step()
        for i in range(size):
            active = [r for r in range(size) if i < 1 + r]
            optimizers[1].zero_grad()
            losses = [F.cross_entropy(alone(x[i :: r + 2]), y[i :: r + 2]) for r in active]
            (sum(losses) / (size if by_all else len(active))).backward()
            optimizers[1].step()
        close(alone, ddp.module)
        same_on_all_ranks(ddp)
    ddp = DDP(model())

    def short():
        with ddp.join(throw_on_early_termination=True):
            for _ in range(1 + rank):
                ddp(x).sum().backward()

    raises(RuntimeError, "exhausted inputs", short)


def check_ddp_refuses():
    rank, _ = world()
    said = "the ranks disagree: rank 0 called DistributedDataParallel(weight, torch.float64, shape"
    raises(RuntimeError, said, lambda: DDP(nn.Linear(2, 2 + (rank == 1))))
    said = "DistributedDataParallel(bias, torch.float64, shape (2,)"
    raises(RuntimeError, said, lambda: DDP(nn.Linear(2, 2, bias=rank != 1)))
    DDP(nn.Linear(2, 2))  # all were at the same place when they raised
    raises(RuntimeError, "not needed", lambda: DDP(nn.ReLU()))
    raises(ValueError, "device_ids", lambda: DDP(nn.Linear(1, 1), device_ids=[0]))


def check_sixteen_bit_gradients():
    rank, size = world()
    torch.set_default_dtype(torch.float32)
    ddp = DDP(model().to(torch.bfloat16))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
    x, y = batch()
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(ddp(x[rank::size].to(torch.bfloat16)).float(), y[rank::size])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    same_on_all_ranks_16(ddp)
    torch.set_default_dtype(torch.float64)


def same_on_all_ranks_16(module):
    mine = [x.float().numpy().tobytes() for x in module.state_dict().values()]
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    assert all(theirs == mine for theirs in found)


def check_sharded_optimizer():
    rank, size = world()
    x, y = batch()
    plain, ddp = model(), DDP(model())
    options = dict(lr=0.01, weight_decay=0.1)
    whole = torch.optim.AdamW(plain.parameters(), **options)
    sharded = ZeroRedundancyOptimizer(ddp.parameters(), torch.optim.AdamW, **options)
    schedules = [torch.optim.lr_scheduler.StepLR(o, 2, 0.5) for o in (whole, sharded)]

    def step(i):
        for m, o, s in ((plain, whole, schedules[0]), (ddp, sharded, schedules[1])):
            o.zero_grad()
            part = slice(None) if m is plain else slice(rank, None, size)
            F.cross_entropy(m(x[part]), y[part]).backward()
            o.step()
            s.step()

    for i in range(4):
        step(i)
    close(plain, ddp.module)
    numbers = lambda state: sum(v.numel() for s in state.values() for v in s.values())  # noqa: E731
    share = numbers(sharded.state) / numbers(whole.state)
    assert share < 0.75 if size == 2 else share < 0.6, share
    raises(RuntimeError, "has not been consolidated", sharded.state_dict)
    sharded.consolidate_state_dict(to=0)
    box = [sharded.state_dict() if rank == 0 else None]
    dist.broadcast_object_list(box, 0)
    for i, state in box[0]["state"].items():
        expected = whole.state_dict()["state"][i]
        for name, value in state.items():
            assert np.abs(value.numpy() - expected[name].numpy()).max() < 1e-10
    whole.load_state_dict(box[0])  # and the other way round
    again = ZeroRedundancyOptimizer(ddp.parameters(), torch.optim.AdamW, **options)
    again.load_state_dict(box[0])
    assert again.param_groups[0]["lr"] == whole.param_groups[0]["lr"]
    for o, m in ((whole, plain), (again, ddp)):
        o.zero_grad()
        part = slice(None) if m is plain else slice(rank, None, size)
        F.cross_entropy(m(x[part]), y[part]).backward()
        o.step()
    close(plain, ddp.module)


def check_sampler():
    rank, size = world()
    sampler = torch.utils.data.DistributedSampler(range(10), shuffle=False)
    assert (sampler.rank, sampler.num_replicas) == (rank, size)
    found = [None] * size
    dist.all_gather_object(found, [*sampler])
    assert {i for part in found for i in part} == set(range(10))


def main() -> None:
    from datetime import timedelta

    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", timeout=timedelta(seconds=20))
    results = {}
    wanted = sys.argv[2:]
    for name, check in globals().items():
        if name.startswith("check_") and (not wanted or name in wanted):
            start = time.perf_counter()
            try:
                check()
                results[name] = "ok"
            except Exception:
                results[name] = traceback.format_exc()
            if os.environ.get("SHOW_TIMES") and dist.get_rank() == 0:
                print(f"{name} {time.perf_counter() - start:.2f} s", flush=True)
    path = os.path.join(sys.argv[1], f"{dist.get_rank()}.json")
    with open(path, "w") as file:
        json.dump(results, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
