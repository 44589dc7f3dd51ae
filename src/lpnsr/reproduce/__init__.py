"""The tables and figures of the paper with any model, on any images."""
