"""The data set qmul_shoe_v1."""
