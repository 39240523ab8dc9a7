"""Credentials from the plugin that a kubeconfig names, such as `aws eks get-token`, got as Kubernetes' own clients do
(kubernetes.io/docs, client-go credential plugins). The one place of the probes that runs a program.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from stacks.errors import CheckFailed

VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
"""The versions of ExecCredential that clients know."""

_SECONDS = 30.0
_SPARE_SECONDS = 30.0  # a token is not used in the last moments before it expires
_KEPT: dict[str, tuple[float, dict[str, str]]] = {}
_PEMS = {"clientCertificateData": "client-certificate-data", "clientKeyData": "client-key-data"}


def credential(spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, str]:
    """What the plugin gives, as a user of a kubeconfig: `token`, or `client-certificate-data` and `client-key-data`;
    kept until it expires. Raises CheckFailed where it gives neither.
    """
    asked = json.dumps([spec, cluster], sort_keys=True, default=str)
    if asked in _KEPT and time.time() < _KEPT[asked][0]:
        return _KEPT[asked][1]
    status = _status(spec, cluster)
    found = {
        ours: base64.b64encode(status[theirs].encode()).decode() for theirs, ours in _PEMS.items() if status.get(theirs)
    }
    found |= {"token": str(status["token"])} if status.get("token") else {}
    if not found:
        raise _failed(spec, "it gives no token and no certificate")
    _KEPT[asked] = (_until(status.get("expirationTimestamp")), found)
    return found


def _status(spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> Mapping[str, Any]:
    told: dict[str, Any] = {"interactive": False}
    if spec.get("provideClusterInfo"):
        names = {"server": "server", "tls-server-name": "tls-server-name", "proxy-url": "proxy-url",
                 "certificate-authority-data": "certificate-authority-data"}  # fmt: skip
        told["cluster"] = {theirs: cluster[ours] for theirs, ours in names.items() if ours in cluster}
    info = {"apiVersion": spec.get("apiVersion"), "kind": "ExecCredential", "spec": told}
    added = {str(entry["name"]): str(entry["value"]) for entry in spec.get("env") or ()}
    words = [str(spec["command"]), *(str(word) for word in spec.get("args") or ())]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(info)},
        )  # fmt: skip
    except OSError as error:
        raise _failed(spec, str(error.strerror)) from None
    except subprocess.TimeoutExpired:
        raise _failed(spec, f"no answer in {_SECONDS:.0f} s; it may wait for a login") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing is said"])[-1][:300]
        raise _failed(spec, f"it ended with {done.returncode}: {said}")
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
        raise _failed(spec, "what it prints is no ExecCredential")
    status = document.get("status")
    return status if isinstance(status, dict) else {}


def _until(stamp: object) -> float:
    """When it is asked again, as a time of this machine; never for a credential that says no end."""
    try:
        return datetime.fromisoformat(str(stamp)).timestamp() - _SPARE_SECONDS
    except ValueError:
        return float("inf")


def _failed(spec: Mapping[str, Any], why: str) -> CheckFailed:
    program = str(spec["command"]).rpartition("/")[2]
    hint = str(spec.get("installHint") or "").strip().splitlines()
    log_in = _LOG_IN.get(program, f"log in again with {program}")
    return CheckFailed(
        f"the kubeconfig's credential plugin {program} fails: {why}",
        remedy=f"{log_in}; then the same again" + (f" ({hint[0]})" if hint else ""),
    )


_LOG_IN = {
    "aws": "log in again: aws sso login, or new keys in the environment",
    "aws-iam-authenticator": "log in again: aws sso login, or new keys in the environment",
    "gke-gcloud-auth-plugin": "log in again: gcloud auth login",
    "kubelogin": "log in again: az login, or kubelogin",
    "runai": "log in again: runai login",
}
