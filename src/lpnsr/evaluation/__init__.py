"""Scores of super-resolved images: metrics, pairing of files, statistics and reports."""
