"""What says that something cannot be measured here. Alone, so that whoever is measured imports nothing else."""

from __future__ import annotations


class Unavailable(Exception):
    """It is not installed, or cannot do this; the text says which."""
