"""`python -m probes <probe>`: looks at a running stack and changes nothing.

Its words stand in the Pulumi state of deployed stacks. The specification comes in the environment: LAB_STACK, LAB_KUBECONFIG, LAB_TARGETS.
"""

from __future__ import annotations

import sys

from stacks.errors import CheckFailed

PROBES = ("inference_check",)


def main(arguments: list[str]) -> int:
    """Runs one probe. Returns the exit code: 0 healthy, 1 broken, 2 wrong usage."""
    if len(arguments) != 1 or arguments[0] not in PROBES:
        sys.stderr.write(f"usage: python -m probes {{{'|'.join(PROBES)}}}\n")
        return 2
    error = CheckFailed(
        f"`probes {arguments[0]}` does not work yet: this release plans and previews; nothing is deployed that could answer",
        remedy="./lab preview STACK shows what will be checked",
    )
    sys.stderr.write(f"{error}\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
