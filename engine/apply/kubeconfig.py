"""Reading of a kubeconfig: where the API server is, how to trust it, and who we are."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.errors import EngineError

_REMEDY = "make the cluster's kubeconfig anew"


@dataclass(frozen=True)
class Access:
    """One context of a kubeconfig."""

    server: str
    namespace: str
    verify: ssl.SSLContext | bool = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def text_of(setting: str, folder: Path) -> str:
    """The kubeconfig that a provider's setting means: the content of the file that it names (in `folder`), or the setting itself.

    Raises EngineError where it names a file that is not there.
    """
    if "\n" in setting:
        return setting
    path = folder / Path(setting).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"the kubeconfig {setting} cannot be read: {error.strerror}"
        raise EngineError(message, remedy="the cluster is made by the stack's own `up`") from None


def read_access(text: str, context: str = "") -> Access:
    """Reads one context, by default the current one.

    Raises EngineError for what is no kubeconfig, and for credentials that need another program.
    """
    try:
        document = yaml.safe_load(text)
        chosen = _pick(document, "context", context or document["current-context"])
        cluster, user = _pick(document, "cluster", chosen["cluster"]), _pick(document, "user", chosen["user"])
        for name in ("exec", "auth-provider"):
            if name in user:
                message = f"the kubeconfig asks another program for credentials ({name})"
                raise EngineError(message, remedy="use client certificates or a token")
        verify = _trust(cluster, user) if str(cluster["server"]).startswith("https://") else False
        token = user.get("token") or (Path(user["tokenFile"]).read_text(encoding="utf-8").strip() if "tokenFile" in user else "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return Access(str(cluster["server"]).rstrip("/"), str(chosen.get("namespace") or "default"), verify, headers)
    except (yaml.YAMLError, KeyError, TypeError, StopIteration, ValueError, OSError) as error:
        raise EngineError(f"the kubeconfig cannot be used ({type(error).__name__}: {error})", remedy=_REMEDY) from None


def _pick(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(item[kind] for item in document[f"{kind}s"] if item["name"] == name)
    return found


def _trust(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = _data(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _data(user, "client-certificate"), _data(user, "client-key")
    if certificate and key:
        _load(context, certificate, key)
    return context


def _data(source: Mapping[str, Any], name: str) -> bytes:
    if f"{name}-data" in source:
        return base64.b64decode(source[f"{name}-data"])
    return Path(source[name]).expanduser().read_bytes() if name in source else b""


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL takes the pair from a file only: a private one, for no longer than that."""
    descriptor, name = tempfile.mkstemp()  # 0600 from the start
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
