"""The container of one model in plain Docker: does it serve, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from probes.diagnosis import Problem, container_problem
from probes.diagnosis.container import has_ended
from probes.docker_api import DockerApi
from probes.pods import failed
from stacks import names
from stacks.errors import CheckFailed

_TAIL_LINES = 400
_NANO = 10**9
_POLL_SECONDS = 1.0
_SAID_EVERY = 10.0  # seconds between two words of progress
_SLACK_SECONDS = 60.0
_ASK_SECONDS = 5.0


@dataclass(frozen=True)
class Container:
    """Reads through `api`; raises CheckFailed where Docker does not answer. `name` is the container's, `endpoint` the
    model's base URL, or None where only the gateway reaches the container: then its health check decides.
    """

    api: DockerApi
    name: str
    stack: str
    endpoint: str | None

    def look(self) -> str:
        """What runs, in words. Raises CheckFailed with the cause where it does not serve."""
        if self._answers():
            return f"{self.name} runs"
        problem = self._problem(self._inspect())
        raise failed(
            problem or Problem("its port does not answer", "", "docker logs {container}").filled(**self._words)
        )

    def wait(self, say: Callable[[str], None]) -> str:
        """The same, once its start is over: waits at most as long as the container's health check lets it start, and
        tells `say` every ten seconds. Ends earlier where waiting cannot help.
        """
        begin = said = time.monotonic()
        while not self._answers():
            found = self._inspect()
            waited = time.monotonic() - begin
            problem = self._problem(found)
            start = (found["Config"].get("Healthcheck") or {}).get("StartPeriod", 0) / _NANO
            if waited > start + _SLACK_SECONDS or (problem and problem.final):
                return self.look()
            if time.monotonic() - said >= _SAID_EVERY:
                said = time.monotonic()
                say(f"waiting for {self.name}: {problem.what if problem else 'no answer yet'}, {waited:.0f} s")
            time.sleep(_POLL_SECONDS)
        return self.look()

    @property
    def _words(self) -> dict[str, str]:
        return {"stack": self.stack, "container": self.name}

    def _inspect(self) -> dict[str, Any]:
        found = self.api.container(self.name)
        if found is None:
            raise CheckFailed(f"there is no container {self.name}", remedy=f"./lab up {self.stack} makes it again")
        labels = (found.get("Config") or {}).get("Labels") or {}
        if labels.get(names.STACK_LABEL) != self.stack:
            raise CheckFailed(
                f"container {self.name} was not made by stack {self.stack}",
                remedy=f"look at it: docker container inspect {self.name}",
            )
        return found

    def _problem(self, found: dict[str, Any]) -> Problem | None:
        log = self.api.log(self.name, tail=_TAIL_LINES) if has_ended(found) else ""
        problem = container_problem(found, log=log)
        return problem.filled(**self._words) if problem else None

    def _answers(self) -> bool:
        """Whether our container runs and something answers on the endpoint's port."""
        found = self._inspect()["State"]
        if not found.get("Running"):
            return False
        if self.endpoint is None:
            return bool((found.get("Health") or {}).get("Status") == "healthy")
        try:
            answer = httpx.get(f"{self.endpoint}/models", timeout=_ASK_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return not answer.is_server_error
