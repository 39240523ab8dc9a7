"""The cluster's certificates: three authorities and a leaf for every talker, elliptic keys, 0600, renewed before they end."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from host import command, files
from host.embedded.layout import Layout

_DAYS = 365
_RENEW_DAYS = 60
_AUTHORITY_DAYS = 3650
AUTHORITIES = {"ca": "cluster", "etcd-ca": "etcd", "front-proxy-ca": "front-proxy"}
ADMINS = "local-ai-lab:admins"


@dataclass(frozen=True)
class Leaf:
    """One certificate: who it speaks for, which authority signs, which names and addresses it serves under."""

    name: str
    authority: str
    common_name: str
    organization: str = ""
    serves: tuple[str, ...] = ()


def leaves(layout: Layout) -> tuple[Leaf, ...]:
    """Every certificate of a cluster."""
    address, node = layout.plan.address, layout.plan.node
    local = ("DNS:localhost", "IP:127.0.0.1")
    kubernetes = tuple(
        f"DNS:{n}" for n in ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    )
    return (
        Leaf("kube-apiserver", "ca", "kube-apiserver", serves=(*kubernetes, *local, f"IP:{address}", f"IP:{layout.kubernetes_service}")),
        Leaf("kube-apiserver-kubelet", "ca", "kube-apiserver"),
        Leaf("kube-apiserver-etcd", "etcd-ca", "kube-apiserver"),
        Leaf("etcd", "etcd-ca", "etcd", serves=local),
        Leaf("front-proxy", "front-proxy-ca", "front-proxy"),
        Leaf("kube-controller-manager", "ca", "system:kube-controller-manager", serves=local),
        Leaf("kube-scheduler", "ca", "system:kube-scheduler", serves=local),
        Leaf("kube-proxy", "ca", "system:kube-proxy"),
        Leaf("kubelet", "ca", f"system:node:{node}", "system:nodes", serves=(f"DNS:{node}", f"IP:{address}")),
        Leaf("bootstrap", "ca", "local-ai-lab-bootstrap", "system:masters"),
        Leaf("admin", "ca", "local-ai-lab", ADMINS),
    )


def make(layout: Layout) -> bool:
    """Makes what is missing, changed or near its end; returns whether anything was made. Raises HostError (openssl's words)."""
    folder = layout.pki
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = False
    for name, title in AUTHORITIES.items():
        if not _complete(folder, name):
            made = True
            extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
            _certificate(folder, name, f"/CN={layout.plan.name} {title}", extensions, _AUTHORITY_DAYS, signer=None)
    for leaf in leaves(layout):
        if not _is_current(folder, leaf):
            made = True
            subject = (f"/O={leaf.organization}" if leaf.organization else "") + f"/CN={leaf.common_name}"
            usage = "serverAuth,clientAuth" if leaf.serves else "clientAuth"
            extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", f"extendedKeyUsage={usage}"]
            extensions += [f"subjectAltName={','.join(leaf.serves)}"] if leaf.serves else []
            _certificate(folder, leaf.name, subject, extensions, _DAYS, signer=leaf.authority)
            files.write_atomic(folder / f"{leaf.name}.json", _stamp(folder, leaf, time.time() + _DAYS * 86400), 0o600)
    if not (folder / "service-account.pub").exists():
        made = True
        _key_pair(folder)
    return made


def fingerprints(layout: Layout, *pairs: str) -> dict[str, str]:
    """File name -> digest of its text, for the restart digest of the programs that read these certificates."""
    found = [path for pair in pairs for path in sorted(layout.pki.glob(f"{pair}.*")) if path.suffix in (".crt", ".key", ".pub")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def kubeconfig(layout: Layout, pair: str, name: str) -> str:
    """A kubeconfig (JSON is YAML) with everything inside, for the certificate `pair`."""

    def data(file: str) -> str:
        return base64.b64encode((layout.pki / file).read_bytes()).decode()

    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": layout.server, "certificate-authority-data": data("ca.crt")}}],
        "users": [{"name": name, "user": {"client-certificate-data": data(f"{pair}.crt"), "client-key-data": data(f"{pair}.key")}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }, indent=1)  # fmt: skip


def _certificate(folder: Path, name: str, subject: str, extensions: list[str], days: int, *, signer: str | None) -> None:
    """Key and certificate under temporary names, then renamed: the certificate last, so that it never stands without its key."""
    work = folder / f".{name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    arguments: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-sha256",
    ]
    # A configuration of our own: the system's would add extensions.
    files.write_atomic(work / "openssl.cnf", "[req]\ndistinguished_name=dn\n[dn]\n")
    arguments += ["-config", work / "openssl.cnf", "-subj", subject, "-days", str(days), "-keyout", work / "key", "-out", work / "crt"]
    for extension in extensions:
        arguments += ["-addext", extension]
    if signer:
        arguments += ["-CA", folder / f"{signer}.crt", "-CAkey", folder / f"{signer}.key"]
    command.run(arguments, timeout=30)
    (work / "key").chmod(0o600)
    (folder / f"{name}.crt").unlink(missing_ok=True)
    (work / "key").replace(folder / f"{name}.key")
    (work / "crt").replace(folder / f"{name}.crt")
    shutil.rmtree(work)


def _key_pair(folder: Path) -> None:
    """The key that signs service account tokens."""
    command.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / ".sa.key"], timeout=30)
    (folder / ".sa.key").chmod(0o600)
    command.run(["openssl", "ec", "-in", folder / ".sa.key", "-pubout", "-out", folder / ".sa.pub"], timeout=30)
    (folder / ".sa.key").replace(folder / "service-account.key")
    (folder / ".sa.pub").replace(folder / "service-account.pub")


def _complete(folder: Path, name: str) -> bool:
    return (folder / f"{name}.crt").exists() and (folder / f"{name}.key").exists()


def _stamp(folder: Path, leaf: Leaf, until: float) -> str:
    signer = hashlib.sha256((folder / f"{leaf.authority}.crt").read_bytes()).hexdigest()
    return json.dumps({"leaf": asdict(leaf), "signer": signer, "until": int(until)})


def _is_current(folder: Path, leaf: Leaf) -> bool:
    """Whether the leaf is there, says what it should, comes from the present authority and lasts."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        stamp = json.loads((folder / f"{leaf.name}.json").read_text(encoding="utf-8"))
        wanted = json.loads(_stamp(folder, leaf, stamp["until"]))
        return bool(_complete(folder, leaf.name) and stamp == wanted and stamp["until"] - time.time() > _RENEW_DAYS * 86400)
    return False
