"""Is one run better than another? Runs on the same queries, with intervals and tests."""
