"""A cluster that somebody else made: what is looked at, taken along and removed. The pure half is
stacks/planning/clusters/existing.py.
"""

from host.drivers.existing.driver import (
    destroy,
    ensure,
    is_alive,
    prepare,
    probe_seconds,
    refuse_removal,
    stands,
    status,
)

__all__ = ["destroy", "ensure", "is_alive", "prepare", "probe_seconds", "refuse_removal", "stands", "status"]
