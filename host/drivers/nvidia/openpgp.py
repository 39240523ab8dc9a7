"""The fingerprint of an OpenPGP public key, by which NVIDIA's key is pinned (RFC 4880, sections 4.2, 6.2 and 12.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

_PUBLIC_KEY: Final = 6  # the packet's tag
_VERSION: Final = 4
_BEGIN, _END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"


def dearmored(text: str) -> bytes:
    """The key as apt reads it: binary. Raises ValueError where the text is no armored public key."""
    head, begin, rest = text.replace("\r\n", "\n").partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not (begin and end) or head.strip():
        raise ValueError("no public key between its two lines")
    _, _, lines = body.partition("\n\n")  # the headers end with an empty line
    data = [line for line in lines.splitlines() if line and not line.startswith("=")]  # = begins the checksum
    try:
        return base64.b64decode("".join(data), validate=True)
    except binascii.Error as error:
        raise ValueError(f"damaged: {error}") from None


def fingerprints(key: bytes) -> list[str]:
    """The fingerprint of every primary key, in capital hex digits: a keyring with a second one is not what was pinned.
    Raises ValueError where the bytes are no packets, or a key is not of version 4.
    """
    found, rest = [], key
    while rest:
        tag, body, rest = _packet(rest)
        if tag == _PUBLIC_KEY:
            if not body or body[0] != _VERSION:
                raise ValueError("the key is not of version 4")
            # SHA-1 is the standard's own name of such a key, and names it; signatures are checked by apt
            digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
            found.append(digest.hexdigest().upper())
    return found


def _packet(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and body of the first packet, and what follows it."""
    first = data[0]
    if not first & 0x80:
        raise ValueError("no packet begins here")
    if first & 0x40:
        tag, (length, start) = first & 0x3F, _new_length(data)
    else:
        tag, size = first >> 2 & 0x0F, 1 << (first & 0x03)
        if size == 8:
            raise ValueError("a packet without a length")
        length, start = int.from_bytes(data[1 : 1 + size], "big"), 1 + size
    if len(data) < start + length:
        raise ValueError("cut short")
    return tag, data[start : start + length], data[start + length :]


def _new_length(data: bytes) -> tuple[int, int]:
    """Length of the body and where it begins, in the new format."""
    if len(data) < 6:
        raise ValueError("cut short")
    first = data[1]
    if first < 192:
        return first, 2
    if first < 224:
        return ((first - 192) << 8) + data[2] + 192, 3
    if first == 255:
        return int.from_bytes(data[2:6], "big"), 6
    raise ValueError("a packet in parts")
