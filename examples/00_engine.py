"""The whole idea in one file: an autograd engine, and two models that learn with it.

    python examples/00_engine.py

An operation computes an array and notes in a node how to go back: its rules, the nodes of its
inputs (`edges`), and what the rules will need (`kept`).  From the loss, one walk over the nodes,
youngest first, carries the gradient to the parameters.  The package has the same idea in the same
words.  All the rest of it makes this faster, wider and safer:

    left out here                                       where it is, in tinygrad_edu/
    --------------------------------------------------  -------------------------------------------
    operations that have several results                engine/graph.py, engine/record.py
    plans made once; misspelt names found at import     engine/primitive.py
    the same call in less time                          engine/fast.py
    adding in place; walking to chosen inputs only      engine/walk.py, engine/gradients.py
    views; writes in place, noticed where they matter   engine/views.py, engine/inplace.py,
                                                        engine/versions.py
    derivatives of derivatives                          engine/second.py
    functions of gradients, called on the way           engine/hooks.py
    switching recording off; errors in plain words      engine/mode.py, engine/boundary.py
    all other operations, and fast twins of some        ops/, kernels/
    element types, GPUs, PyTorch's random numbers       dtypes.py, backend.py, random/
    all other layers, losses, optimizers, schedules     nn/, optim/
    loading batches, saving models                      utils/data/, serialization/
"""

import heapq
import itertools
import math
import weakref

import datasets
import numpy as np

# ---- what is recorded ----------------------------------------------------------------------------

clock = itertools.count(1).__next__  # ticks once for every node


class Tensor:
    """An array, and the node that made it; None if no parameter is behind it."""

    def __init__(self, array, node=None):
        self.array, self.node, self.grad = array, node, None

    def backward(self):
        walk_back(self.node, np.ones_like(self.array))


class Node:
    """One recorded operation.

    It points to older nodes and to arrays, never to a tensor.  So there are no cycles, and a graph
    is freed by reference count as soon as its last tensor is gone.
    """

    def __init__(self, plan, edges, kept, shape):
        self.number = clock()  # a node is younger than its inputs
        self.plan, self.edges, self.kept, self.shape = plan, edges, kept, shape


class Leaf(Node):
    """The end of a path: adds the gradient that arrives to the `.grad` of its tensor."""

    def __init__(self, tensor):
        super().__init__((), (), {}, tensor.array.shape)
        self.tensor = weakref.ref(tensor)  # which points here: no cycle


class Parameter(Tensor):
    """A tensor that learns."""

    def __init__(self, array):
        super().__init__(array.astype(np.float32))
        self.node = Leaf(self)


# ---- primitives, each with its derivative --------------------------------------------------------
#
# A rule takes `g`, the gradient of the output `y`, to the gradient of one input.  Its signature
# says what else it needs of the call, by name: that is kept, and nothing else.


def primitive(forward):
    """Make an operation on tensors of a function of arrays; `vjp` declares its rules."""

    def call(*args):
        values = [a.array if isinstance(a, Tensor) else a for a in args]
        y = forward(*values)
        return Tensor(y, note(call, args, values, y))

    call.parameters, call.rules = names(forward), {}
    call.vjp = lambda **rules: call.rules.update(rules)
    return call


def names(function):
    return function.__code__.co_varnames[: function.__code__.co_argcount]


add = primitive(lambda a, b: a + b)
add.vjp(a=lambda g: g, b=lambda g: g)

sub = primitive(lambda a, b: a - b)
sub.vjp(a=lambda g: g, b=lambda g: -g)

mul = primitive(lambda a, b: a * b)
mul.vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)

div = primitive(lambda a, b: a / b)
div.vjp(a=lambda g, b: g / b, b=lambda g, b, y: -g * y / b)

matmul = primitive(lambda a, b: a @ b)
matmul.vjp(a=lambda g, b: g @ b.swapaxes(-1, -2), b=lambda g, a: a.swapaxes(-1, -2) @ g)

exp = primitive(lambda x: np.exp(x))
exp.vjp(x=lambda g, y: g * y)

log = primitive(lambda x: np.log(x))
log.vjp(x=lambda g, x: g / x)

sqrt = primitive(lambda x: np.sqrt(x))
sqrt.vjp(x=lambda g, y: g / (2 * y))

relu = primitive(lambda x: np.maximum(x, 0))
relu.vjp(x=lambda g, y: np.where(y > 0, g, 0))

sum = primitive(lambda x, dim: x.sum(dim, keepdims=True))
sum.vjp(x=lambda g, x_shape: np.broadcast_to(g, x_shape))

reshape = primitive(lambda x, shape: x.reshape(shape))
reshape.vjp(x=lambda g, x_shape: g.reshape(x_shape))

transpose = primitive(lambda x, dim0, dim1: x.swapaxes(dim0, dim1))
transpose.vjp(x=lambda g, dim0, dim1: g.swapaxes(dim0, dim1))

Tensor.__add__, Tensor.__sub__, Tensor.__mul__ = add, sub, mul
Tensor.__truediv__, Tensor.__matmul__ = div, matmul

# ---- what a call notes ---------------------------------------------------------------------------


def note(op, args, values, y):
    """The node of a call, with the rules of those inputs that have a node; None if none has."""
    edges = [a.node if isinstance(a, Tensor) else None for a in args]
    plan = [(i, op.rules[op.parameters[i]]) for i, edge in enumerate(edges) if edge is not None]
    known = dict(zip(op.parameters, values, strict=True), y=y)
    known |= {f"{name}_shape": np.shape(value) for name, value in known.items()}
    kept = {name: known[name] for _, rule in plan for name in names(rule)[1:]}
    return Node(plan, edges, kept, y.shape) if plan else None


# ---- the way back --------------------------------------------------------------------------------


def walk_back(node, g):
    """Carry `g`, the gradient of the node's output, to the leaves.

    A node is younger than its inputs.  So when the youngest has its turn, all that used its output
    have had theirs, and its gradient is complete.
    """
    pending, queue = {node: g}, [(-node.number, node)]  # a heap: the least comes first
    while queue:
        node = heapq.heappop(queue)[1]
        g = pending.pop(node)
        if isinstance(node, Leaf):
            accumulate(node, g)
        for i, gx in gradients(node, g):
            edge = node.edges[i]
            if gx.shape != edge.shape:
                gx = unbroadcast(gx, edge.shape)
            if edge in pending:
                pending[edge] = pending[edge] + gx
            else:
                pending[edge] = gx
                heapq.heappush(queue, (-edge.number, edge))
        node.kept = None  # the memory is free as soon as it has served


def gradients(node, g):
    """Pairs (input, gradient of that input), computed by the rules."""
    return [(i, rule(g, *[node.kept[name] for name in names(rule)[1:]])) for i, rule in node.plan]


def unbroadcast(g, shape):
    """Sum `g` down to `shape`: broadcasting copies forward, so gradients add up backward."""
    dims = [i for i in range(g.ndim) if i < g.ndim - len(shape) or shape[i - g.ndim] == 1]
    return g.sum(tuple(dims)).reshape(shape)


def accumulate(leaf, g):
    """Add a complete gradient to the `.grad` of the leaf's tensor, if that is still there."""
    tensor = leaf.tensor()
    if tensor is not None:
        tensor.grad = g if tensor.grad is None else tensor.grad + g


# ---- layers: parameters, and a function of them --------------------------------------------------

random = np.random.default_rng(0)


def parameters(x):
    """All parameters of a layer: its own, and those of the layers and lists in it."""
    if isinstance(x, Parameter):
        return [x]
    parts = x if isinstance(x, list) else getattr(x, "__dict__", {}).values()
    return [p for part in parts for p in parameters(part)]


class Linear:
    def __init__(self, inputs, outputs):
        bound = inputs**-0.5
        self.weight = Parameter(random.uniform(-bound, bound, (outputs, inputs)))
        self.bias = Parameter(random.uniform(-bound, bound, outputs))

    def __call__(self, x):
        return matmul(x, transpose(self.weight, 0, 1)) + self.bias


def dropout(x, p):
    """Zero a share `p` of the numbers; the others grow, so that the mean stays."""
    mask = (random.random(x.array.shape) >= p) / (1 - p)
    return x * mask.astype(x.array.dtype)


def layer_norm(x):
    """Mean 0 and variance 1 along the channels."""
    n = x.array.shape[-1]
    x = x - sum(x, -1) / n
    return x / sqrt(sum(x * x, -1) / n + 1e-5)


def log_softmax(x):
    x = x - x.array.max(-1, keepdims=True)  # the result is the same, and exp cannot overflow
    return x - log(sum(exp(x), -1))


def cross_entropy(x, target):
    """The mean of -log softmax(x)[target]."""
    return sum(log_softmax(x) * one_hot(target, x.array.shape[-1]), None) / -target.size


def one_hot(ids, n):
    return np.eye(n, dtype=np.float32)[ids]


# ---- two models ----------------------------------------------------------------------------------
#
# B sequences, T characters, C channels, H heads of D = C / H channels, V different characters.


class MLP:
    def __init__(self, *widths):
        self.layers = [Linear(m, n) for m, n in itertools.pairwise(widths)]

    def __call__(self, x, p=0.0):
        for layer in self.layers[:-1]:
            x = dropout(relu(layer(x)), p)
        return self.layers[-1](x)


class Block:
    """Characters tell each other what they know, then each thinks about it by itself."""

    def __init__(self, width, heads):
        self.heads, self.qkv = heads, [Linear(width, width) for _ in range(3)]
        self.out, self.mlp = Linear(width, width), MLP(width, 4 * width, width)

    def attention(self, x):
        """Every character gathers from those before it what its query asks their keys for."""
        B, T, C = x.array.shape
        parts = [reshape(layer(x), (B, T, self.heads, -1)) for layer in self.qkv]
        q, k, v = [transpose(part, 1, 2) for part in parts]  # (B, H, T, D)
        scores = q @ transpose(k, 2, 3) / math.sqrt(C // self.heads)  # (B, H, T, T)
        future = np.triu(np.full((T, T), -np.inf, x.array.dtype), 1)
        y = exp(log_softmax(scores + future)) @ v  # (B, H, T, D)
        return self.out(reshape(transpose(y, 1, 2), (B, T, C)))

    def __call__(self, x, p):
        x = x + dropout(self.attention(layer_norm(x)), p)
        return x + dropout(self.mlp(layer_norm(x)), p)


class GPT:
    """The logits of the next character after every character of a text."""

    def __init__(self, vocab, length, width, heads, blocks):
        self.characters = Parameter(random.normal(0, 1, (vocab, width)))
        self.positions = Parameter(random.normal(0, 1, (length, width)))
        self.blocks = [Block(width, heads) for _ in range(blocks)]
        self.head = Linear(width, vocab)

    def __call__(self, ids, p=0.0):  # ids: (B, T)
        hot = one_hot(ids, len(self.characters.array))  # (B, T, V)
        x = dropout(matmul(hot, self.characters) + self.positions, p)  # (B, T, C)
        for block in self.blocks:
            x = block(x, p)
        return self.head(layer_norm(x))  # (B, T, V)


# ---- training ------------------------------------------------------------------------------------


class AdamW:
    """x <- x - lr (m_hat / (sqrt(v_hat) + eps) + weight_decay x); m, v: averages of g and g^2."""

    def __init__(self, parameters, lr, weight_decay=0.01):
        self.parameters, self.lr, self.weight_decay, self.t = parameters, lr, weight_decay, 0
        self.averages = [(np.zeros_like(x.array), np.zeros_like(x.array)) for x in parameters]

    def step(self):
        self.t += 1
        for x, (m, v) in zip(self.parameters, self.averages, strict=True):
            m += 0.1 * (x.grad - m)
            v += 0.001 * (x.grad**2 - v)
            m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            x.array -= self.lr * (m_hat / (np.sqrt(v_hat) + 1e-8) + self.weight_decay * x.array)
            x.grad = None


def clip_grad_norm_(parameters, max_norm):
    norm = math.hypot(*[np.linalg.norm(x.grad) for x in parameters])
    for x in parameters:
        x.grad = x.grad * min(1.0, max_norm / (norm + 1e-6))


def train(model, x, target, steps, lr, p, size):
    """Learn from random batches; yields the loss of each."""
    optimizer = AdamW(parameters(model), lr)
    for step in range(steps):
        batch = random.integers(len(x), size=size)
        loss = cross_entropy(model(x[batch], p), target[batch])
        loss.backward()
        clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.lr = lr * (1 + math.cos(math.pi * step / steps)) / 2  # cosine annealing
        optimizer.step()
        yield loss.array.item()


def main():
    (x, target), (x_test, target_test) = datasets.load_digits()
    mlp = MLP(64, 64, 64, 10)
    for step, loss in enumerate(train(mlp, x, target, steps=1001, lr=3e-3, p=0.2, size=32)):
        if step % 200 == 0:
            print(f"digits, step {step:4}: loss {loss:.3f}")
    print(f"test images read right: {np.mean(mlp(x_test).array.argmax(-1) == target_test):.1%}")

    letters, ids = np.unique(np.fromfile(__file__, np.uint8), return_inverse=True)
    w = np.lib.stride_tricks.sliding_window_view(ids, 25)  # every 25 characters in a row
    gpt = GPT(len(letters), 24, 48, 4, 2)
    for step, loss in enumerate(train(gpt, w[:, :-1], w[:, 1:], steps=601, lr=1e-2, p=0, size=32)):
        if step % 200 == 0:
            print(f"characters of this file, step {step:4}: loss {loss:.3f}")
    ids = w[:1, :24]
    for _ in range(300):
        chances = gpt(ids[:, -24:]).array[0, -1] + 0.8 * random.gumbel(size=len(letters))
        ids = np.append(ids, [[chances.argmax()]], 1)
    print(letters[ids[0]].tobytes().decode())


if __name__ == "__main__":
    main()
