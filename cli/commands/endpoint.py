"""`lab endpoint`: how to call a stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from host.gateway import gateway_files
from probes.task_hops import PATHS
from stacks import names
from stacks.plan import ModelPlan, Plan


def run(root: Path, stack: str, *, as_json: bool) -> None:
    """Prints URL, keys and client settings; looks only."""
    target = deployed(root, stack)
    told = describe(target)
    if as_json:
        print_json(told)
        return
    out = console()
    for command in told["forward"]:
        out.print(f"first       {command}", markup=False, soft_wrap=True)
    for url in told["urls"]:
        out.print(f"URL         {url}", markup=False)
    out.print(f"models      {', '.join(told['models'])}", markup=False)
    out.print(f"key         {told['key']}", markup=False)
    if told["authority"]:
        out.print(f"authority   {told['authority']}   (clients trust it; it is no secret)", markup=False)
    for title, text in told["clients"].items():
        out.print(f"\n[bold]{title}[/]")
        out.print(text, markup=False, soft_wrap=True)


def describe(target: Deployed) -> dict[str, Any]:
    """The same for programs. Where each model has a port of its own, the clients' texts are of the first one."""
    plan, gateway = target.plan, target.plan.gateway
    models = [name for model in plan.models for name in (model.name, *(adapter.name for adapter in model.adapters))]
    urls = list(dict.fromkeys(model.endpoint for model in plan.models))
    authority = str(gateway_files.authority(target.stack)) if gateway and gateway.tls == "ownCa" else None
    if gateway:
        folder = gateway_files.keys(target.stack).folder
        key = f"./lab keys {target.stack} add NAME prints one; the keys lie in {folder} (0600)"
        if gateway.oidc:
            key += f"; an access token of {gateway.oidc.issuer} does as well"
    else:
        key = "the stack's secret apiKey" if plan.auth == "apiKey" else "none is asked for"
    return {
        "stack": target.stack,
        "forward": forward_commands(plan),
        "urls": urls,
        "models": models,
        "key": key,
        "authority": authority,
        "clients": clients(urls[0], plan.models[0], authority, has_key=plan.auth != "none"),
    }


def forward_commands(plan: Plan) -> list[str]:
    """What opens each model's port on this machine, where the cluster publishes nothing; it runs until it is ended."""
    if not plan.cluster.foreign:
        return []
    target = plan.kubernetes
    return [
        f"kubectl --kubeconfig {target.kubeconfig} -n {target.namespace} port-forward service/{m.name} "
        f"{m.port}:{names.HTTP_PORT}"
        for m in plan.models
    ]


def clients(url: str, served: ModelPlan, authority: str | None, *, has_key: bool) -> dict[str, str]:
    """Texts that call the model for what it is for, by the name of the client."""
    model = served.name
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
    trust = f" --cacert {authority}" if authority else ""
    key = ' -H "Authorization: Bearer $LAB_KEY"' if has_key else ""
    if served.task != "chat":
        return {"curl": f"curl -s{trust} {url}/{PATHS[served.task]}{key} {_sent(served)}"}
    variable = 'os.environ["LAB_KEY"]' if has_key else '"none"'
    client = f', http_client=httpx.Client(verify=ssl.create_default_context(cafile="{authority}"))' if authority else ""
    imports = "import os, ssl\nimport httpx\n" if authority else "import os\n"
    python = (
        f"{imports}from openai import OpenAI\n"
        f'client = OpenAI(base_url="{url}", api_key={variable}{client})\n'
        f'answer = client.chat.completions.create(model="{model}", max_tokens=32, '
        'messages=[{"role": "user", "content": "Hello"}])\n'
        "print(answer.choices[0].message.content)"
    )
    web = f"OPENAI_API_BASE_URL={url}\nOPENAI_API_KEY={'$LAB_KEY' if has_key else 'none'}"
    if authority:
        web += f"\nSSL_CERT_FILE={authority}"
    return {
        "curl": f"curl -s{trust} {url}/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'",
        "OpenAI's Python client": python,
        "Open WebUI (environment)": web,
    }


def _sent(served: ModelPlan) -> str:
    """What curl sends for a task other than chat."""
    model = served.name
    if served.task == "transcription":
        return f"-F model={model} -F file=@speech.wav"
    bodies = {
        "completion": {"model": model, "prompt": "Once", "max_tokens": 32},
        "embedding": {"model": model, "input": ["a text", "another"]},
        "rerank": {"model": model, "query": "a question", "documents": ["a text", "another"]},
    }
    return f"-H 'Content-Type: application/json' -d '{json.dumps(bodies[served.task])}'"
