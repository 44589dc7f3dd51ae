"""Metadata that travels with the pixels, adapted to their new size: EXIF, profiles, XMP, IPTC, texts."""
