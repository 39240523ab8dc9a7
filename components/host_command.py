"""Commands that run the frozen entries `python -m host ...` and `python -m probes ...` on the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_command import local

# Relative to the project, so that the same text stands in every machine's state.
_PYTHON = ".venv/bin/python"


def host_command(
    name: str,
    driver: str,
    environment: Mapping[str, pulumi.Input[str]],
    *,
    opts: pulumi.ResourceOptions,
    destroy: bool = True,
) -> local.Command:
    """`python -m host <driver> ensure` on create and on every update, and `destroy` on delete.

    No `triggers`: they replace, and a replacement's delete would take the new thing down. The module and its words
    stand in the state of deployed stacks and are frozen.
    """
    ensure = f"{_PYTHON} -m host {driver} ensure"
    return local.Command(
        name,
        create=ensure,
        update=ensure,
        delete=f"{_PYTHON} -m host {driver} destroy" if destroy else None,
        environment=dict(environment),
        opts=opts,
    )


def probe_command(
    name: str,
    probe: str,
    environment: Mapping[str, pulumi.Input[str]],
    *,
    triggers: Sequence[str],
    opts: pulumi.ResourceOptions,
) -> local.Command:
    """`python -m probes <probe>`, again whenever a trigger changes; a probe has nothing to delete, so replacement is
    harmless.
    """
    return local.Command(
        name, create=f"{_PYTHON} -m probes {probe}", environment=dict(environment), triggers=list(triggers), opts=opts
    )


def waiting_command(
    name: str, probe: str, environment: Mapping[str, pulumi.Input[str]], *, opts: pulumi.ResourceOptions
) -> local.Command:
    """`python -m probes <probe>` before what depends on it, again whenever its environment changes.

    No `triggers`: a replacement is none of what depends on it.
    """
    probes = f"{_PYTHON} -m probes {probe}"
    return local.Command(name, create=probes, update=probes, environment=dict(environment), opts=opts)
