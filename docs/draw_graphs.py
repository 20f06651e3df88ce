"""Draws the pictures of the documentation: python docs/draw_graphs.py."""

import pathlib

import tinygrad_edu as torch
from tinygrad_edu import nn, see

PICTURES = pathlib.Path(__file__).resolve().parent / "pictures"


def main() -> None:
    torch.manual_seed(0)
    PICTURES.mkdir(exist_ok=True)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    with see.watch(layer):
        loss = layer(torch.randn(2, 5, 32)).square().mean()
    see.graph(loss, layer).save(PICTURES / "encoder.svg")
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with see.watch(mlp):
        loss = nn.CrossEntropyLoss()(mlp(torch.randn(6, 4)), torch.tensor([0, 1, 2, 0, 1, 2]))
    see.backward(loss, mlp).save(PICTURES / "walk.html")


if __name__ == "__main__":
    main()
