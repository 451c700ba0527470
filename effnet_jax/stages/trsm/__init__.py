"""Stage 2: TRSM on frozen encoders, and its exact scores of pairs."""
