"""`python -m host <driver> ensure|status|destroy`: the one entry that changes the machine.

Its words stand in the Pulumi state of every deployed stack, so they may grow and never change. The specification comes
in the environment: LAB_STACK, LAB_SPEC (a slice of the Plan as JSON), LAB_EPOCH, LAB_CACHE.
"""

from __future__ import annotations

import importlib
import os
import sys

from host.drivers import DRIVERS
from stacks.errors import HostError, LabError

VERBS = ("ensure", "status", "destroy")


def main(arguments: list[str]) -> int:
    """Runs one verb of one driver. Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    if len(arguments) != 2 or arguments[0] not in DRIVERS or arguments[1] not in VERBS:
        sys.stderr.write(f"usage: python -m host {{{'|'.join(DRIVERS)}}} {{{'|'.join(VERBS)}}}\n")
        return 2
    driver, verb = arguments
    try:
        module = DRIVERS[driver]
        if module is None:
            raise HostError(
                f"driver {driver} is not implemented in this version: nothing was changed for it",
                remedy="./lab plan STACK shows what it would do",
            )
        getattr(importlib.import_module(module), verb)(os.environ)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a full disk, a read-only file system: said in one line, and the next run goes on
        sys.stderr.write(f"host {driver} {verb}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
