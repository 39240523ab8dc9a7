"""One file from the network: it goes on where it was cut, and has its name only when it is verified."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import httpx

from host.system.progress import step
from stacks.errors import HostError

_CONNECT_SECONDS = 5.0
_SILENT_SECONDS = 30.0  # without a byte; then the connection counts as cut
_PROGRESS_SECONDS = 2.0
_WAITS = (1.0, 2.0, 4.0)  # seconds before each try that follows a cut or a busy server
_MIB: Final = 1 << 20
_FINAL = frozenset({400, 401, 403, 404, 405, 407, 410, 451})  # answers that another try does not change
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_RANGE = re.compile(r"bytes (?:(?P<begin>\d+)-\d+|\*)/(?P<whole>\d+|\*)")
_REMEDY = "run it again; if it stays so, a proxy or mirror changes files: LAB_OFFLINE=1 builds from Go modules"


class Unreachable(Exception):
    """The file cannot be had, and another way has to be taken; `whole_host`: nothing of that host can be had."""

    def __init__(self, reason: str, *, whole_host: bool = False) -> None:
        super().__init__(reason)
        self.whole_host = whole_host


class _Again(Exception):
    """This answer is of no use, the next one may be."""


@dataclass(frozen=True)
class Wanted:
    """One file: where it is and what it must be. `size` is in bytes, None where no source says it."""

    url: str
    algorithm: Literal["sha256", "sha512"]
    checksum: str
    size: int | None
    label: str

    @property
    def host(self) -> str:
        """Host and port of the address."""
        return httpx.URL(self.url).netloc.decode()


def fetch(wanted: Wanted, target: Path) -> None:
    """Downloads to `target`; what an earlier run left in `TARGET.partial` is not asked for again.

    Raises Unreachable, and HostError where what came is not the file that is wanted: it is removed then.
    """
    partial = target.with_name(f"{target.name}.partial")
    timeout = httpx.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS)
    with httpx.Client(timeout=timeout, follow_redirects=True) as client, ExitStack() as shown:
        download = _Download(client, wanted, partial, shown)
        failures = 0
        while True:
            before = _size(partial)
            try:
                download.go_on()
                break
            except (_Again, httpx.HTTPError) as error:
                reason = _reason(error)
                if isinstance(error, _NOT_CONNECTED) and not download.begun:
                    raise Unreachable(f"{wanted.host} cannot be reached ({reason})", whole_host=True) from None
                failures = 1 if _size(partial) > before else failures + 1  # only tries that bring nothing on count
                if failures > len(_WAITS):
                    raise Unreachable(f"{wanted.host} does not deliver {wanted.label} ({reason})") from None
                wait = _WAITS[failures - 1]
                _say(f"{wanted.label}: {reason}; again in {wait:.0f} s, from {_size(partial) / _MIB:.1f} MiB on")
                time.sleep(wait)
        _verify(wanted, partial)
    partial.replace(target)


class _Download:
    """Brings `partial` on, one request at a time. `begun`: a byte of the file came in this run."""

    def __init__(self, client: httpx.Client, wanted: Wanted, partial: Path, shown: ExitStack) -> None:
        self._client, self._wanted, self._partial, self._shown = client, wanted, partial, shown
        self.begun = False

    def go_on(self) -> None:
        """Asks for what is missing. Raises Unreachable, HostError, _Again, or what httpx raises."""
        have = _size(self._partial)
        if have and have == self._wanted.size:
            return
        # Encoded on the way, an archive would not have the recorded checksum.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with self._client.stream("GET", self._wanted.url, headers=headers) as answer:
            begin, whole = _extent(answer)
            if answer.status_code in _FINAL:
                path = httpx.URL(self._wanted.url).path
                raise Unreachable(f"{self._wanted.host} answers {answer.status_code} to {path}")
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have == whole:
                return  # killed between the last byte and the verification
            if answer.status_code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT) and begin in (0, have):
                self._write(answer, begin, whole)
                return
            if answer.status_code in (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
                self._partial.unlink(missing_ok=True)  # it does not fit to what the server has
            raise _Again(f"{self._wanted.host} answers {answer.status_code}")

    def _write(self, answer: httpx.Response, begin: int, whole: int | None) -> None:
        size = self._wanted.size
        if size is not None and whole not in (None, size):
            self._refuse(f"has {whole} bytes")
        whole = size if whole is None else whole
        if not self.begun:
            amount = f" ({whole / _MIB:.0f} MiB)" if whole else ""
            self._shown.enter_context(step(f"downloading {self._wanted.label} from {self._wanted.host}{amount}"))
            self.begun = True
        begun = shown = time.monotonic()
        have = begin
        with self._partial.open("ab" if begin else "wb", buffering=0) as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                have += len(chunk)
                if whole is not None and have > whole:
                    self._refuse(f"has more than {whole} bytes")
                if (now := time.monotonic()) - shown >= _PROGRESS_SECONDS:
                    shown = now
                    _say(progress(self._wanted.label, have, whole, (have - begin) / max(now - begun, 1e-6)))
        if whole is not None and have < whole:
            raise _Again("the connection was cut")

    def _refuse(self, what: str) -> None:
        self._partial.unlink(missing_ok=True)
        expected = "" if self._wanted.size is None else f", {self._wanted.size} bytes are recorded"
        raise HostError(f"{self._wanted.url} {what}{expected}", remedy=_REMEDY)


def progress(label: str, have: int, whole: int | None, rate: float) -> str:
    """How far a download is; `have` and `whole` are in bytes, `rate` in bytes a second, MiB are 2^20 bytes."""
    speed = f"{rate / _MIB:.1f} MiB/s"
    if not whole:
        return f"{label}: {have / _MIB:.1f} MiB, {speed}"
    left = f", {(whole - have) / rate:.0f} s left" if rate else ""
    return f"{label}: {100 * have // whole} %, {have / _MIB:.1f} of {whole / _MIB:.1f} MiB, {speed}{left}"


def _verify(wanted: Wanted, partial: Path) -> None:
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, wanted.algorithm).hexdigest()
    if found != wanted.checksum:
        partial.unlink()
        expected = f"{wanted.algorithm} {wanted.checksum} is recorded"
        raise HostError(f"{wanted.url} is another file: {expected}, {found} came", remedy=_REMEDY)


def _extent(answer: httpx.Response) -> tuple[int, int | None]:
    """Where in the file the body begins, and how long the whole file is as far as the server says it; both in bytes."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status_code == httpx.codes.PARTIAL_CONTENT or found:
        if found is None:
            return -1, None
        return int(found["begin"] or 0), int(found["whole"]) if found["whole"] != "*" else None
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT_SECONDS:.0f} s"
    if isinstance(error, httpx.TimeoutException):
        return f"nothing came for {_SILENT_SECONDS:.0f} s"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "the connection was cut"
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _say(line: str) -> None:
    sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()
