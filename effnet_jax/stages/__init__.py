"""The two stages of EffNet as the training loop and the evaluator see them."""
