"""What Envoy Gateway's own translator made of a gateway's objects, kept in tests/data/gateway, as a configuration that
an Envoy runs by itself. `python -m tests.support.translated` makes it again; the translator is built first, which takes
ten minutes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from components.gateway import gateway_api_manifests
from host.artifacts import go_modules, pulumi_modules
from host.artifacts.go_modules import GoModule
from host.artifacts.images import static
from stacks import names
from stacks.plan import EnvoyGatewayPlan, PodSizePlan
from stacks.plan.gateway import PATHS, RERANK_PATHS, AffinityPlan, AliasPlan, AliasTargetPlan, BackendPlan, GatewayPlan

FILE: Final = Path(__file__).parents[1] / "data/gateway/translated.yaml"
SPACE: Final = "local-ai-lab-front"
_CLIENT: Final = {"client": "a-client", "key": "a-key"}
_TYPE: Final = "type.googleapis.com/envoy"
_SIZE: Final = PodSizePlan(part="envoy", image="envoy", cpu_millis=100, memory_request_mib=64, memory_limit_mib=256)
OWN: Final = EnvoyGatewayPlan(
    version="1.9.1", chart=None, chart_version="v1.9.1", controller=_SIZE, shutdown_manager=_SIZE, envoy=_SIZE,
    paths=PATHS, rerank_paths=RERANK_PATHS,
)  # fmt: skip


TRANSLATOR: Final = GoModule(
    static.ENVOY_GATEWAY.module.folder,
    {"egctl": "github.com/envoyproxy/gateway/cmd/egctl"},
    static.ENVOY_GATEWAY.module.version,
    name="egctl",
)


def plan(**changes: Any) -> GatewayPlan:
    """The gateway that was translated: two models, an alias of both, sessions by a header."""
    values: dict[str, Any] = {
        "kind": "envoy-gateway", "image": "envoy", "address": "127.0.0.1", "port": 30095, "tls": "ownCa",
        "hosts": ("127.0.0.1", "localhost"), "request_buffer_bytes": 4 << 20, "response_buffer_bytes": 64 << 10,
        "header_kib": 32, "connections": 200, "requests_per_minute": 100_000, "total_requests_per_minute": 400_000,
        "body_seconds": 2, "idle_seconds": 60, "memory_mib": 512, "envoy_gateway": OWN,
        "aliases": (
            AliasPlan(
                name="chat",
                targets=(AliasTargetPlan(model="a", weight=90), AliasTargetPlan(model="b", weight=10)),
            ),
        ),
        "affinity": AffinityPlan(by="header", name="x-session-id"),
        "backends": tuple(
            BackendPlan(model=name, host=name, port=names.HTTP_PORT, health_path="/health") for name in ("a", "b")
        ),
    }  # fmt: skip
    return GatewayPlan(**(values | changes))


def objects() -> list[dict[str, Any]]:
    """What the translator reads: our objects, and what a cluster has beside them. The certificate is left out: its
    digest would change each time.
    """
    made = [manifest for _, manifest in gateway_api_manifests.objects(plan(), OWN, SPACE)]
    made.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    made.append(_secret(names.GATEWAY_CLIENTS_SECRET, {_CLIENT["client"]: _CLIENT["key"]}))
    made.append(_secret(names.GATEWAY_ENGINE_SECRET, {"credential": "Bearer of-the-engines"}))
    for number, backend in enumerate(plan().backends, 1):
        port = {"name": "http", "port": names.HTTP_PORT, "protocol": "TCP"}
        spec = {"type": "ClusterIP", "clusterIP": f"10.0.0.{number}", "ports": [{**port, "targetPort": "http"}]}
        metadata = {"name": backend.model, "namespace": SPACE}
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return made


def made_of() -> str:
    """A digest of all that the translator reads."""
    return hashlib.sha256(json.dumps(objects(), sort_keys=True).encode()).hexdigest()


def recorded() -> dict[str, Any]:
    """`madeOf`, and Envoy's resources: one `listener`, one `routes`, `clusters` and `endpoints` by name."""
    found: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(FILE.read_text(encoding="utf-8"))))
    return found


def bootstrap(
    listen: int, keys: Mapping[str, str], ports: Mapping[str, int], engine_key: Path, certificate: Path, limit: int
) -> dict[str, Any]:
    """What Envoy is started with: `ports` are the engines' by model, the paths files that Envoy reads secrets of,
    `limit` the requests of a key in a minute.
    """
    found = recorded()
    listener, routes = found["listener"], found["routes"]
    listener["address"]["socketAddress"] = {"address": "127.0.0.1", "portValue": listen}
    for thing in _walk([listener, routes]):
        if "credentials" in thing:
            thing["credentials"] = [{"client": client, "key": key} for client, key in keys.items()]
        if thing.get("maxTokens") == plan().requests_per_minute:
            thing |= {"maxTokens": limit, "tokensPerFill": limit}
        if "sdsConfig" in thing:
            engine = "credential_injector" in thing["name"]
            thing["name"] = "engine_key" if engine else "certificate"
            thing["sdsConfig"] = _file(engine_key if engine else certificate)
        if "rds" in thing:
            thing["routeConfig"] = routes
            thing.pop("rds")
    clusters = []
    for name, cluster in found["clusters"].items():
        endpoints = found["endpoints"][name]["endpoints"]
        for group in endpoints:
            address = group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]
            model = plan().backends[int(address["address"].rpartition(".")[2]) - 1].model
            address |= {"address": "127.0.0.1", "portValue": ports[model]}
        kept = {key: value for key, value in cluster.items() if key != "edsClusterConfig"}
        clusters.append({**kept, "type": "STATIC", "loadAssignment": {"clusterName": name, "endpoints": endpoints}})
    node = {"id": "gateway", "cluster": "gateway"}
    return {"node": node, "staticResources": {"listeners": [listener], "clusters": clusters}}


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from _walk(inner)


def _file(path: Path) -> dict[str, Any]:
    watched = {"path": str(path), "watchedDirectory": {"path": str(path.parent)}}
    return {"pathConfigSource": watched, "resourceApiVersion": "V3"}


def _secret(name: str, texts: Mapping[str, str], kind: str = "Opaque") -> dict[str, Any]:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": data}


def _translated(egctl: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        pair = [Path(folder) / name for name in ("key", "certificate")]
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subject = ["-keyout", pair[0], "-out", pair[1], "-subj", "/CN=localhost", "-days", "30"]
        subprocess.run([*words, *subject], check=True, capture_output=True)
        tls = {"tls.key": pair[0].read_text(), "tls.crt": pair[1].read_text()}
        text = yaml.safe_dump_all([*objects(), _secret(names.GATEWAY_TLS_SECRET, tls, "kubernetes.io/tls")])
        (Path(folder) / "objects.yaml").write_text(text)
        words = [str(egctl), "experimental", "translate", "--from", "gateway-api", "--to", "xds", "-t", "all"]
        words += ["-o", "json", "-f", f"{folder}/objects.yaml"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    (made,) = json.loads(done.stdout)["xds"].values()
    return {config["@type"].rpartition(".")[2]: config for config in made["configs"]}


def _resources(configs: Mapping[str, Any]) -> dict[str, Any]:
    listeners = [row["activeState"]["listener"] for row in configs["ListenersConfigDump"]["dynamicListeners"]]
    (listener,) = [listener for listener in listeners if listener["name"].startswith(SPACE)]
    (routes,) = [row["routeConfig"] for row in configs["RoutesConfigDump"]["dynamicRouteConfigs"]]
    clusters = [row["cluster"] for row in configs["ClustersConfigDump"]["dynamicActiveClusters"]]
    endpoints = [row["endpointConfig"] for row in configs["EndpointsConfigDump"]["dynamicEndpointConfigs"]]
    found = {
        "listener": listener,
        "routes": routes,
        "clusters": {cluster["name"]: cluster for cluster in clusters},
        "endpoints": {row["clusterName"]: row for row in endpoints},
    }
    for thing in _walk(found):
        thing.pop("metadata", None)  # says which object each part is of, and nothing that Envoy reads
    for resource in (listener, routes, *clusters, *found["endpoints"].values()):
        resource.pop("@type", None)  # a dump says it of whole resources; a configuration knows
    return found


def _shared(value: Any, seen: dict[str, Any]) -> Any:
    """The same with one object for all equal ones, which YAML writes once."""
    if isinstance(value, dict):
        value = {key: _shared(inner, seen) for key, inner in value.items()}
    elif isinstance(value, list):
        value = [_shared(inner, seen) for inner in value]
    else:
        return value
    return seen.setdefault(json.dumps(value, sort_keys=True), value)


def main() -> None:
    """Writes the file."""
    document = {
        "madeOf": made_of(),
        **_resources(_translated(go_modules.build(TRANSLATOR, pulumi_modules.default_cache()) / "egctl")),
    }
    FILE.write_text(yaml.safe_dump(_shared(document, {}), width=118), encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {len(document['routes']['virtualHosts'][0]['routes'])} routes\n")


if __name__ == "__main__":
    main()
