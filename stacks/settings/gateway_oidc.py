"""Tokens of an identity provider (OpenID Connect) instead of keys: what a stack file may say of them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, model_validator

from stacks.settings.base import Intent, text_of
from stacks.settings.problems import Fault

_URL_PATH: Final = r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
_HOST: Final = r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_CURVES: Final = ("P-256", "P-384", "P-521")
_NEEDS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
"""Members of a JSON Web Key that hold a private or a shared key: RFC 7518, sections 6.2.2, 6.3.2 and 6.4."""

Url = Annotated[str, text_of(rf"^https?://{_HOST}{_URL_PATH}$", "URL", max_length=500)]
SafeUrl = Annotated[str, text_of(rf"^https://{_HOST}{_URL_PATH}$", "URL that begins with https://", max_length=500)]
Claim = Annotated[
    str,
    text_of(
        r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", "name of a claim, such as sub or preferred_username", max_length=100
    ),
]
Certificates = Annotated[
    str,
    text_of(
        r"^\s*(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$",
        "certificate in PEM, from -----BEGIN CERTIFICATE----- on",
        max_length=100_000,
    ),
]
Member = Annotated[str, text_of(r"^[^\x00-\x1f]*$", "text", max_length=4000)]


class WebKeySet(Intent):
    """The public keys of an identity provider, as it publishes them (RFC 7517)."""

    keys: tuple[dict[str, Member | tuple[Member, ...]], ...] = Field(
        min_length=1,
        max_length=16,
        examples=[[{"kty": "RSA", "kid": "1", "alg": "RS256", "n": "0vx7...", "e": "AQAB"}]],
        description="As the provider's JWKS has them.",
    )

    @model_validator(mode="after")
    def _are_public(self) -> WebKeySet:
        found = []
        for index, key in enumerate(self.keys):
            path, kind = f".keys[{index}]", str(key.get("kty"))
            if private := sorted(set(_PRIVATE) & set(key)):
                message = f"holds {', '.join(private)}, which is no public key's"
                found.append((path, message, "paste what the provider publishes at its jwks_uri"))
            elif kind not in _NEEDS:
                found.append((f"{path}.kty", "is neither RSA nor EC", "write keys of RS256 or ES256"))
            elif missing := [name for name in _NEEDS[kind] if not isinstance(key.get(name), str)]:
                found.append((path, f"lacks {', '.join(missing)}", "paste the whole key"))
            elif kind == "EC" and key["crv"] not in _CURVES:
                found.append((f"{path}.crv", f"is none of {', '.join(_CURVES)}", "write a key of ES256"))
        if not found and all(key.get("use") == "enc" for key in self.keys):
            found.append((".keys", "has keys for encryption only", "paste those that sign tokens too"))
        if found:
            raise Fault(*found)
        return self


class Oidc(Intent):
    """Whose tokens are taken instead of a key, and how they are checked."""

    issuer: Url = Field(
        examples=["https://idp.example/realms/lab"],
        description="`iss` of the tokens, letter by letter; Keycloak: https://HOST/realms/REALM, Entra: "
        "https://login.microsoftonline.com/TENANT/v2.0.",
    )
    audiences: tuple[Member, ...] = Field(
        min_length=1, max_length=16, examples=[["lab"]], description="A token must have one of them in its `aud`."
    )
    jwks_uri: SafeUrl | None = Field(
        default=None,
        examples=["https://idp.example/realms/lab/protocol/openid-connect/certs"],
        description="Where the provider publishes its keys: `jwks_uri` in what ISSUER/.well-known/openid-configuration "
        "answers.",
    )
    jwks: WebKeySet | None = Field(
        default=None,
        examples=[{"keys": [{"kty": "RSA", "kid": "1", "alg": "RS256", "n": "0vx7...", "e": "AQAB"}]}],
        description="The keys themselves instead, where the gateway cannot reach the provider; a new key of the "
        "provider has to be written here.",
    )
    ca: Certificates | None = Field(
        default=None,
        examples=["-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"],
        description="The authority of jwksUri's certificate, in PEM; default those that the image trusts.",
    )
    client_claim: Claim = Field(
        default="sub",
        examples=["preferred_username"],
        description="The claim that names the client, for limits and the log; a.b is b within a.",
    )

    @model_validator(mode="after")
    def _has_keys_from_one_place(self) -> Oidc:
        found = []
        if (self.jwks_uri is None) == (self.jwks is None):
            message = "has neither jwksUri nor jwks" if self.jwks is None else "has both jwksUri and jwks"
            found.append(("", message, "write jwksUri: as ISSUER/.well-known/openid-configuration names it"))
        if self.ca and self.jwks_uri is None:
            found.append((".ca", "is for jwksUri, which is not there", "remove it"))
        if found:
            raise Fault(*found)
        return self
