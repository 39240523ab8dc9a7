"""Looks at the listeners on the loopback of a cluster's namespace; run inside it: `python -m
host.drivers.embedded.health
PKI_FOLDER [QUEUE]`, with the number of the queue that kube-network-policies reads where there is one.

Prints one JSON object: program -> "" where it is healthy, else what is wrong. Imports nothing of ours, so that it
starts at once.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_SECONDS = 4.0
_PLACES = {
    "etcd": (2379, "/health", "etcd-ca.crt"),
    "kube-controller-manager": (10257, "/healthz", "ca.crt"),
    "kube-scheduler": (10259, "/healthz", "ca.crt"),
    "kubelet": (10248, "/healthz", ""),
    "kube-proxy": (10256, "/healthz", ""),
}


def look(pki: Path, name: str) -> str:
    """What is wrong with one program, or the empty string."""
    port, path, authority = _PLACES[name]
    try:
        if authority:
            context = ssl.create_default_context(cafile=str(pki / authority))
            if name == "etcd":
                context.load_cert_chain(pki / "kube-apiserver-etcd.crt", pki / "kube-apiserver-etcd.key")
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(300).decode(errors="replace")
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return "" if answer.status == 200 else f"{answer.status} {text}"


def queue_problem(number: int, table: str) -> str:
    """What is wrong with a queue, or the empty string; `table` is the kernel's list: number and reader in each line."""
    if any(line.split()[:1] == [str(number)] for line in table.splitlines()):
        return ""
    return "it does not read its queue: new connections from and to pods are dropped"


if __name__ == "__main__":
    with ThreadPoolExecutor(len(_PLACES)) as pool:
        folder = Path(sys.argv[1])
        found = dict(zip(_PLACES, pool.map(lambda n: look(folder, n), _PLACES), strict=True))
    for number in sys.argv[2:]:
        queues = Path("/proc/self/net/netfilter/nfnetlink_queue")
        text = queues.read_text(encoding="utf-8") if queues.exists() else ""
        found["kube-network-policies"] = queue_problem(int(number), text)
    print(json.dumps(found))
