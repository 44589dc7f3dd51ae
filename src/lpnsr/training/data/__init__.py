"""Photographs -> a pool of degraded pairs -> batches."""
