"""Layers beyond what an MLP, a convnet, an LSTM and a transformer need."""
