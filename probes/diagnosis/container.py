"""What Docker says of a container that does not serve: the state that `docker container inspect` shows, and its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.diagnosis.docker_signatures import DOCKER
from probes.diagnosis.engine_log import engine_problem, match
from probes.diagnosis.nvidia import nvidia_problem
from probes.diagnosis.problem import Problem, clean

_RESTARTS = 2  # a container that ended so often will end again
_LOG = "docker logs {container} shows more"


def docker_problem(text: str) -> Problem | None:
    """What one of Docker's own sentences means; None where it is not known."""
    return match(DOCKER, text, evidence=text) or nvidia_problem(text)


def has_ended(container: Mapping[str, Any]) -> bool:
    """Whether its process has ended at least once since it was made, so that the log of that run says why."""
    ended = container["State"].get("Status") in ("exited", "dead", "restarting")
    return ended or container.get("RestartCount", 0) > 0


def container_problem(container: Mapping[str, Any], *, log: str = "") -> Problem | None:
    """The most telling cause why the container does not serve, or None where its health check passes: the engine's own
    words first, then Docker's.
    """
    state, restarts = container["State"], container.get("RestartCount", 0)
    status, health = state.get("Status", "unknown"), state.get("Health") or {}
    if status == "running" and health.get("Status") == "healthy":
        return None
    stays = status in ("exited", "dead") or restarts >= _RESTARTS
    if has_ended(container) and (told := engine_problem(log)):
        return Problem(told.what, told.evidence, told.remedy, final=stays)
    ended = f"exit {state.get('ExitCode', '?')}" + (", OOMKilled" if state.get("OOMKilled") else "")
    for text in (str(state.get("Error") or ""), ended):
        if text and (found := docker_problem(text)):
            return Problem(found.what, clean(found.evidence), found.remedy, final=stays)
    if status == "created":
        return Problem(
            "it was made and never started", clean(str(state.get("Error") or "")), "./lab up {stack}", final=True
        )
    if status in ("exited", "dead", "paused"):
        return Problem(
            f"it does not run: {status}", ended if status != "paused" else "", "./lab up {stack}; " + _LOG, final=True
        )
    if has_ended(container):
        times = "once" if restarts == 1 else f"{restarts} times"
        return Problem(f"it keeps ending: started again {times}", ended, _LOG, final=stays)
    if health.get("Status") == "unhealthy":
        last = (health.get("Log") or [{}])[-1].get("Output", "")
        return Problem("its health check fails", clean(last), f"docker restart {{container}}; {_LOG}", final=False)
    return Problem("the engine is still loading", "", "wait; docker logs {container} shows how far it is")
