"""From files on disk to batches: folders, records by data set name, photos alone, and caching."""
