"""Trained encoders as programs: compiled once, fed with images, saved in one folder, exported."""
