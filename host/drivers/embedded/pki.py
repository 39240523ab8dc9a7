"""The cluster's certificates: three authorities, one for each client and server; P-256 keys, renewed in time."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from host.drivers.embedded.layout import Layout
from host.system import files

_DAYS = 365
_RENEW_DAYS = 60
_AUTHORITY_DAYS = 3650
ADMINS = "local-ai-lab:admins"
POLICIES, POLICIES_USER = "kube-network-policies", "local-ai-lab:network-policies"
_Extensions = list[tuple[x509.ExtensionType, bool]]  # true: critical, a reader must understand it


@dataclass(frozen=True)
class Certificate:
    """One certificate: its file name, its subject, the names and addresses it serves under.

    `authority` is the one that signs it; "" is an authority itself.
    """

    name: str
    authority: str
    common_name: str
    organization: str = ""
    serves: tuple[str, ...] = ()

    @property
    def signer(self) -> str:
        return self.authority or self.name

    @property
    def subject(self) -> x509.Name:
        organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organization)] if self.organization else []
        return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])

    def extensions(self, own: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey) -> _Extensions:
        """What the certificate of the key `own` says, in this order."""
        signs = not self.authority
        found: _Extensions = [(x509.BasicConstraints(ca=signs, path_length=None), True), (_usage(signs=signs), True)]
        if not signs:
            server = [ExtendedKeyUsageOID.SERVER_AUTH] if self.serves else []
            found.append((x509.ExtendedKeyUsage([*server, ExtendedKeyUsageOID.CLIENT_AUTH]), False))
        if self.serves:
            found.append((x509.SubjectAlternativeName([_general_name(name) for name in self.serves]), False))
        found.append((x509.SubjectKeyIdentifier.from_public_key(own), False))
        if not signs:
            found.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), False))
        return found


def certificates(layout: Layout) -> tuple[Certificate, ...]:
    """Every certificate of a cluster, authorities first."""
    cluster, address, node = layout.plan.name, layout.plan.address, layout.plan.node
    local = ("localhost", "127.0.0.1")
    kubernetes = ("kubernetes", *(f"kubernetes.default{rest}" for rest in ("", ".svc", ".svc.cluster.local")))
    api_server = (*kubernetes, *local, address, layout.kubernetes_service)
    enforcing = (Certificate(POLICIES, "ca", POLICIES_USER),) if layout.plan.network_policies else ()
    return (
        Certificate("ca", "", f"{cluster} cluster"),
        Certificate("etcd-ca", "", f"{cluster} etcd"),
        Certificate("front-proxy-ca", "", f"{cluster} front-proxy"),
        Certificate("kube-apiserver", "ca", "kube-apiserver", serves=api_server),
        Certificate("kube-apiserver-kubelet", "ca", "kube-apiserver"),
        Certificate("kube-apiserver-etcd", "etcd-ca", "kube-apiserver"),
        Certificate("etcd", "etcd-ca", "etcd", serves=local),
        Certificate("front-proxy", "front-proxy-ca", "front-proxy"),
        Certificate("kube-controller-manager", "ca", "system:kube-controller-manager", serves=local),
        Certificate("kube-scheduler", "ca", "system:kube-scheduler", serves=local),
        Certificate("kube-proxy", "ca", "system:kube-proxy"),
        Certificate("kubelet", "ca", f"system:node:{node}", "system:nodes", serves=(node, address)),
        Certificate("bootstrap", "ca", "local-ai-lab-bootstrap", "system:masters"),
        Certificate("admin", "ca", "local-ai-lab", ADMINS),
        *enforcing,
    )


def make(layout: Layout) -> bool:
    """Makes what is missing, damaged, foreign, changed or ends within 60 days; returns whether anything was made."""
    folder = layout.pki
    made = ensure(folder, certificates(layout))
    if not all((folder / f"service-account.{kind}").exists() for kind in ("key", "pub")):
        made = True
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write_key(folder / "service-account.key", key)
        files.write_atomic(folder / "service-account.pub", public.decode())
    return made


def ensure(folder: Path, certificates: Sequence[Certificate]) -> bool:
    """The same for any certificates, authorities first, in `folder`, which nobody else may enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    stale = False
    for wanted in certificates:
        if not _is_current(folder, wanted):
            stale = True
            _make(folder, wanted)
    return stale


def fingerprints(layout: Layout, *pairs: str) -> dict[str, str]:
    """File name -> digest of its text, for the restart digest of the programs that read these certificates."""
    found = [path for pair in pairs for path in sorted(layout.pki.glob(f"{pair}.*"))]
    kinds = (".crt", ".key", ".pub")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.suffix in kinds}


def kubeconfig(layout: Layout, pair: str, name: str) -> str:
    """A kubeconfig (JSON is YAML) with everything inside, for the certificate `pair`."""

    def data(file: str) -> str:
        return base64.b64encode((layout.pki / file).read_bytes()).decode()

    cluster = {"server": layout.server, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{pair}.crt"), "client-key-data": data(f"{pair}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return json.dumps(config, indent=1)


def _make(folder: Path, wanted: Certificate) -> None:
    """Writes key and certificate: the certificate last, so that it never stands without its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, signer = wanted.subject, key
    if wanted.authority:
        issuer, signer = _certificate(folder, wanted.authority).subject, _key(folder, wanted.authority)
    now = datetime.fromtimestamp(time.time(), UTC)
    end = now + timedelta(days=_DAYS if wanted.authority else _AUTHORITY_DAYS)
    builder = x509.CertificateBuilder(issuer, wanted.subject, key.public_key(), x509.random_serial_number(), now, end)
    for extension, critical in wanted.extensions(key.public_key(), signer.public_key()):
        builder = builder.add_extension(extension, critical)
    signed = builder.sign(signer, hashes.SHA256())
    (folder / f"{wanted.name}.crt").unlink(missing_ok=True)
    _write_key(folder / f"{wanted.name}.key", key)
    files.write_atomic(folder / f"{wanted.name}.crt", signed.public_bytes(Encoding.PEM).decode())


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    files.write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), 0o600)


def _is_current(folder: Path, wanted: Certificate) -> bool:
    """Whether the certificate and its key are there, say what they should, come from the present authority and last."""
    with contextlib.suppress(OSError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        found, signer = _certificate(folder, wanted.name), _certificate(folder, wanted.signer)
        found.verify_directly_issued_by(signer)
        own, signing = _key(folder, wanted.name).public_key(), _key(folder, wanted.signer).public_key()
        lasts = found.not_valid_after_utc.timestamp() - time.time() > _RENEW_DAYS * 86400
        says = [(extension.value, extension.critical) for extension in found.extensions]
        right = says == wanted.extensions(own, signing) and found.subject == wanted.subject
        return lasts and right and found.public_key() == own
    return False


def _certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def _key(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError for a key of another kind."""
    key = load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{name}.key is no elliptic key")  # noqa: TRY004 - a file's content, like a damaged one
    return key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
