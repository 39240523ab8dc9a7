"""All files of a gateway: made where they are missing, kept where they are right."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from host.drivers.embedded import pki
from host.gateway.keys import Keys
from host.gateway.owner import write_private
from host.system import state

BOOTSTRAP_FILE: Final = "bootstrap.json"
AUTHORITY_FILE: Final = "ca.crt"
_ENGINE_KEY: Final = "engine-key.json"
_CERTIFICATE: Final = "certificate.json"
_RESOURCE: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def mounted(stack: str) -> Path:
    """The folder that the container sees; it holds what Envoy reads and nothing else."""
    return state.folder(stack) / "gateway" / "envoy"


def authority(stack: str) -> Path:
    """The certificate of the stack's own authority, which clients trust."""
    return state.folder(stack) / "gateway" / "tls" / AUTHORITY_FILE


def fingerprint(certificate: str) -> tuple[str, date]:
    """Of a certificate in PEM: its SHA-256 as browsers show it, and the last day that it is valid."""
    read = x509.load_pem_x509_certificate(certificate.encode())
    return read.fingerprint(SHA256()).hex(":").upper(), read.not_valid_after_utc.date()


def keys(stack: str) -> Keys:
    """The keys of the stack's clients."""
    return Keys(mounted(stack), stack)


def ensure(stack: str, bootstrap: str | None, hosts: Sequence[str], *, known_key: str | None = None) -> list[str]:
    """Everything that Envoy reads is there afterwards; returns what was made. The authority and all keys are kept.
    `hosts` are the names and addresses of the certificate; without `bootstrap` the configuration is elsewhere, and
    `known_key` is the engines' one that is taken where this machine has none.
    """
    folder = mounted(stack)
    made = []
    if known_key and not _engine_key_file(stack).exists():
        write_private(_engine_key_file(stack), known_key)
    if keys(stack).ensure_own():
        made.append("keys")
    if write_private(
        folder / _ENGINE_KEY,
        _secret("engine_key", {"generic_secret": _inline("secret", f"Bearer {engine_key(stack)}")}),
    ):
        made.append("the key of the engines")
    tls = authority(stack).parent
    wanted = (
        pki.Certificate("ca", "", f"local-ai-lab {stack}"),
        pki.Certificate("server", "ca", hosts[0], serves=tuple(hosts)),
    )
    pki.ensure(tls, wanted)
    pair = _inline("certificate_chain", (tls / "server.crt").read_text()) | _inline(
        "private_key", (tls / "server.key").read_text()
    )
    if write_private(folder / _CERTIFICATE, _secret("certificate", {"tls_certificate": pair})):
        made.append("the certificate")
    if bootstrap is not None and write_private(folder / BOOTSTRAP_FILE, bootstrap):
        made.append("the configuration")
    return made


def engine_key(stack: str) -> str:
    """The key between the gateway and the engines; made once."""
    path = _engine_key_file(stack)
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8")


def _secret(name: str, value: dict[str, Any]) -> str:
    version = hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
    return json.dumps({"version_info": version, "resources": [{"@type": _RESOURCE, "name": name, **value}]}, indent=1)


def _inline(key: str, text: str) -> dict[str, Any]:
    return {key: {"inline_string": text}}


def _engine_key_file(stack: str) -> Path:
    return state.folder(stack) / "gateway" / "engine.key"
