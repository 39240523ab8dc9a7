"""An identity provider that stands in for Keycloak or Entra: keys, tokens, and its JWKS over TLS."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from host.drivers.embedded import pki
from stacks.plan.gateway_oidc import OidcPlan

ISSUER, AUDIENCE = "https://idp.example/realms/lab", "lab"


def encoded(data: bytes | dict[str, Any]) -> str:
    """base64url without padding, of bytes or of a JSON object."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int, size: int) -> str:
    return encoded(value.to_bytes(size, "big"))


@dataclass
class IdentityProvider:
    """Signs with RSA (kid `r`) and P-256 (kid `e`). `asked` counts how often its keys were fetched."""

    rsa_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ec_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    asked: int = 0

    def keys(self) -> dict[str, Any]:
        """What it publishes."""
        r, e = self.rsa_key.public_key().public_numbers(), self.ec_key.public_key().public_numbers()
        first = {"kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig", "n": _number(r.n, 256), "e": _number(r.e, 3)}
        second = {"kty": "EC", "kid": "e", "alg": "ES256", "crv": "P-256", "x": _number(e.x, 32), "y": _number(e.y, 32)}
        return {"keys": [first, second]}

    def token(self, algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is valid unless `claims` say otherwise; a claim that is None is left out."""
        now = int(time.time())
        own = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, **claims}
        head = {
            "alg": algorithm,
            "typ": "JWT",
            "kid": {"RS256": "r", "ES256": "e"}.get(algorithm, "r"),
            **(header or {}),
        }
        body = {name: value for name, value in own.items() if value is not None}
        signed = f"{encoded(head)}.{encoded(body)}"
        return f"{signed}.{encoded(self._signature(algorithm, signed.encode()))}"

    def _signature(self, algorithm: str, data: bytes) -> bytes:
        if algorithm == "RS256":
            return self.rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec_key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if algorithm == "HS256":  # the public key taken for a shared one: an attack of old
            mac = hmac.HMAC(json.dumps(self.keys()["keys"][0]).encode(), hashes.SHA256())
            mac.update(data)
            return mac.finalize()
        return b""

    def plan(self, **changes: Any) -> OidcPlan:
        """A gateway's slice that has the keys themselves."""
        values = {"issuer": ISSUER, "audiences": (AUDIENCE,), "client_claim": "sub", "jwks": json.dumps(self.keys())}
        return OidcPlan(**{name: value for name, value in (values | changes).items() if value is not None})

    @contextlib.contextmanager
    def serving(self, folder: Path, *, name: str = "localhost", port: int = 0) -> Iterator[tuple[str, str]]:
        """Its JWKS at an URL of localhost, with a certificate for `name`; yields the URL and its authority in PEM."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps(provider.keys()).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        wanted = (pki.Certificate("ca", "", "idp"), pki.Certificate("server", "ca", name, serves=(name,)))
        pki.ensure(folder, wanted)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"https://localhost:{server.server_address[1]}/certs", (folder / "ca.crt").read_text()
        finally:
            server.shutdown()
            server.server_close()
