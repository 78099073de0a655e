"""Tolman: teach vision-language models to reason about space from video, and measure whether they do."""

__version__ = "0.1.0"
