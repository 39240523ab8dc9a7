"""Handing a stack over to the Pulumi CLI: its state as `pulumi stack import` takes it, and the mark that ends our part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from engine.apply.ledger import now, write_private
from engine.apply.lock import lock_state
from engine.errors import EngineError
from engine.passphrase import SecretsManager
from engine.state import read_state
from engine.wire import Secret, Value, seal

_MARK: Final = "handedOver"  # a key beside `version` and `deployment`, with the time


def export(state: Path, encryption_salt: str, secrets: SecretsManager) -> dict[str, Any]:
    """The deployment for `pulumi stack import`, its secrets encrypted with the salt of the stack file (`encryptionsalt`).

    Raises EngineError where there is no state, or where a run was interrupted: nobody would finish its work.
    """
    if not state.exists():
        raise EngineError(f"there is no state at {state}", remedy="nothing was created yet: run up with the CLI itself")
    document = json.loads(state.read_text(encoding="utf-8"))
    own = secrets.with_salt(salt_of(document) or secrets.salt)
    recorded = read_state(state, own.decrypt)
    if recorded.pending:
        waiting = ", ".join(item.rpartition("::")[2] for item in recorded.interrupted)
        raise EngineError(f"an earlier run was interrupted while it worked on {waiting}", remedy="run up once more, then hand over")
    theirs = own.with_salt(encryption_salt)
    encrypted = [seal(record if theirs is own else _fresh(record), theirs.encrypt) for record in recorded.records]
    deployment = {**document["deployment"], "resources": encrypted}
    deployment["secrets_providers"] = {"type": "passphrase", "state": {"salt": encryption_salt}}
    return {"version": document["version"], "deployment": deployment}


def mark_handed_over(state: Path) -> None:
    """Ends our part: `up` and `down` refuse this state from now on."""
    with lock_state(state):
        document = json.loads(state.read_text(encoding="utf-8"))
        write_private(state, {**document, _MARK: now()})


def is_handed_over(document: dict[str, Any]) -> bool:
    """Whether the document carries the mark."""
    return _MARK in document


def salt_of(document: dict[str, Any]) -> str:
    """The salt that the document's secrets were encrypted with, empty where there is none."""
    provider = document.get("deployment", {}).get("secrets_providers") or {}
    if provider and provider.get("type") != "passphrase":
        raise EngineError(f"the state's secrets are of the provider {provider.get('type')}; the embedded engine knows passphrases only")
    return str((provider.get("state") or {}).get("salt", ""))


def _fresh(value: Value) -> Value:
    """The same value, its secrets to be encrypted anew."""
    if isinstance(value, Secret):
        return Secret(value.value)
    if isinstance(value, dict):
        return {key: _fresh(item) for key, item in value.items()}
    return [_fresh(item) for item in value] if isinstance(value, list) else value
