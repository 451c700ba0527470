"""The data set qmul_chair_v2."""
