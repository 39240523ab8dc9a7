"""Tokens of an identity provider, which the gateway takes instead of keys."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field

from stacks.plan.base import Part


class OidcPlan(Part):
    """Whose tokens are taken, and where the keys are that prove them. Nothing of it is secret."""

    issuer: str
    audiences: tuple[str, ...]
    client_claim: str = Field(description="names the client, for limits and the log")
    jwks_uri: str | None = Field(default=None, exclude_if=lambda value: value is None, description="fetched and cached")
    jwks: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="the keys themselves, as JSON"
    )
    ca: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="the authority of jwksUri, in PEM"
    )

    @property
    def source(self) -> tuple[str, int] | None:
        """Host and port from which keys are fetched; None where they are in the plan."""
        if self.jwks_uri is None:
            return None
        url = urlsplit(self.jwks_uri)
        return str(url.hostname), url.port or 443
