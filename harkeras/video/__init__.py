"""Pixels in and out: decoding, reading, writing, optical flow, drawing, downloads."""
