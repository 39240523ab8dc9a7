"""Images of one static program each, for machines that reach no registry: built from Go modules, with the authorities
that the machine trusts and a user.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from host.artifacts import go_modules
from host.artifacts.go_modules import GoModule
from host.artifacts.images import single
from host.artifacts.images.oci import Image
from host.system.files import write_atomic
from host.system.progress import step
from stacks.errors import HostError

_GO: Final = Path(__file__).resolve().parent.parent / "go"
_BUILDER: Final = 1  # goes up when this module makes another image of the same program
_AUTHORITIES: Final = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
_CHART: Final = ("github.com/envoyproxy/gateway", "charts/gateway-crds-helm/templates")
_DEFINITIONS: Final = (
    "backends", "backendtrafficpolicies", "clienttrafficpolicies", "envoyextensionpolicies", "envoypatchpolicies",
    "envoyproxies", "httproutefilters", "securitypolicies",
)  # fmt: skip


@dataclass(frozen=True)
class StaticImage:
    """One image; the module's one program is what it holds. `needs_gib` is what its build takes at its worst."""

    repository: str
    module: GoModule
    needs_gib: float

    @property
    def program(self) -> str:
        """Its name, in the image too."""
        return next(iter(self.module.programs))

    @property
    def digest(self) -> str:
        """Of all that the image is made of, the same on every machine."""
        return hashlib.sha256(f"builder {_BUILDER}\n{self.module.digest('')}\n".encode()).hexdigest()

    @property
    def reference(self) -> str:
        """What a pod's `image` says. Reads committed files only."""
        return f"{self.repository}:{self.module.version.removeprefix('v')}-{self.digest[:12]}"


def _chart(file: str) -> tuple[str, str]:
    return (_CHART[0], f"{_CHART[1]}/{file}")


ENVOY_GATEWAY: Final = StaticImage(
    "lab.local/envoy-gateway",
    GoModule(
        _GO / "envoy-gateway",
        {"envoy-gateway": "github.com/envoyproxy/gateway/cmd/envoy-gateway"},
        "v1.9.1",
        "-s -w -X github.com/envoyproxy/gateway/internal/cmd/version.envoyGatewayVersion=v1.9.1",
        carries={
            "gateway-api.yaml": _chart("experimental-gatewayapi-crds.yaml"),
            **{f"{kind}.yaml": _chart(f"generated/gateway.envoyproxy.io_{kind}.yaml") for kind in _DEFINITIONS},
        },
    ),
    needs_gib=8.0,
)
"""Controller, certificates and shutdown manager; the definitions that its chart installs lie beside the program."""

COREDNS: Final = StaticImage("lab.local/coredns", GoModule(_GO / "coredns", {"coredns": "."}, "v1.15.0"), needs_gib=4.0)
"""The cluster's DNS, with the plugins that one without a way out needs."""

ALL: Final[Mapping[str, StaticImage]] = {image.repository: image for image in (ENVOY_GATEWAY, COREDNS)}


def ensure(asked: str, cache: Path) -> Image:
    """The image, made now if this machine lacks it; a killed run goes on. Raises HostError."""
    wanted = _of(asked)
    image = _image(wanted, cache)

    def make() -> None:
        program = go_modules.build(wanted.module, cache) / wanted.program
        with step(f"image: {wanted.program} {wanted.module.version}"):
            _build(image, wanted, program)

    return single.ensure(image, asked, make)


def still_needed_gib(asked: str, cache: Path) -> float:
    """GiB of disk that `ensure` takes at its worst from here on."""
    wanted = _of(asked)
    if _image(wanted, cache).is_whole():
        return 0.0
    return 0.3 if go_modules.built(wanted.module, cache) else wanted.needs_gib


def _of(asked: str) -> StaticImage:
    wanted = ALL[asked.partition(":")[0]]
    single.require(asked, wanted.reference)
    return wanted


def _image(wanted: StaticImage, cache: Path) -> Image:
    return single.place(cache, wanted.program, wanted.digest)


def _build(final: Image, wanted: StaticImage, program: Path) -> None:
    authorities = next((path for path in _AUTHORITIES if path.exists()), None)
    if authorities is None:
        raise HostError("this machine has no list of authorities", remedy="install the package ca-certificates")

    def fill(work: Image) -> None:
        for name in ("usr/local/bin", "etc/ssl/certs", "tmp"):
            (work.rootfs / name).mkdir(parents=True, mode=0o755)
        place = work.rootfs / "usr/local/bin" / wanted.program
        shutil.copyfile(program, place)
        place.chmod(0o755)
        shutil.copyfile(authorities, work.rootfs / "etc/ssl/certs/ca-certificates.crt")
        write_atomic(work.rootfs / "etc/passwd", f"lab:x:{single.USER}:{single.USER}::/:/sbin/nologin\n", 0o644)

    config = {
        "User": f"{single.USER}:{single.USER}",
        "WorkingDir": "/",
        "Entrypoint": [f"/usr/local/bin/{wanted.program}"],
        "Env": ["PATH=/usr/local/bin"],
    }
    single.assemble(
        final, fill, reference=wanted.reference, config=config, digest=wanted.digest, settle='chmod 1777 "$1/tmp";'
    )


def definitions(cache: Path) -> list[str]:
    """The texts of Envoy Gateway's and the Gateway API's definitions, without what only Helm reads. Raises
    HostError.
    """
    folder = go_modules.build(ENVOY_GATEWAY.module, cache)
    texts = [(folder / name).read_text(encoding="utf-8") for name in ENVOY_GATEWAY.module.carries]
    return ["".join(line for line in text.splitlines(keepends=True) if not line.startswith("{{")) for text in texts]
