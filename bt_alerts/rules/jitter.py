"""Jitter that repeats: a share between 0 and 1 from a hash, so that the same delivery waits as long in a simulation."""

from __future__ import annotations

import hashlib


def share(key: str, number: int) -> float:
    """A number from 0 to below 1, evenly spread over keys and numbers."""
    digest = hashlib.sha256(f"{key}#{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
