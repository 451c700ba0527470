"""The machine under the library: hosts, devices, signals, memory, progress. Nothing of sketches in it."""
