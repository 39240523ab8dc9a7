"""The keys of the gateway's clients: one file of the stack's state folder, in the form that Envoy reads, and reads
again when it is replaced. They are nowhere else: in no argument, no state of Pulumi, no log.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from host.gateway import key_models
from host.gateway.owner import write_private
from host.system import files
from stacks import names
from stacks.errors import HostError

KEYS_FILE: Final = "keys.json"
_FILTER: Final = "envoy.filters.http.api_key_auth"
_KIND: Final = "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BYTES: Final = 32  # of the system's random source: 256 bits


class Keys:
    """The keys of one stack, in `folder`. Every change is one replaced file, under a lock."""

    def __init__(self, folder: Path, stack: str) -> None:
        self.folder, self.stack = folder, stack
        self._path, self._narrow = folder / KEYS_FILE, folder / key_models.MODELS_FILE

    def names(self) -> list[str]:
        """The clients that have a key, the lab's own first. Raises HostError."""
        return sorted(self._read(), key=lambda name: (name != names.OWN_CLIENT, name))

    def of(self, name: str) -> str:
        """One client's key. Raises HostError where it has none."""
        return self._known(self._read(), name)

    def models(self, name: str) -> tuple[str, ...]:
        """What one client may ask; empty means every model. Raises HostError."""
        return self._models().get(name, ())

    @property
    def may_be_narrow(self) -> bool:
        """Whether the gateway keeps clients to their models: one of before this was so does not until the next up."""
        return self._narrow.exists()

    def add(self, name: str, models: Sequence[str] = ()) -> str:
        """A new client, for some models or for all; returns its key. Raises HostError for a name that is taken or
        cannot be one.
        """
        with self._lock():
            found = self._read()
            if models and not self.may_be_narrow:
                raise HostError(
                    "the gateway that runs does not keep keys to models yet", remedy=f"./lab up {self.stack}"
                )
            if not _NAME.fullmatch(name):
                raise HostError(
                    f"{name!r} cannot be a key's name: small letters, digits and - inside, 63 at most",
                    remedy=f"./lab keys {self.stack} add my-laptop",
                )
            if name in found:
                raise HostError(
                    f"{name} has a key already, which is not shown again",
                    remedy=f"for a new one instead: ./lab keys {self.stack} rotate {name}",
                )
            # what it may ask stands there before its key does
            self._save_models([*found, name], {**self._models(), name: tuple(dict.fromkeys(models))})
            return self._write(found, name)

    def rotate(self, name: str) -> str:
        """A new key for a client that has one; the old one is refused from now on. Raises HostError."""
        with self._lock():
            found = self._read()
            self._known(found, name)
            return self._write(found, name)

    def revoke(self, name: str) -> None:
        """A client less. Raises HostError where there is none, and for the lab's own."""
        with self._lock():
            found = self._read()
            self._known(found, name)
            if name == names.OWN_CLIENT:
                raise HostError(
                    f"{name} is the key of the lab's own checks",
                    remedy=f"for a new one: ./lab keys {self.stack} rotate {name}",
                )
            del found[name]
            self._save(found)
            self._save_models(found, self._models())

    def ensure_own(self) -> bool:
        """The lab's own checks have a key afterwards; whether one had to be made, or the file to be made private."""
        with self._lock():
            found = self._read(missing_is_empty=True)
            changed = self._save_models([*found, names.OWN_CLIENT], self._models(), new=True)
            if names.OWN_CLIENT in found:
                return write_private(self._path, _document(found)) or changed
            self._write(found, names.OWN_CLIENT)
            return True

    def _lock(self) -> Any:
        return files.lock(self.folder.parent / "keys.lock", what=f"the keys of {self.stack}")

    def _known(self, found: dict[str, str], name: str) -> str:
        if name not in found:
            raise HostError(f"there is no key {name!r}", remedy=f"./lab keys {self.stack} ls")
        return found[name]

    def _read(self, *, missing_is_empty: bool = False) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if missing_is_empty:
                return {}
            raise HostError(
                f"stack {self.stack} has no gateway on this machine yet", remedy=f"./lab up {self.stack}"
            ) from None
        except OSError as error:
            raise HostError(
                f"the keys cannot be read: {error}", remedy=f"run as the user who owns {self.folder}"
            ) from None
        try:
            (resource,) = json.loads(text)["resources"]
            return {row["client"]: row["key"] for row in resource["typed_config"]["credentials"]}
        except (ValueError, KeyError, TypeError) as error:
            raise HostError(
                f"{self._path} is damaged: {error}", remedy=f"rm {self._path}; ./lab up {self.stack} makes a new one"
            ) from None

    def _models(self) -> dict[str, tuple[str, ...]]:
        """The clients that may ask some models only. Without the file there are none: nothing narrows keys then."""
        try:
            return key_models.read(self._narrow.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HostError(
                f"{self._narrow} cannot be read: {error!r}",
                remedy=f"rm {self._narrow}; ./lab up {self.stack}; all keys are for all models then",
            ) from None

    def _save_models(self, clients: Iterable[str], narrow: Mapping[str, tuple[str, ...]], *, new: bool = False) -> bool:
        """Writes what each client may ask; a gateway that does not read it gets none unless `new`."""
        if not new and not self.may_be_narrow:
            return False
        return write_private(self._narrow, key_models.document({name: narrow.get(name, ()) for name in clients}))

    def _write(self, found: dict[str, str], name: str) -> str:
        key = f"sk-lab-{secrets.token_urlsafe(_BYTES)}"
        self._save({**found, name: key})
        return key

    def _save(self, found: dict[str, str]) -> None:
        write_private(self._path, _document(found))


def _document(found: dict[str, str]) -> str:
    """What Envoy's file source reads: the filter's whole configuration, as one resource."""
    rows = [{"key": key, "client": name} for name, key in sorted(found.items())]
    config = {
        "@type": _KIND,
        "credentials": rows,
        "key_sources": [{"header": "Authorization"}],
        "forwarding": {"header": names.CLIENT_HEADER, "hide_credentials": True},
    }
    extension = {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": _FILTER}
    resource = {**extension, "typed_config": config}
    version = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]
    return json.dumps({"version_info": version, "resources": [resource]}, indent=1)
