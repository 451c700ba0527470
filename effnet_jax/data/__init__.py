"""From files on disk to batches: folders, decoding, records by data set name, caching and augmentation."""
