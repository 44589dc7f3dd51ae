"""An image in, an image of any scale out: the upscaler, its options, planning and tiling.

Importing this package is cheap; ``upscaler`` and the other modules import torch.
"""
