"""Progress of long steps on standard error: one line when a step begins, one when it ends, with its seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(name: str) -> Iterator[None]:
    """Says that `name` begins and how long it took; a failure says so too."""
    begin = time.monotonic()
    sys.stderr.write(f"> {name} ...\n")
    sys.stderr.flush()
    try:
        yield
    except BaseException:
        sys.stderr.write(f"x {name} failed after {time.monotonic() - begin:.0f} s\n")
        sys.stderr.flush()
        raise
    sys.stderr.write(f"  {name}: {time.monotonic() - begin:.1f} s\n")
    sys.stderr.flush()
