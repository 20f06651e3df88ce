"""The training steps of workloads.py written out by hand in NumPy: what the engine could reach.

No graph, no tensors: straight-line calls into buffers that are allocated once, gradients and
moments in one flat array, clipping folded into the factors of AdamW, whose passes are the BLAS's
`axpby` where NumPy carries it.  Dropout draws torch's own stream.  The weights, the batch and the
generator's state are those of the same workload in tinygrad_edu, so the losses can be compared:
`python limit.py` prints the largest difference over 20 steps.
"""

import ctypes
import glob
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
F = np.float32


def find_axpby():
    """`y = a x + b y` in one pass, of the OpenBLAS in NumPy's wheel; None without it."""
    for path in glob.glob(os.path.join(os.path.dirname(np.__file__) + ".libs", "*openblas*")):
        function = getattr(ctypes.CDLL(path), "scipy_cblas_saxpby64_", None)
        if function is not None:
            number, pointer, size = ctypes.c_float, ctypes.c_void_p, ctypes.c_int64
            function.argtypes = [size, number, pointer, size, number, pointer, size]
            function.restype = None
            return function
    return None


class Flat:
    """Parameters, gradients and moments, each in one vector; AdamW with clipping to norm 1."""

    def __init__(self, arrays, decay):
        self.decay, self.t, self.axpby = decay, 0, find_axpby()
        size = sum(a.size for a in arrays)
        self.x, self.g, self.m, self.v, self.s = (np.zeros(size, F) for _ in range(5))
        self.parameters, self.gradients, start = [], [], 0
        for a in arrays:
            part = slice(start, start + a.size)
            self.x[part] = a.reshape(-1)
            self.parameters.append(self.x[part].reshape(a.shape))
            self.gradients.append(self.g[part].reshape(a.shape))
            start += a.size

    def blend(self, a, x, b, y):
        """y = a x + b y."""
        if self.axpby is not None:
            self.axpby(x.size, a, x.ctypes.data, 1, b, y.ctypes.data, 1)
        else:
            y *= F(b)
            y += F(a) * x

    def step(self):
        self.t += 1
        scale = min(1.0, 1.0 / (math.sqrt(float(self.g @ self.g)) + 1e-6))
        c1, c2 = 1 - BETA1**self.t, math.sqrt(1 - BETA2**self.t)
        block = 1 << 18 if self.x.size <= 1 << 19 else 1 << 16
        for start in range(0, self.x.size, block):
            x, g, m, v, s = (
                a[start : start + block] for a in (self.x, self.g, self.m, self.v, self.s)
            )
            self.blend((1 - BETA1) * scale, g, BETA1, m)
            np.multiply(g, g, out=s)
            self.blend((1 - BETA2) * scale * scale, s, BETA2, v)
            np.sqrt(v, out=s)
            s += F(EPS * c2)
            np.divide(m, s, out=s)
            self.blend(-RATE * c2 / c1, s, 1 - RATE * self.decay, x)


def cross_entropy(z, y):
    """The loss; `z` becomes its gradient."""
    rows = np.arange(len(y))
    z -= z.max(1, keepdims=True)
    chosen = z[rows, y].copy()
    np.exp(z, out=z)
    total = z.sum(1)
    loss = float((np.log(total) - chosen).mean())
    z /= total[:, None]
    z[rows, y] -= 1
    z *= F(1 / len(y))
    return loss


def twister(generator):
    """NumPy's generator at the place in the stream where that of tinygrad_edu is."""
    made = np.random.MT19937()
    made.state = generator._twister.state
    return made


def mlp_step(batch):
    """The perceptron of workloads.mlp."""
    import workloads

    import tinygrad_edu as ours

    model, X, target = workloads.mlp(ours, batch)
    flat = Flat([p.detach().numpy() for p in model.parameters()], 1e-4)
    W1, b1, W2, b2, W3, b3 = flat.parameters
    gW1, gb1, gW2, gb2, gW3, gb3 = flat.gradients
    X, target = X.numpy(), target.numpy()
    stream = twister(ours.default_generator)
    h1, h2, d1, d2, n1, n2 = (np.empty((batch, 256), F) for _ in range(6))
    z, ones = np.empty((batch, 10), F), np.ones(batch, F)
    threshold = np.uint64(math.ceil(0.8 * 2.0**53) >> 32)
    low = np.uint64(0x1FFFFF)

    def layer(x, W, b, h, noise):
        np.matmul(x, W.T, out=h)
        h += b
        np.maximum(h, F(0), out=h)
        first = stream.random_raw(2 * h.size)[::2].reshape(h.shape)
        np.multiply((first & low) < threshold, F(1) / F(0.8), out=noise)
        h *= noise

    def back(d, h):
        """Through dropout and ReLU: where `h` is not 0, neither was."""
        d *= np.multiply(h > 0, F(1) / F(0.8))

    def step():
        layer(X, W1, b1, h1, n1)
        layer(h1, W2, b2, h2, n2)
        np.matmul(h2, W3.T, out=z)
        z[...] += b3
        loss = cross_entropy(z, target)
        np.matmul(z.T, h2, out=gW3)
        np.matmul(ones, z, out=gb3)
        np.matmul(z, W3, out=d2)
        back(d2, h2)
        np.matmul(d2.T, h1, out=gW2)
        np.matmul(ones, d2, out=gb2)
        np.matmul(d2, W2, out=d1)
        back(d1, h1)
        np.matmul(d1.T, X, out=gW1)
        np.matmul(ones, d1, out=gb1)
        flat.step()
        return loss

    return step


class Norm:
    """Layer norm of the rows of an array."""

    def __init__(self, weight, bias, g_weight, g_bias, rows):
        self.weight, self.bias, self.g_weight, self.g_bias = weight, bias, g_weight, g_bias
        width = weight.size
        self.hat, self.y, self.t = (np.empty((rows, width), F) for _ in range(3))
        self.mean, self.ones = np.full(width, 1 / width, F), np.ones(rows, F)

    def forward(self, x):
        np.subtract(x, (x @ self.mean)[:, None], out=self.hat)
        variance = np.einsum("ij,ij->i", self.hat, self.hat) * F(1 / x.shape[1])
        self.rstd = (1 / np.sqrt(variance + F(1e-5)))[:, None]
        self.hat *= self.rstd
        np.multiply(self.hat, self.weight, out=self.y)
        self.y += self.bias
        return self.y

    def backward(self, d):
        """`d` becomes the gradient of the input."""
        np.matmul(self.ones, d, out=self.g_bias)
        np.multiply(d, self.hat, out=self.t)
        np.matmul(self.ones, self.t, out=self.g_weight)
        d *= self.weight
        along = np.einsum("ij,ij->i", d, self.hat) * F(1 / d.shape[1])
        d -= (d @ self.mean)[:, None]
        np.multiply(self.hat, along[:, None], out=self.t)
        d -= self.t
        d *= self.rstd


class Linear:
    def __init__(self, weight, bias, g_weight, g_bias, rows):
        self.weight, self.bias, self.g_weight, self.g_bias = weight, bias, g_weight, g_bias
        self.y, self.dx = np.empty((rows, len(weight)), F), np.empty((rows, weight.shape[1]), F)
        self.ones = np.ones(rows, F)

    def forward(self, x):
        self.x = x
        np.matmul(x, self.weight.T, out=self.y)
        if self.bias is not None:
            self.y += self.bias
        return self.y

    def backward(self, d):
        np.matmul(d.T, self.x, out=self.g_weight)
        if self.bias is not None:
            np.matmul(self.ones, d, out=self.g_bias)
        return np.matmul(d, self.weight, out=self.dx)


T6 = [F(c) for c in (0.11761249, 0.04336026, 0.33078616, -0.32705948, 0.44955675, -0.11425617)]


class Gelu:
    """Value and derivative in one sweep, in blocks, over two threads where there are two."""

    def __init__(self, rows, width, threads):
        self.y, self.slope = np.empty((rows, width), F), np.empty((rows, width), F)
        self.threads, self.pool = threads, ThreadPoolExecutor(max(threads - 1, 1))
        length = 1 << 16 if threads == 1 else 1 << 17
        size = rows * width
        self.parts = [slice(s, min(s + length, size)) for s in range(0, size, length)]
        self.scratch = [np.empty((3, length), F) for _ in range(threads)]

    def work(self, turn):
        flat = [a.reshape(-1) for a in (self.x, self.y, self.slope)]
        for part in self.parts[turn :: self.threads]:
            x, y, w = (a[part] for a in flat)
            a, t, e = (s[: x.size] for s in self.scratch[turn])
            np.multiply(x, x, out=e)
            e *= F(-0.5)
            np.exp(e, out=e)
            np.abs(x, out=a)
            np.multiply(a, F(0.275), out=t)
            t += F(1)
            np.divide(F(1), t, out=t)
            np.multiply(t, T6[-1], out=y)
            for c in T6[-2::-1]:
                y += c
                y *= t
            np.multiply(a, F(1 / math.sqrt(2 * math.pi)), out=w)
            w -= y
            w *= e
            w += F(0.5)
            np.copysign(w, x, out=w)
            w += F(0.5)
            np.add(x, a, out=t)
            t *= F(0.5)
            y *= e
            y *= a
            np.subtract(t, y, out=y)

    def forward(self, x):
        self.x = x
        others = [self.pool.submit(self.work, turn) for turn in range(1, self.threads)]
        self.work(0)
        for other in others:
            other.result()
        return self.y

    def backward(self, d):
        d *= self.slope
        return d


class Attention:
    """Causal attention of all heads, blocks of queries at a time."""

    def __init__(self, batch, block, heads, width):
        self.shape, self.block = (batch, block, 3, heads, width // heads), block
        self.scale = F(1 / math.sqrt(width // heads))
        self.size = min(block, 128)
        self.hide = np.triu(np.full((self.size, self.size), -np.inf, F), 1)
        self.y = np.empty((batch, block, heads, width // heads), F)
        self.d = np.empty(self.shape, F)

    def parts(self):
        for start in range(0, self.block, self.size):
            yield slice(start, start + self.size), slice(0, start + self.size)

    def forward(self, qkv):
        self.qkv = qkv.reshape(self.shape).transpose(2, 0, 3, 1, 4)
        q, k, v = self.qkv
        self.kept, y = [], self.y.transpose(0, 2, 1, 3)
        for rows, seen in self.parts():
            p = (q[:, :, rows] * self.scale) @ k[:, :, seen].swapaxes(-1, -2)
            p[..., rows] += self.hide
            p -= p.max(-1, keepdims=True)
            np.exp(p, out=p)
            p /= p.sum(-1, keepdims=True)
            y[:, :, rows] = p @ v[:, :, seen]
            self.kept.append(p)
        return self.y.reshape(len(self.y) * self.block, -1)

    def backward(self, d):
        q, k, v = self.qkv
        dq, dk, dv = self.d.transpose(2, 0, 3, 1, 4)
        dy = d.reshape(self.y.shape).transpose(0, 2, 1, 3)
        dk[...] = dv[...] = 0
        y = self.y.transpose(0, 2, 1, 3)
        for (rows, seen), p in zip(self.parts(), self.kept, strict=True):
            dv[:, :, seen] += p.swapaxes(-1, -2) @ dy[:, :, rows]
            ds = dy[:, :, rows] @ v[:, :, seen].swapaxes(-1, -2)
            ds -= np.einsum("bhtd,bhtd->bht", dy[:, :, rows], y[:, :, rows])[..., None]
            ds *= p
            ds *= self.scale
            dq[:, :, rows] = ds @ k[:, :, seen]
            dk[:, :, seen] += ds.swapaxes(-1, -2) @ q[:, :, rows]
        return self.d.reshape(len(self.y) * self.block, -1)


def gpt_step(threads, *, layers, heads, width, block, batch):
    """The transformer of gpt.gpt_step."""
    from gpt import gpt_case

    import tinygrad_edu as ours

    model, ids, target = gpt_case(
        ours, layers=layers, heads=heads, width=width, block=block, batch=batch
    )
    flat = Flat([p.detach().numpy() for p in model.parameters()], 0.1)
    rows, pairs = batch * block, iter(zip(flat.parameters, flat.gradients, strict=True))

    def take(kind, bias=True):
        (w, gw), (b, gb) = next(pairs), next(pairs) if bias else (None, None)
        return kind(w, b, gw, gb, rows)

    (letters, g_letters), (places, g_places) = next(pairs), next(pairs)
    stack = []
    for _ in range(layers):
        norm1, norm2 = take(Norm), take(Norm)
        qkv, out, wide, narrow = take(Linear), take(Linear), take(Linear), take(Linear)
        attention = Attention(batch, block, heads, width)
        gelu = Gelu(rows, 4 * width, threads)
        stack.append((norm1, qkv, attention, out, norm2, wide, gelu, narrow))
    norm, head = take(Norm), take(Linear, bias=False)
    ids, target = ids.numpy().reshape(-1), target.numpy().reshape(-1)
    order = np.argsort(ids, kind="stable")
    used, starts = np.unique(ids[order], return_index=True)

    def step():
        x = letters[ids].reshape(batch, block, width)
        x += places[:block]
        x = x.reshape(rows, width)
        for norm1, qkv, attention, out, norm2, wide, gelu, narrow in stack:
            x += out.forward(attention.forward(qkv.forward(norm1.forward(x))))
            x += narrow.forward(gelu.forward(wide.forward(norm2.forward(x))))
        z = head.forward(norm.forward(x))
        loss = cross_entropy(z, target)
        d = head.backward(z)
        norm.backward(d)
        d = d.copy()
        for norm1, qkv, attention, out, norm2, wide, gelu, narrow in stack[::-1]:
            part = wide.backward(gelu.backward(narrow.backward(d)))
            norm2.backward(part)
            d += part
            part = qkv.backward(attention.backward(out.backward(d)))
            norm1.backward(part)
            d += part
        np.sum(d.reshape(batch, block, width), axis=0, out=g_places[:block])
        g_letters[...] = 0
        g_letters[used] = np.add.reduceat(d[order], starts, axis=0)
        flat.step()
        return loss

    return step


def main():
    import workloads

    for name in workloads.STEPS:
        by_hand = workloads.other_step("limit", name, 1)
        import tinygrad_edu as ours

        engine = workloads.WORKLOADS[name](ours)
        losses = [(by_hand(), engine()) for _ in range(20)]
        print(f"{name:20} {max(abs(a - float(b)) for a, b in losses):.1e}", flush=True)


if __name__ == "__main__":
    main()
