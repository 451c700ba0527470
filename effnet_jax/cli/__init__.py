"""The effnet-jax program: thin commands over library functions, one file a command."""
