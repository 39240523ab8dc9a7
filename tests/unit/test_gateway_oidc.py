"""Tokens of an identity provider in stack files and plans, and what is opened for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.docker.compose_manifests import compose_file
from components.gateway.envoy_manifests import bootstrap
from components.rendered import Name, objects
from stacks.errors import PlanError, SettingsError
from stacks.plan import DockerPlan, Plan
from tests.support.stacks import IN_DOCKER, STACKS, configuration, plan

STACK = IN_DOCKER[0]
(ON_MINIKUBE, *_) = [s for s in STACKS if configuration(s)["cluster"]["driver"] == "minikube"]
URI = "https://idp.example/realms/lab/protocol/openid-connect/certs"
KEY = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": "0vx7", "e": "AQAB", "x5c": ["MIIC"]}
TOLD: dict[str, Any] = {"issuer": "https://idp.example/realms/lab", "audiences": ["lab"], "jwksUri": URI}
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def with_tokens(stack: str = STACK, **changes: Any) -> Plan:
    told = {name: value for name, value in (TOLD | changes).items() if value is not None}
    return plan(stack, lambda config: config.update(gateway={"kind": "envoy", "oidc": told}))


def test_a_plan_without_tokens_says_nothing_of_them() -> None:
    made = plan(STACK, lambda config: config.update(gateway={"kind": "envoy"}))
    assert made.gateway is not None
    assert "oidc" not in made.gateway.model_dump(by_alias=True)
    assert "oidc" not in bootstrap(made.gateway)


def test_the_plan_has_what_the_stack_file_says() -> None:
    made = with_tokens().gateway
    assert made is not None
    assert made.model_dump(by_alias=True)["oidc"] == {
        "issuer": "https://idp.example/realms/lab",
        "audiences": ("lab",),
        "clientClaim": "sub",
        "jwksUri": URI,
    }
    assert made.oidc is not None
    assert made.oidc.source == ("idp.example", 443)


def test_of_stated_keys_envoy_gets_what_it_reads_and_those_that_sign() -> None:
    encrypts = {**KEY, "kid": "2", "use": "enc"}
    made = with_tokens(jwksUri=None, jwks={"keys": [KEY, encrypts]}).gateway
    assert made is not None
    assert made.oidc is not None
    assert json.loads(made.oidc.jwks or "") == {
        "keys": [{"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": "0vx7", "e": "AQAB"}]
    }
    clusters = json.loads(bootstrap(made))["static_resources"]["clusters"]
    assert [cluster["name"] for cluster in clusters] == ["model_llama-3-2-1b"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jwksUri": None}, "neither jwksUri nor jwks"),
        ({"jwks": {"keys": [KEY]}}, "both jwksUri and jwks"),
        ({"jwksUri": "http://idp.example/certs"}, "jwksUri"),
        ({"jwksUri": "https://user:word@idp.example/certs"}, "jwksUri"),
        ({"issuer": "idp.example"}, "issuer"),
        ({"audiences": []}, "audiences"),
        ({"clientClaim": "a b"}, "clientClaim"),
        ({"ca": "MIIB"}, "ca"),
        ({"jwksUri": None, "jwks": {"keys": [KEY]}, "ca": CA}, "which is not there"),
        ({"jwksUri": None, "jwks": {"keys": []}}, "keys"),
        ({"jwksUri": None, "jwks": {"keys": [{**KEY, "d": "x"}]}}, "no public key's"),
        ({"jwksUri": None, "jwks": {"keys": [{"kty": "oct", "k": "x"}]}}, "no public key's"),
        ({"jwksUri": None, "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "x"}]}}, "neither RSA nor EC"),
        ({"jwksUri": None, "jwks": {"keys": [{"kty": "RSA", "e": "AQAB"}]}}, "lacks n"),
        ({"jwksUri": None, "jwks": {"keys": [{"kty": "EC", "crv": "secp256k1", "x": "x", "y": "y"}]}}, "none of P-256"),
        ({"jwksUri": None, "jwks": {"keys": [{**KEY, "use": "enc"}]}}, "encryption only"),
        ({"jwskUri": URI}, "jwskUri"),
    ],
)
def test_what_would_prove_nothing_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        with_tokens(**changes)


def test_the_embedded_cluster_takes_stated_keys_only_and_says_so() -> None:
    with pytest.raises(PlanError, match=r"Write gateway\.oidc\.jwks:"):
        with_tokens("dev")
    assert with_tokens("dev", jwksUri=None, jwks={"keys": [KEY]}).gateway is not None


@pytest.mark.parametrize(
    ("uri", "block", "port"),
    [
        (URI, {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}, 443),
        ("https://192.168.1.5:8443/certs", {"cidr": "192.168.1.5/32"}, 8443),
    ],
)
def test_a_cluster_lets_the_gateway_out_to_the_provider_and_nowhere_else(
    uri: str, block: dict[str, Any], port: int
) -> None:
    def rules(made: Plan) -> list[Any]:
        return list(objects(made)[Name("NetworkPolicy", "gateway-network")]["spec"]["egress"])

    usual = rules(plan(ON_MINIKUBE, lambda config: config.update(gateway={"kind": "envoy"})))
    stated = rules(with_tokens(ON_MINIKUBE, jwksUri=None, jwks={"keys": [KEY]}))
    assert stated == usual
    wanted = {"to": [{"ipBlock": block}], "ports": [{"protocol": "TCP", "port": port}]}
    assert rules(with_tokens(ON_MINIKUBE, jwksUri=uri)) == [*usual, wanted]


def test_in_docker_only_the_gateway_gets_answers_from_outside_and_only_to_fetch_keys() -> None:
    def answered(made: Plan) -> set[str]:
        assert isinstance(made.cluster, DockerPlan)
        document = compose_file(made, made.cluster)
        key = "com.docker.network.bridge.enable_ip_masquerade"
        found = {name for name, network in document["networks"].items() if network["driver_opts"][key] == "true"}
        return {name for name, one in document["services"].items() if found & set(one["networks"])}

    assert answered(with_tokens()) == {"gateway"}
    assert answered(with_tokens(jwksUri=None, jwks={"keys": [KEY]})) == set()
    assert answered(plan(STACK, lambda config: config.update(gateway={"kind": "envoy"}))) == set()


def test_the_provider_is_known_by_its_name_and_authority() -> None:
    for uri, ca, authority, kind, sni in (
        (URI, None, {"filename": "/etc/ssl/certs/ca-certificates.crt"}, "DNS", "idp.example"),
        ("https://10.0.0.5/certs", CA, {"inline_string": CA}, "IP_ADDRESS", None),
    ):
        made = with_tokens(jwksUri=uri, ca=ca).gateway
        assert made is not None
        *_, cluster = json.loads(bootstrap(made))["static_resources"]["clusters"]
        tls = cluster["transport_socket"]["typed_config"]
        validation = tls["common_tls_context"]["validation_context"]
        host = uri.split("/")[2]
        assert validation["trusted_ca"] == authority
        assert validation["match_typed_subject_alt_names"] == [{"san_type": kind, "matcher": {"exact": host}}]
        assert tls.get("sni") == sni
