"""What a probe needs to ask through a stack's gateway; reads files of the stack's state folder."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path

from stacks import names
from stacks.errors import CheckFailed


@dataclass(frozen=True)
class GatewayAccess:
    """`folder` is the gateway's part of the stack's state folder."""

    folder: Path
    stack: str

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "tls" / "ca.crt"

    def key(self) -> str:
        """The key of the lab's own checks. Raises CheckFailed where there is none."""
        try:
            (resource,) = json.loads((self.folder / "envoy" / "keys.json").read_text(encoding="utf-8"))["resources"]
            rows = resource["typed_config"]["credentials"]
            return str(next(row["key"] for row in rows if row["client"] == names.OWN_CLIENT))
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise CheckFailed(
                f"the key of the lab's own checks cannot be read: {error}", remedy=f"./lab up {self.stack}"
            ) from None

    def trust(self) -> ssl.SSLContext:
        """Trusts the stack's own authority. Raises CheckFailed where its certificate is not there."""
        try:
            return ssl.create_default_context(cafile=str(self.authority))
        except OSError as error:
            raise CheckFailed(f"{self.authority} cannot be read: {error}", remedy=f"./lab up {self.stack}") from None
