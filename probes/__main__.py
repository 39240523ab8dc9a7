"""`python -m probes <probe>`: looks at a running stack and changes nothing.

Its words stand in the Pulumi state of deployed stacks. The specification comes in the environment: LAB_STACK, LAB_KUBECONFIG,
LAB_TARGETS (JSON: [{"model": ..., "endpoint": ...}]), LAB_API_KEY.
"""

from __future__ import annotations

import json
import os
import sys

from probes.hops import table
from probes.inference_check import check

PROBES = ("inference_check",)


def main(arguments: list[str]) -> int:
    """Runs one probe. Returns the exit code: 0 healthy, 1 broken, 2 wrong usage."""
    missing = [name for name in ("LAB_KUBECONFIG", "LAB_TARGETS") if not os.environ.get(name)]
    if len(arguments) != 1 or arguments[0] not in PROBES or missing:
        sys.stderr.write(f"usage: LAB_KUBECONFIG=... LAB_TARGETS=... python -m probes {{{'|'.join(PROBES)}}}\n")
        return 2
    walks = [
        check(
            os.environ["LAB_KUBECONFIG"],
            t["model"],
            t["endpoint"],
            api_key=os.environ.get("LAB_API_KEY"),
            stack=os.environ.get("LAB_STACK", "STACK"),
            wait=lambda said: print(said, flush=True),
        )
        for t in json.loads(os.environ["LAB_TARGETS"])
    ]
    for walk in walks:
        sys.stdout.write(table(walk) + "\n")
    for walk in walks:
        if walk.failure:
            sys.stderr.write(f"{walk.failure}\n")
    return 0 if all(walk.ok for walk in walks) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
