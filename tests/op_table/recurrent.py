"""Rows of the recurrent layers: one layer given its inputs, states and weights."""

from op_table import F, Op, call

_options = dict(skip=["int64", "bool"], tolerance=(1e-3, 1e-4))


def _layer(name):
    def run(torch, x, *rest):
        states = rest[: 2 if name == "lstm" else 1]
        hx = states if name == "lstm" else states[0]
        if torch.__name__ == "torch":
            return getattr(torch, name)(
                x, hx, rest[len(states) :], True, 1, 0.0, True, False, False
            )
        layer = {"lstm": "LSTM", "gru": "GRU"}.get(name, "RNN")
        more = {"nonlinearity": "relu"} if name == "rnn_relu" else {}
        made = getattr(torch.nn, layer)(x.shape[-1], states[0].shape[-1], **more)
        weights = dict(zip(dict(made.named_parameters()), rest[len(states) :], strict=True))
        y, last = torch.func.functional_call(made, weights, (x, hx))
        return (y, *last) if name == "lstm" else (y, last)

    return run


def _row(name, gates, states):
    n, size, width = 2, 3, 4
    first = [F(1, n, size)] * states
    weights = [F(gates * size, width), F(gates * size, size), F(gates * size), F(gates * size)]
    return Op(f"{name}, one layer", call(F(3, n, width), *first, *weights), run=_layer(name),
              covers=[name], **_options)  # fmt: skip


def _cell(name, gates):
    n, size, width = 2, 3, 4
    states = [[F(n, size), F(n, size)] if name == "lstm_cell" else F(n, size)]
    weights = [F(gates * size, width), F(gates * size, size), F(gates * size), F(gates * size)]
    return Op(name, call(F(n, width), *states, *weights), call(F(n, width), *states, *weights[:2]),
              **_options)  # fmt: skip


ROWS = [
    _cell("rnn_tanh_cell", 1),
    _cell("rnn_relu_cell", 1),
    _cell("lstm_cell", 4),
    _cell("gru_cell", 3),
    _row("rnn_tanh", 1, 1),
    _row("rnn_relu", 1, 1),
    _row("lstm", 4, 2),
    _row("gru", 3, 1),
]
