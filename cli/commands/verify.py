"""`lab verify`: the security probes against a stack that runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cli.commands.keys import publish
from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from host.gateway import gateway_files
from host.system import files
from probes.docker_api import DockerApi
from probes.kubernetes_api import KubernetesApi
from probes.verify import suite
from probes.verify.target import Target
from stacks import names
from stacks.errors import LabError
from stacks.plan import GatewayPlan, KubernetesPlan

_BYTES_EACH_TOKEN = 6  # what the plan's limit is made from
_LOG_LINES = 2000
_SPARE, _GONE, _NARROW = "lab-verify-spare", "lab-verify-gone", "lab-verify-narrow"


def run(root: Path, stack: str, *, as_json: bool, junit: Path | None) -> None:
    """Prints every probe's outcome; exits with 1 where one found something. Makes keys of its own and revokes them."""
    target = deployed(root, stack)
    target.gateway_access()
    gateway = target.plan.gateway
    if gateway is None:
        raise LabError(f"stack {stack} has no gateway")
    with target.alone(), _asked(target, gateway) as asked:
        outcomes = suite.run(asked)
    if junit:
        files.write_atomic(junit, suite.as_junit(stack, outcomes))
    found = [outcome for outcome in outcomes if outcome.finding]
    if as_json:
        print_json(suite.as_json(stack, outcomes))
    else:
        out = console()
        for outcome in outcomes:
            mark, style = ("✗", "red") if outcome.finding else ("✓", "")
            out.print(f"{mark} {outcome.name:26} {outcome.finding or outcome.what}", markup=False, style=style)
        out.print(f"\n{len(outcomes)} probes, {len(found)} finding{'s' * (len(found) != 1)}", markup=False)
        if line := target.network_policies:
            out.print(f"no probe is a pod; {line}", markup=False)
    sys.exit(1 if found else 0)


@contextlib.contextmanager
def _asked(target: Deployed, plan: GatewayPlan) -> Iterator[Target]:
    """The gateway with keys that may be used up; they are gone afterwards."""
    keys, log = gateway_files.keys(target.stack), _log(target)
    for name in {_SPARE, _GONE, _NARROW} & set(keys.names()):  # of a run that was killed
        keys.revoke(name)
    models = tuple(sorted(plan.models, key=lambda name: plan.models[name].task != "chat"))
    spare, gone = keys.add(_SPARE), keys.add(_GONE)
    narrow = keys.add(_NARROW, models[:1]) if plan.kind == "envoy" and keys.may_be_narrow else None
    try:
        keys.revoke(_GONE)
        publish(target)
        asked = Target(
            host=plan.hosts[0],
            port=plan.port,
            authority=gateway_files.authority(target.stack) if plan.tls == "ownCa" else None,
            key=keys.of(names.OWN_CLIENT),
            spare_key=spare,
            revoked_key=gone,
            narrow_key=narrow,
            models=models,
            tasks={name: backend.task for name, backend in plan.models.items()},
            longest_prompt=_BYTES_EACH_TOKEN * max(model.engine.max_model_len for model in target.plan.models),
            request_buffer=plan.request_buffer_bytes,
            header_bytes=plan.header_kib * 1024,
            requests_per_minute=plan.requests_per_minute,
            body_seconds=plan.body_seconds,
            log=log,
            private_files=tuple(path for path in keys.folder.iterdir() if path.is_file()),
            aliases={alias.name: tuple(target.model for target in alias.targets) for alias in plan.aliases},
            session_cookie=plan.affinity.name if plan.affinity and plan.affinity.by == "cookie" else None,
            **({"issuer": plan.oidc.issuer, "audience": plan.oidc.audiences[0]} if plan.oidc else {}),
            engine_host=target.plan.cluster.address,
            closed_ports=tuple(model.port for model in target.plan.models),
        )
        for key in (spare, narrow):
            if key:
                asked.wait_for(key)
        yield asked
    finally:
        keys.revoke(_SPARE)
        if narrow:
            keys.revoke(_NARROW)
        publish(target)


def _log(target: Deployed) -> Callable[[], str]:
    """What the gateway has logged, by Docker or by the cluster."""
    cluster = target.plan.cluster
    if not isinstance(cluster, KubernetesPlan):
        api, container = DockerApi.connect(), names.container(cluster.name, names.GATEWAY)
        return lambda: api.log(container, tail=_LOG_LINES)
    server = KubernetesApi.from_kubeconfig(cluster.kubeconfig, stack=target.stack)
    pods, labels = cluster.namespace, names.gateway_selector()
    of: dict[str, str] = {}
    if target.plan.gateway and target.plan.gateway.envoy_gateway:
        pods, labels = names.ENVOY_GATEWAY_NAMESPACE, names.gateway_proxy_selector(cluster.namespace)
        of = {"container": "envoy"}  # the other one is the shutdown manager
    selector = ",".join(f"{key}={value}" for key, value in labels.items())

    def read() -> str:
        path = f"/api/v1/namespaces/{pods}/pods"
        found = server.items(path, labelSelector=selector)
        tail = {"tailLines": str(_LOG_LINES), **of}
        return "".join(server.get(f"{path}/{pod['metadata']['name']}/log", **tail).text for pod in found)

    return read
