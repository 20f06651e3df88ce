"""A training step of a GPT, in torch's words: for whichever library is given as `torch`."""


def gpt(torch, vocab, block, layers, heads, width):
    """A decoder-only transformer, as in examples/04_char_gpt.py, without dropout."""
    nn = torch.nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)

        def forward(self, x):  # x: (B, T, C)
            B, T, C = x.shape
            q, k, v = (
                t.view(B, T, heads, C // heads).transpose(1, 2)  # (B, H, T, D)
                for t in self.qkv(x).chunk(3, dim=2)
            )
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).reshape(B, T, C))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = Attention()
            self.feed_forward = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.feed_forward(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.characters = nn.Embedding(vocab, width)
            self.positions = nn.Embedding(block, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocab, bias=False)

        def forward(self, ids):  # ids: (B, T)
            x = self.characters(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
            return self.head(self.norm(self.blocks(x)))  # (B, T, V)

    return GPT()


def gpt_case(torch, *, block, batch, vocab=96, **sizes):
    """The model and one batch of random characters with those that follow."""
    torch.manual_seed(0)
    model = gpt(torch, vocab, block, **sizes)
    ids = torch.randint(0, vocab, (batch, block + 1))
    return model, ids[:, :-1], ids[:, 1:]


def gpt_step(torch, **case):
    """Forward, backward, clipping and AdamW."""
    model, x, y = gpt_case(torch, **case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        return loss.detach()

    return step
