"""`lab trust`: how clients come to trust a stack's certificate; changes nothing itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cli.deployed import deployed
from cli.output import console, print_json
from host.gateway import gateway_files
from stacks.errors import LabError


def run(root: Path, stack: str, *, pem: bool, as_json: bool) -> None:
    """Prints the authority's certificate, or what to type on each system. Raises LabError (exit code 2) where the stack
    has none.
    """
    told = describe(root, stack)
    if as_json:
        print_json(told)
        return
    if pem:
        sys.stdout.write(told["pem"])
        return
    out = console()
    out.print(f"authority    {told['authority']}   (no secret)", markup=False, soft_wrap=True)
    out.print(f"SHA-256      {told['sha256']}", markup=False, soft_wrap=True)
    out.print(f"valid until  {told['validUntil']}", markup=False)
    out.print(f"certifies    {', '.join(told['hosts'])}", markup=False)
    out.print(
        "\nA client needs one of these. What is trusted for a whole system is trusted by all its programs: prefer the "
        "first two.",
        markup=False,
    )
    for title, commands in told["commands"].items():
        out.print(f"\n[bold]{title}[/]")
        out.print(commands, markup=False, soft_wrap=True)
    out.print(f"\nOn another machine, copy the file first: ./lab trust {stack} --pem > lab-{stack}.crt", markup=False)


def describe(root: Path, stack: str) -> dict[str, Any]:
    """The same for programs."""
    gateway = deployed(root, stack).plan.gateway
    if gateway is None or gateway.tls == "off":
        raise LabError(
            f"stack {stack} serves without TLS: there is no certificate to trust",
            remedy="with gateway: {kind: envoy} it has an authority of its own",
            exit_code=2,
        )
    path = gateway_files.authority(stack)
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise LabError(f"the authority of stack {stack} is not made yet", remedy=f"./lab up {stack}") from None
    sha256, until = gateway_files.fingerprint(text)
    return {
        "stack": stack,
        "authority": str(path),
        "sha256": sha256,
        "validUntil": until.isoformat(),
        "hosts": list(gateway.hosts),
        "commands": _commands(str(path), f"lab-{stack}"),
        "pem": text,
    }


def _commands(path: str, name: str) -> dict[str, str]:
    """What to type, by system, and how to take it back."""
    debian, fedora = f"/usr/local/share/ca-certificates/{name}.crt", f"/etc/pki/ca-trust/source/anchors/{name}.crt"
    keychain = "/Library/Keychains/System.keychain"
    return {
        "one command": f"curl --cacert {path} ...",
        "one shell (curl, Python, Node.js)": "\n".join(
            f"export {variable}={path}"
            for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        ),
        "Debian, Ubuntu, WSL": f"sudo cp {path} {debian} && sudo update-ca-certificates\n"
        f"undo: sudo rm {debian} && sudo update-ca-certificates --fresh",
        "Fedora, RHEL": f"sudo cp {path} {fedora} && sudo update-ca-trust\n"
        f"undo: sudo rm {fedora} && sudo update-ca-trust",
        "macOS": f"sudo security add-trusted-cert -d -r trustRoot -k {keychain} {name}.crt\n"
        f"undo: sudo security remove-trusted-cert -d {name}.crt",
        "Windows (PowerShell)": f"Import-Certificate -FilePath {name}.crt -CertStoreLocation Cert:\\CurrentUser\\Root\n"
        "undo: remove it under certmgr.msc, Trusted Root Certification Authorities",
        "Firefox": "Settings, Certificates, View Certificates, Authorities, Import: websites",
    }
