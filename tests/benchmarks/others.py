"""The perceptron and the GPT in MyGrad's and in HIPS autograd's words, for workloads.py.

Neither has layers or optimizers: the models are functions of a list of parameters, and dropout,
clipping and AdamW are written in NumPy.  Formulas stand as in the papers, as a user would write
them.  GELU is the tanh form, since neither library has an erf.
"""

import math

import numpy as np

RATE, DECAY, BETA1, BETA2, EPS = 1e-3, 1e-4, 0.9, 0.999, 1e-8


def adamw(arrays):
    """A function that clips the gradients to norm 1 and moves the arrays in place."""
    m, v, t = [np.zeros_like(p) for p in arrays], [np.zeros_like(p) for p in arrays], 0

    def step(gradients):
        nonlocal t
        t += 1
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        for i, (p, g) in enumerate(zip(arrays, gradients, strict=True)):
            g = g * min(1.0, 1.0 / (norm + 1e-6))
            m[i] = BETA1 * m[i] + (1 - BETA1) * g
            v[i] = BETA2 * v[i] + (1 - BETA2) * g**2
            m_hat, v_hat = m[i] / (1 - BETA1**t), v[i] / (1 - BETA2**t)
            p -= RATE * (m_hat / (np.sqrt(v_hat) + EPS) + DECAY * p)

    return step


def uniform(random, *shape):
    bound = 1 / math.sqrt(shape[0])
    return random.uniform(-bound, bound, shape).astype(np.float32)


def perceptron(np_like, relu, cross_entropy, batch, random):
    """The parameters of 784-256-256-10 and the loss as a function of them."""
    sizes = [784, 256, 256, 10]
    arrays = []
    for n, k in zip(sizes, sizes[1:], strict=False):
        arrays += [uniform(random, n, k), np.zeros(k, np.float32)]
    x = random.standard_normal((batch, 784), np.float32)
    y = random.integers(0, 10, batch)

    def loss(parameters):
        h = x
        for i in range(0, len(parameters), 2):
            h = np_like.matmul(h, parameters[i]) + parameters[i + 1]
            if i < len(parameters) - 2:
                h = relu(h) * (random.random(h.shape, np.float32) < 0.8) / 0.8
        return cross_entropy(h, y)

    return arrays, loss


def transformer(np_like, cross_entropy, random, *, layers, heads, width, block, batch, vocab=96):
    """The parameters of the GPT of gpt.py and the loss as a function of them."""
    arrays = [uniform(random, vocab, width), uniform(random, block, width)]
    one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
    for _ in range(layers):
        arrays += [one.copy(), zero.copy(), one.copy(), zero.copy()]
        for n, k in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
            arrays += [uniform(random, n, k), np.zeros(k, np.float32)]
    arrays += [one.copy(), zero.copy(), uniform(random, width, vocab)]
    ids = random.integers(0, vocab, (batch, block + 1))
    mask = np.triu(np.full((block, block), -1e9, np.float32), 1)

    def norm(x, weight, bias):
        z = x - np_like.mean(x, axis=-1, keepdims=True)
        variance = np_like.mean(z * z, axis=-1, keepdims=True)
        return z / np_like.sqrt(variance + 1e-5) * weight + bias

    def attention(x, w_qkv, b_qkv, w_out, b_out):
        qkv = np_like.reshape(
            np_like.matmul(x, w_qkv) + b_qkv, (batch, block, 3, heads, width // heads)
        )
        q, key, v = (np_like.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(3))
        scale = 1 / math.sqrt(width // heads)
        scores = np_like.matmul(q, np_like.transpose(key, (0, 1, 3, 2))) * scale + mask
        e = np_like.exp(scores - np_like.max(scores, axis=-1, keepdims=True))
        y = np_like.matmul(e / np_like.sum(e, axis=-1, keepdims=True), v)
        y = np_like.reshape(np_like.transpose(y, (0, 2, 1, 3)), (batch, block, width))
        return np_like.matmul(y, w_out) + b_out

    def loss(p):
        x = p[0][ids[:, :-1]] + p[1]
        for i in range(2, 2 + 12 * layers, 12):
            x = x + attention(norm(x, p[i], p[i + 1]), *p[i + 4 : i + 8])
            h = np_like.matmul(norm(x, p[i + 2], p[i + 3]), p[i + 8]) + p[i + 9]
            h = 0.5 * h * (1 + np_like.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
            x = x + np_like.matmul(h, p[i + 10]) + p[i + 11]
        scores = np_like.matmul(norm(x, p[-3], p[-2]), p[-1])
        return cross_entropy(np_like.reshape(scores, (batch * block, vocab)), ids[:, 1:].ravel())

    return arrays, loss


def in_mygrad(build):
    import mygrad

    losses = mygrad.nnet.losses.softmax_crossentropy
    arrays, loss = build(mygrad, mygrad.nnet.activations.relu, losses)
    parameters = [mygrad.tensor(a, copy=False) for a in arrays]
    optimizer = adamw([p.data for p in parameters])

    def step():
        loss(parameters).backward()
        optimizer([p.grad for p in parameters])

    return step


def in_autograd(build):
    import autograd
    import autograd.numpy as anp

    def cross_entropy(x, y):
        x = x - anp.max(x, axis=1, keepdims=True)
        rows = np.arange(len(y))
        return anp.mean(anp.log(anp.sum(anp.exp(x), axis=1)) - x[rows, y])

    arrays, loss = build(anp, lambda x: anp.maximum(x, 0), cross_entropy)
    gradient, optimizer = autograd.value_and_grad(loss), adamw(arrays)

    def step():
        optimizer(gradient(arrays)[1])

    return step


def mlp_step(library, batch):
    random = np.random.default_rng(0)
    start = in_mygrad if library == "mygrad" else in_autograd
    return start(lambda *words: perceptron(*words, batch, random))


def gpt_step(library, **sizes):
    random = np.random.default_rng(0)
    start = in_mygrad if library == "mygrad" else in_autograd
    return start(lambda xp, relu, entropy: transformer(xp, entropy, random, **sizes))
