"""Stage 1: two encoders, aligned by InfoNCE."""
