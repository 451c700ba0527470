"""The data set sketch_photo_folder."""
