"""Protocols of PSNR and SSIM: the channels and the border, by the name that a table prints."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lpnsr.errors import ConfigError

LUMA_601 = (65.481, 128.553, 24.966)
"""Weights of R, G, B in [0, 1] for the studio luma of ITU-R BT.601, which is 16 for black and 235 for white."""


@dataclass(frozen=True)
class Protocol:
    """luma: the Y channel alone. border: pixels cut off at each side first. rounded: the luma is, to whole numbers."""

    name: str
    luma: bool
    border: int
    rounded: bool = False

    def __str__(self) -> str:
        channels = "Y channel (BT.601, 16..235)" if self.luma else "RGB, all channels together"
        rounding = " rounded to 8 bits" if self.rounded else ""
        return f"{channels}{rounding}, {f'{self.border} px' if self.border else 'no'} border"

    def pixels(self, image: Tensor) -> Tensor:
        """Select the compared pixels: (3, H, W) in [0, 1] -> (1 | 3, H - 2 border, W - 2 border) float64 on 0..255."""
        image = image.double()
        if self.border:
            image = image[:, self.border : -self.border, self.border : -self.border]
        if not self.luma:
            return image * 255
        luma = 16 + (image * image.new_tensor(LUMA_601)[:, None, None]).sum(0, keepdim=True)
        return luma.round() if self.rounded else luma


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("resshift", luma=True, border=4),
        Protocol("bicubic-y", luma=True, border=4, rounded=True),  # MATLAB's, and pyiqa's
        Protocol("y-noborder", luma=True, border=0),
        Protocol("rgb", luma=False, border=4),
        Protocol("rgb-noborder", luma=False, border=0),
    )
}


def protocol_of(name: str) -> Protocol:
    """Return the protocol of this name. Raises ConfigError."""
    if name not in PROTOCOLS:
        known = "; ".join(f"{p.name}: {p}" for p in PROTOCOLS.values())
        raise ConfigError(f"protocol {name!r} is not known; choose one of these: {known}")
    return PROTOCOLS[name]
