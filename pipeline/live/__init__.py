"""Asking live: calls marked before they are made, many at once, within every limit."""
