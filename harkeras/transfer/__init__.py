"""Frozen backbones: features, heads, and `auto`, which chooses among them."""
