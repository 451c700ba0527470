"""The data set clothes_v1."""
