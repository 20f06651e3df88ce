"""Single operations on a GPU, forward and backward, for benchmarks/gpu.py."""

from gpu_timing import milliseconds

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
KINDS = ("f32", "tf32", "bf16")


def table(torch, device, small):
    """For each operation its function and its inputs, of GPT-2's sizes."""
    functional = torch.nn.functional
    n, c, v = (64, 32, 50) if small else (8192, 768, 50304)

    def noise(*shape):
        return torch.randn(*shape, device=device)

    i, ones = torch.arange(n, device=device) % v, torch.ones(c, device=device)
    return {
        "x * y of 4 x 4": (lambda x, y: x * y, noise(4, 4), noise(4, 4)),
        "x + y": (lambda x, y: x + y, noise(n, c), noise(n, c)),
        "relu": (functional.relu, noise(n, 4 * c)),
        "gelu": (functional.gelu, noise(n, 4 * c)),
        "dropout": (lambda x: functional.dropout(x, 0.1), noise(n, c)),
        "softmax": (lambda x: functional.softmax(x, -1), noise(n, c)),
        "layer_norm": (lambda x, w: functional.layer_norm(x, (c,), w, w), noise(n, c), ones),
        "linear": (functional.linear, noise(n, c), noise(4 * c, c)),
        "linear + bias": (functional.linear, noise(n, c), noise(4 * c, c), noise(4 * c)),
        "embedding": (lambda table: functional.embedding(i, table), noise(v, c)),
        "cross_entropy": (lambda x: functional.cross_entropy(x, i), noise(n, v)),
        "x.sum(0)": (lambda x: x.sum(0), noise(n, 4 * c)),
    }


def optimizers(torch, device, small):
    """A step of AdamW, and clipping, for as many parameters as GPT-2's."""
    c, v, layers = (8, 20, 1) if small else (768, 50304, 12)
    shapes = [(v, c), (1024, c)]
    layer = [(3 * c, c), (3 * c,), (c, c), (4 * c, c), (4 * c,), (c, 4 * c), *[(c,)] * 6]
    shapes += layer * layers
    parameters = [torch.nn.Parameter(torch.randn(*s, device=device)) for s in shapes]
    for p in parameters:
        p.grad = torch.randn_like(p)
    return {
        "AdamW": torch.optim.AdamW(parameters).step,
        "clip_grad_norm_": lambda: torch.nn.utils.clip_grad_norm_(parameters, 1.0),
    }


def attentions(torch, device, small):
    """Causal attention, 12 heads of 64, 8192 positions in all, for each precision and length."""
    sdpa = torch.nn.functional.scaled_dot_product_attention
    for kind in KINDS:
        for length in (16, 32) if small else LENGTHS:
            batch, heads = (1, 2) if small else (8192 // length, 12)
            q = torch.randn(batch, heads, length, 64, device=device)
            q = q.bfloat16() if kind == "bf16" else q
            name = f"attention {kind} T={length}"
            yield name, kind, (lambda x, y, z: sdpa(x, y, z, is_causal=True), q, q, q)


def measure(torch, device, seconds, small):
    """For each operation milliseconds, and the most memory in MB; or what went wrong."""
    found = {}

    def time_it(name, run):
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            ms = milliseconds(torch, run, device, seconds)
        except Exception as error:  # the others are measured all the same
            found[name] = f"{type(error).__name__}: {error}".splitlines()[0][:150]
            return
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
        found[name] = {"ms": ms, "peak MB": peak / 1e6}

    def both(f, *inputs):
        inputs = [x.detach().requires_grad_() for x in inputs]
        g = torch.randn_like(f(*inputs).detach())
        return lambda: torch.autograd.grad(f(*inputs), inputs, g)

    torch.set_float32_matmul_precision("high")
    for name, given in table(torch, device, small).items():
        time_it(name, both(*given))
    for name, run in optimizers(torch, device, small).items():
        time_it(name, run)
    for name, kind, given in attentions(torch, device, small):
        torch.set_float32_matmul_precision("highest" if kind == "f32" else "high")
        time_it(name, both(*given))
    return found
