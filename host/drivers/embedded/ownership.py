"""The mark by which a cluster is known as ours, written before anything else is made."""

from __future__ import annotations

import json
from collections.abc import Iterable

from host.drivers.embedded.layout import Layout
from host.system import files
from stacks import names
from stacks.errors import HostError

MARK = "owner.json"


def mark(layout: Layout) -> None:
    """Writes the marks, where they are missing: one that survives a reboot and one that does not."""
    text = json.dumps(
        {
            "by": names.PART_OF,
            "cluster": layout.plan.name,
            "stack": layout.stack,
            "state": str(layout.state),
            "slot": layout.plan.slot,
        },
        indent=1,
    )
    for folder, mode in ((layout.state, 0o700), (layout.run, 0o700)):
        if not folder.exists():
            folder.mkdir(parents=True, mode=mode)
        if not (folder / MARK).exists() or (folder / MARK).read_text(encoding="utf-8") != text:
            files.write_atomic(folder / MARK, text)


def foreign(layout: Layout) -> Iterable[str]:
    """What stands in the cluster's places and is not ours, or not of this cluster."""
    for folder in (layout.state, layout.run):
        # the half-written mark of a killed run
        if not folder.exists() or all(p.name.startswith(f".{MARK}.") for p in folder.iterdir()):
            continue
        try:
            said = json.loads((folder / MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            yield f"{folder} was not made by us (no {MARK} in it): move it away, or take another stack name"
            continue
        if (
            said.get("by") != names.PART_OF
            or said.get("cluster") != layout.plan.name
            or said.get("state") != str(layout.state)
        ):
            yield f"{folder} belongs to the cluster {said.get('cluster')!r} with its state in {said.get('state')}"
        elif said.get("slot") != layout.plan.slot:
            yield (
                f"the cluster {layout.plan.name} is on slot {said.get('slot')}, the plan says {layout.plan.slot}: "
                f"destroy it first (`lab down {layout.stack}`)"
            )
    if layout.kubeconfig.exists() and not layout.state.exists():
        yield f"{layout.kubeconfig} exists and is not of our cluster: move it away"


def require(layout: Layout) -> bool:
    """Whether there is something of ours. Raises HostError where what is there is foreign."""
    if problems := list(foreign(layout)):
        raise HostError("refusing to touch what is not ours:\n" + "\n".join(f"  - {p}" for p in problems))
    return layout.state.exists() or layout.run.exists()
