"""One picture at a time, without a thought of data sets: decoding, resizing, augmentation, and drawing from photos."""
