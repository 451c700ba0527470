"""Pretrained weights: where they come from and how their names map to ours."""
