"""Optimizers beyond SGD, Adam and AdamW."""
