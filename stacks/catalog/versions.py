"""The one reading of a version of vLLM."""

from __future__ import annotations

from functools import cache

from packaging.version import Version

Release = tuple[int, int, int]
"""(major, minor, patch)."""


@cache
def parse(text: str) -> Release:
    """`0.31.0`, `v0.31` or `0.31.0rc1+cu129` as a release: what stands behind the three numbers does not count, so that
    a release candidate or a build for another CUDA has what its release has. Raises ValueError.
    """
    version = Version(text)
    return version.major, version.minor, version.micro
