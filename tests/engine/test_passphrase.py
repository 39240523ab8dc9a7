"""Secrets as the real CLI writes and reads them."""

from __future__ import annotations

import pytest

from engine import EngineError, SecretsManager

# Written by `pulumi stack init` and `pulumi config set --secret key hunter2` (CLI 3.259, passphrase "x").
SALT = "v1:+90xQ9oCyqQ=:v1:94M1ptrnyDEJL9l1:Gp3kiswjYM6RqMKJy+7BNN9QkHE5gQ=="
SEALED = "v1:GZGXRcOGr1LxXGtK:X4se2YqTyL4Rj679gy9K2v9cYo80T3Y="


def test_what_the_cli_encrypted_is_read() -> None:
    assert SecretsManager("x", SALT).decrypt(SEALED) == "hunter2"


def test_what_is_encrypted_is_read_back_and_never_the_same_twice() -> None:
    manager = SecretsManager("x", SALT)
    first, second = manager.encrypt("grün\n"), manager.encrypt("grün\n")
    assert first != second
    assert manager.decrypt(first) == manager.decrypt(second) == "grün\n"
    assert "x" not in repr(manager).replace("SecretsManager", "")


def test_another_passphrase_is_refused_with_what_to_set() -> None:
    with pytest.raises(EngineError, match="incorrect passphrase") as caught:
        SecretsManager("y", SALT)
    assert "PULUMI_CONFIG_PASSPHRASE" in str(caught.value)


def test_a_new_salt_opens_with_its_own_passphrase_only() -> None:
    salt = SecretsManager("first").salt
    assert salt.startswith("v1:")
    SecretsManager("first", salt)
    with pytest.raises(EngineError, match="incorrect passphrase"):
        SecretsManager("second", salt)


@pytest.mark.parametrize("salt", ["nonsense", "v2:a:b", "v1:", "v1:!!!:v1:a:b", "v1:+90xQ9oCyqQ=:nonsense"])
def test_a_damaged_salt_is_refused(salt: str) -> None:
    with pytest.raises(EngineError):
        SecretsManager("x", salt)


@pytest.mark.parametrize("sealed", ["", "v1:a", "v2" + SEALED[2:], SEALED[:-4] + "AAAA"])
def test_a_damaged_secret_is_refused(sealed: str) -> None:
    with pytest.raises(EngineError, match="cannot be decrypted"):
        SecretsManager("x", SALT).decrypt(sealed)
