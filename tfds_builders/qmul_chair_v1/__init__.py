"""The data set qmul_chair_v1."""
