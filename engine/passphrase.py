"""Secrets as Pulumi's passphrase scheme writes them: AES-256-GCM under a key that PBKDF2 makes from passphrase and salt."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import EngineError

_ROUNDS: Final = 1_000_000
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_VERSION: Final = "v1"
_KNOWN_TEXT: Final = "pulumi"  # what the salt's own ciphertext says when the passphrase is right


class SecretsManager:
    """Encrypts and decrypts with one passphrase and one salt; `salt` is the text of `encryptionsalt` in a stack file.

    Without a salt a new one is drawn. Raises EngineError where the salt is none, or was made with another passphrase.
    """

    def __init__(self, passphrase: str, salt: str = "") -> None:
        self._passphrase = passphrase
        self._keys: dict[str, AESGCM] = {}
        self.salt = salt or self._new_salt()
        self._open_salt(self.salt)

    def __repr__(self) -> str:
        return "SecretsManager()"

    def with_salt(self, salt: str) -> SecretsManager:
        """The same passphrase with another salt."""
        return self if salt == self.salt else SecretsManager(self._passphrase, salt)

    def encrypt(self, text: str) -> str:
        """`v1:<nonce>:<ciphertext>`, both in base64."""
        return _seal(self._keys[self.salt], text)

    def decrypt(self, sealed: str) -> str:
        """The text of what `encrypt` or the CLI wrote. Raises EngineError where it is damaged or of another passphrase."""
        return _open(self._keys[self.salt], sealed)

    def _new_salt(self) -> str:
        raw = secrets.token_bytes(_SALT_BYTES)
        return f"{_VERSION}:{base64.b64encode(raw).decode()}:{_seal(self._key(raw), _KNOWN_TEXT)}"

    def _open_salt(self, salt: str) -> None:
        version, _, rest = salt.partition(":")
        encoded, _, sealed = rest.partition(":")
        if version != _VERSION or not sealed:
            raise EngineError("the encryption salt is not one that `pulumi stack init` writes", remedy="restore the line encryptionsalt")
        try:
            raw = base64.b64decode(encoded, validate=True)
            self._keys[salt] = self._key(raw)
            known = _open(self._keys[salt], sealed)
        except (EngineError, binascii.Error) as error:
            raise EngineError("incorrect passphrase", remedy="set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE") from error
        if known != _KNOWN_TEXT:
            raise EngineError("incorrect passphrase", remedy="set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE")

    def _key(self, salt: bytes) -> AESGCM:
        return AESGCM(hashlib.pbkdf2_hmac("sha256", self._passphrase.encode(), salt, _ROUNDS, _KEY_BYTES))


def _seal(key: AESGCM, text: str) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = key.encrypt(nonce, text.encode(), None)
    return f"{_VERSION}:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"


def _open(key: AESGCM, sealed: str) -> str:
    try:
        version, nonce, text = sealed.split(":")
        if version != _VERSION:
            raise ValueError(version)  # noqa: TRY301 (the same answer as for the other damages)
        return key.decrypt(base64.b64decode(nonce), base64.b64decode(text), None).decode()
    except (ValueError, InvalidTag) as error:
        raise EngineError("a secret cannot be decrypted: it is damaged, or was encrypted with another passphrase") from error
