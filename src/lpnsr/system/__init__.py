"""This machine: memory, devices, atomic and scratch files, hashes, progress, strict configuration. Knows no image."""
