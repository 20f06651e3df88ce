"""The perceptron and the GPT in JAX, the whole training step compiled by `jit`, for workloads.py.

Weights are drawn by JAX: only the time is of interest.  GELU is the erf form, attention is written
out, AdamW and clipping are as in limit.py.
"""

import jax
import jax.numpy as jnp

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def cross_entropy(z, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()


def training(loss, parameters, decay, key):
    """A step that keeps its state: gradient of `loss(parameters, key)`, clipping, AdamW."""

    @jax.jit
    def update(parameters, m, v, t, key):
        key, now = jax.random.split(key)
        value, g = jax.value_and_grad(loss)(parameters, now)
        leaves = jax.tree.leaves(g)
        scale = jnp.minimum(1.0, 1.0 / (jnp.sqrt(sum((x * x).sum() for x in leaves)) + 1e-6))
        g = jax.tree.map(lambda x: x * scale, g)
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        c1, c2 = 1 - BETA1**t, jnp.sqrt(1 - BETA2**t)

        def move(p, m, v):
            return p * (1 - RATE * decay) - RATE / c1 * m / (jnp.sqrt(v) / c2 + EPS)

        return jax.tree.map(move, parameters, m, v), m, v, t + 1, key, value

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [parameters, zeros, zeros, jnp.float32(1), key]

    def step():
        *state[:], value = update(*state)
        return value.block_until_ready()

    return step


def uniform(key, *shape):
    bound = shape[-1] ** -0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def mlp_step(batch):
    keys = jax.random.split(jax.random.key(0), 6)
    sizes = [784, 256, 256, 10]
    parameters = [
        (uniform(k, n, m), jnp.zeros(n)) for k, m, n in zip(keys, sizes, sizes[1:], strict=False)
    ]
    x = jax.random.normal(keys[3], (batch, 784))
    y = jax.random.randint(keys[4], (batch,), 0, 10)

    def loss(parameters, key):
        h = x
        for i, (w, b) in enumerate(parameters):
            h = h @ w.T + b
            if i < 2:
                keep = jax.random.bernoulli(jax.random.fold_in(key, i), 0.8, h.shape)
                h = jnp.where(keep, jax.nn.relu(h) / 0.8, 0)
        return cross_entropy(h, y)

    return training(loss, parameters, 1e-4, keys[5])


def norm(x, w, b):
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w + b


def gpt_step(*, layers, heads, width, block, batch, vocab=96):
    key = iter(jax.random.split(jax.random.key(0), 4 * layers + 6))

    def linear(n, m):
        return uniform(next(key), n, m), jnp.zeros(n)

    def norms():
        return jnp.ones(width), jnp.zeros(width)

    parameters = {
        "letters": jax.random.normal(next(key), (vocab, width)),
        "places": jax.random.normal(next(key), (block, width)),
        "layers": [
            (norms(), linear(3 * width, width), linear(width, width), norms(),
             linear(4 * width, width), linear(width, 4 * width))
            for _ in range(layers)
        ],
        "norm": norms(),
        "head": uniform(next(key), vocab, width),
    }  # fmt: skip
    ids = jax.random.randint(next(key), (batch, block + 1), 0, vocab)
    hidden = jnp.triu(jnp.full((block, block), -jnp.inf), 1)

    def attention(x, qkv, out):
        shape = (batch, block, 3, heads, width // heads)
        q, k, v = jnp.moveaxis((x @ qkv[0].T + qkv[1]).reshape(shape), 2, 0).swapaxes(2, 3)
        scores = q @ k.swapaxes(-1, -2) * (width // heads) ** -0.5 + hidden
        y = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(batch, block, width)
        return y @ out[0].T + out[1]

    def loss(p, key):
        x = p["letters"][ids[:, :-1]] + p["places"]
        for norm1, qkv, out, norm2, wide, narrow in p["layers"]:
            x = x + attention(norm(x, *norm1), qkv, out)
            h = jax.nn.gelu(norm(x, *norm2) @ wide[0].T + wide[1], approximate=False)
            x = x + h @ narrow[0].T + narrow[1]
        z = norm(x, *p["norm"]) @ p["head"].T
        return cross_entropy(z.reshape(-1, vocab), ids[:, 1:].reshape(-1))

    return training(loss, parameters, 0.1, next(key))
