"""One end of a connection, in a network namespace of its own: `python proof_end.py hold PORT...` says its process id,
accepts connections, and ends with the reader of its output; `python proof_end.py ask ADDRESS PORT...` says as JSON
which ports let it in. Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

_SECONDS = 1.0  # one lost packet is sent again after a second: what answers at all answers within milliseconds


def hold(ports: list[int]) -> None:
    """Accepts on the ports and closes at once, until nobody reads our output any more."""
    listeners = [socket.create_server(("0.0.0.0", port)) for port in ports]  # noqa: S104 - a namespace of our own
    waiting = select.poll()
    waiting.register(sys.stdout.fileno(), 0)  # errors alone: the pipe has lost its reader
    for listener in listeners:
        waiting.register(listener.fileno(), select.POLLIN)
    print(os.getpid(), flush=True)
    while True:
        for descriptor, _ in waiting.poll():
            found = next((each for each in listeners if each.fileno() == descriptor), None)
            if found is None:
                return
            with contextlib.suppress(OSError):
                found.accept()[0].close()


def ask(address: str, port: int) -> bool:
    """Whether a connection can be made."""
    try:
        socket.create_connection((address, port), timeout=_SECONDS).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2 if sys.argv[1] == "hold" else 3 :]]
    if sys.argv[1] == "hold":
        hold(numbers)
    else:
        with ThreadPoolExecutor(len(numbers)) as pool:
            print(json.dumps(dict(zip(numbers, pool.map(lambda n: ask(sys.argv[2], n), numbers), strict=True))))
