"""Encoders and decoders of file formats, row by row, and what each format can hold."""
