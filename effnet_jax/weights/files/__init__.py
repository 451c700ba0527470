"""Readers of weight files: nothing in a file is executed, and absurd files are refused at once."""
