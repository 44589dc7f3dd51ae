"""The inputs of a batch, the names of its results, and its messages, for the command and for Ray.

The work itself is in ``lpnsr.upscaling``: ``batch`` for many images, ``files`` for one.
"""
