"""Backbones, encoders and EffNet, as flax.nnx modules and as pure functions."""
