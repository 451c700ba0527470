"""The data set procedural_garments."""
