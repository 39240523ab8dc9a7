"""A context of the user's kubeconfig, for `lab init`: a node of that cluster stands for the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stacks.errors import CheckFailed, LabError
from stacks.found_machine import FoundMachine

_KUBECONFIG = "~/.kube/config"


def node_of(context: str) -> tuple[FoundMachine, dict[str, Any]]:
    """The best node of the context's cluster, and what the stack file says of the cluster. Raises LabError (exit code
    2).
    """
    from host.drivers.existing import observe
    from host.drivers.existing.carry import carried
    from host.drivers.existing.refusal import refused
    from probes.cluster_machine import PRODUCT, best

    source = Path(_KUBECONFIG).expanduser()
    text, problems = carried(source, context, name="lab", stack="STACK")
    try:
        if problems:
            raise refused(context, problems)
        found = best(observe.nodes(observe.connect(text)) or ())
    except LabError as error:
        error.exit_code = 2
        raise
    except (observe.Unreachable, observe.Unauthorized) as error:
        raise _usage(
            f"the nodes of context {context} cannot be listed: {error}",
            getattr(error, "remedy", "") or f"kubectl --context {context} get nodes says more",
        ) from None
    return found.machine, {"context": context, "nodeSelector": {PRODUCT: found.product}}


def needs_context() -> LabError:
    """The error for driver existing without a context, with those that there are."""
    try:
        document = yaml.safe_load(Path(_KUBECONFIG).expanduser().read_text(encoding="utf-8"))
        there = [str(entry["name"]) for entry in document["contexts"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        there = []
    known = f"; {_KUBECONFIG} has: {', '.join(there)}" if there else ""
    return _usage(f"driver existing needs a context of a kubeconfig{known}", "./lab init --context NAME")


def _usage(message: str, remedy: str) -> LabError:
    return CheckFailed(message, remedy=remedy, exit_code=2)
