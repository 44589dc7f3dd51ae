"""Layers that networks are made of, padding, and the convolutions of CPUs."""
