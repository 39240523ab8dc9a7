"""What a stack wants of Docker: its compose file, made ready for this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from host.drivers.ownership import Owner, this_stack
from host.gateway.owner import ids
from host.system import files, state
from stacks import names
from stacks.errors import HostError

COMPOSE_FILE: Final = "compose.yaml"
_HEAD = """# Made from stack {stack} by ./lab up, for people to read; what is changed here is not read back.
# With Docker's compose plugin: docker compose -f {file} ps
"""


@dataclass(frozen=True)
class Spec:
    """The stack's compose file, the endpoint's key if it has one, and whose all of it is."""

    stack: str
    document: Mapping[str, Any]
    api_key: str | None
    owner: Owner

    @property
    def project(self) -> str:
        """The compose project: containers, the network and volumes are called after it."""
        return str(self.document["name"])

    @property
    def services(self) -> Mapping[str, Any]:
        """The services, each after those that it depends on. Raises HostError where they wait for each other."""
        services: Mapping[str, Any] = self.document["services"]
        ordered: dict[str, Any] = {}
        while len(ordered) < len(services):
            left = {name: service for name, service in services.items() if name not in ordered}
            ready = {n: s for n, s in left.items() if ordered.keys() >= set(s.get("depends_on", {}))}
            if not ready:
                raise HostError(f"services of {self.project} wait for each other: {', '.join(left)}")
            ordered |= ready
        return ordered

    @property
    def labels(self) -> dict[str, str]:
        """What marks everything that is made as this stack's."""
        return {names.STACK_LABEL: self.stack, names.PROJECT_LABEL: self.owner.project}

    def is_ours(self, labels: Mapping[str, str] | None) -> bool:
        """Whether the labels are those of something that this stack made: from this checkout, or from one that has
        moved.
        """
        found = labels or {}
        theirs = Owner(
            found.get(names.STACK_LABEL, ""), found.get(names.PROJECT_LABEL, ""), self.owner.driver, self.owner.cluster
        )
        return bool(theirs.project) and theirs.is_ours(self.owner)

    def secrets(self, service: Mapping[str, Any]) -> dict[str, str]:
        """The variables of a service that hold the endpoint's key, and the key; empty where it has none."""
        files_of_it = set(service.get("env_file", ()))
        variables = [v for file, v in self.document.get("x-api-key", {}).items() if file in files_of_it]
        return dict.fromkeys(variables, self.api_key or "")

    def key_mark(self, service: Mapping[str, Any]) -> dict[str, str]:
        """A label that changes when the service's key does: 32 bits of its digest, too few to find it."""
        if not self.secrets(service):
            return {}
        return {names.KEY_LABEL: hashlib.sha256(f"local-ai-lab {self.api_key}".encode()).hexdigest()[:8]}


def read(environment: Mapping[str, str]) -> Spec:
    """The specification of LAB_STACK, LAB_SPEC and LAB_API_KEY. Raises HostError where it is none."""
    try:
        stack, document = environment["LAB_STACK"], json.loads(environment["LAB_SPEC"])
        project = str(document["name"])
        has_key = bool(document.get("x-api-key"))
        assert all(part in document for part in ("services", "networks", "volumes"))  # noqa: S101  (told below)
    except KeyError as error:
        raise HostError(f"{error.args[0]} is not set", remedy="`lab up` and `pulumi up` set it") from None
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        raise HostError(f"LAB_SPEC is no compose file of a stack: {error}") from None
    key = environment.get("LAB_API_KEY") or None
    if key is not None and any(c in key for c in "\r\n\0"):
        raise HostError(
            "the secret apiKey has more than one line", remedy="set it again: pulumi config set --secret apiKey"
        )
    spec = Spec(stack, _at_home(document), key if has_key else None, this_stack(stack, "docker", project))
    if "x-gateway" in document:  # it reads files that are their owner's alone
        document["services"]["gateway"]["user"] = "{}:{}".format(*ids())
    for part in ("services", "networks", "volumes"):
        for thing in document[part].values():
            thing["labels"] |= spec.labels
    return spec


def write(spec: Spec) -> bool:
    """Puts the compose file, and the files of the key where there is one, into the stack's state folder (0600); False
    where all stood there already.
    """
    folder = state.folder(spec.stack)
    wanted = {COMPOSE_FILE: compose_text(spec.document, spec.stack, folder / COMPOSE_FILE)}
    wanted |= {file: f"{variable}={spec.api_key}\n" for file, variable in spec.document.get("x-api-key", {}).items()}
    changed = False
    for name, text in wanted.items():
        path = folder / name
        if not (path.exists() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == 0o600):
            files.write_atomic(path, text, 0o600)
            changed = True
    for path in set(folder.glob("*.env")) - {folder / name for name in wanted}:
        path.unlink()
        changed = True
    return changed


def remove(stack: str) -> None:
    """The files that `write` made are gone afterwards."""
    folder = state.folder(stack)
    for path in (folder / COMPOSE_FILE, *folder.glob("*.env")):
        path.unlink(missing_ok=True)


def written(stack: str) -> Spec | None:
    """The specification that was written last, without its key; None where none can be read."""
    try:
        document = yaml.safe_load((state.folder(stack) / COMPOSE_FILE).read_text(encoding="utf-8"))
        return Spec(
            stack,
            _each(document, lambda text: text.replace("$$", "$")),
            None,
            this_stack(stack, "docker", document["name"]),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None


def compose_text(document: Mapping[str, Any], stack: str, file: Path) -> str:
    """The compose file's text, with who made it on top."""
    body = yaml.safe_dump(escaped(document), sort_keys=False, width=120, allow_unicode=True)
    return _HEAD.format(stack=stack, file=file) + body


def escaped(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as compose must read it: a dollar stands twice, or a variable would be put in."""
    changed: dict[str, Any] = _each(document, lambda text: text.replace("$", "$$"))
    return changed


def _at_home(document: dict[str, Any]) -> dict[str, Any]:
    """A leading ~ of mounted folders written out: the engine knows no home."""
    home = str(Path.home())
    for service in document["services"].values():
        for volume in service.get("volumes", ()):
            if volume["type"] == "bind":
                volume["source"] = names.at_home(volume["source"], home)
    return document


def _each(value: Any, change: Any) -> Any:
    """The same document with every text changed."""
    if isinstance(value, Mapping):
        return {key: _each(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_each(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
