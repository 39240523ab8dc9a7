"""The services that the SDK talks to, as objects in its own process: ResourceMonitor and Engine of Pulumi's wire protocol."""

from __future__ import annotations

import threading
from typing import Any

from pulumi.runtime.proto import engine_pb2, resource_pb2

from engine import urns
from engine.errors import EngineError, UnsupportedError
from engine.goals import read_goal
from engine.model import Diagnostic, Severity
from engine.planner import Planner
from engine.wire import blind, encode, from_struct

# What is missing here the SDK itself refuses: transforms, hooks, replaceWith, parameterized packages, state migrations.
_FEATURES = {
    "secrets": resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    "aliasSpecs": resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    "deletedWith": resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
}
_SEVERITIES: dict[int, Severity] = {engine_pb2.INFO: "info", engine_pb2.WARNING: "warning", engine_pb2.ERROR: "error"}


class Monitor:
    """Answers the SDK's calls, which come from several threads at once; method names are the protocol's."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._lock = threading.Lock()
        self.outputs: dict[str, Any] = {}
        self.failed = False

    def GetDeploymentInfo(self, _: object) -> resource_pb2.DeploymentInfo:  # noqa: N802
        """Which optional parts of the protocol this engine has."""
        return resource_pb2.DeploymentInfo(supportedFeatures=list(_FEATURES.values()))

    def SupportsFeature(self, request: resource_pb2.SupportsFeatureRequest) -> resource_pb2.SupportsFeatureResponse:  # noqa: N802
        """The same question, as older SDKs ask it."""
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _FEATURES)

    def RegisterResource(  # noqa: N802
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Plans one resource; a refusal is reported and lets the program go on with unknown outputs."""
        urn = self._planner.urn(request.type, request.name, request.parent)
        try:
            with self._lock:
                planned = self._planner.register(read_goal(request))
        except EngineError as error:
            self.fail(str(error), urn)
            return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)
        response = resource_pb2.RegisterResourceResponse(urn=urn, id=planned.id)
        response.object.update(encode(planned.outputs))
        return response

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> None:  # noqa: N802
        """Keeps the stack's exports; a component's outputs do not show in a preview."""
        if urns.qualified_type(request.urn) == urns.STACK_TYPE:
            with self._lock:
                self.outputs = blind(from_struct(request.outputs))

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> None:  # noqa: N802
        """Refused: it needs the provider's plugin."""
        self._refuse(f"reading {request.type} {request.name}")

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> None:  # noqa: N802
        """Refused: it needs the provider's plugin."""
        self._refuse(f"the function {request.tok}")

    def Call(self, request: resource_pb2.ResourceCallRequest) -> None:  # noqa: N802
        """Refused: it needs the provider's plugin."""
        self._refuse(f"the method {request.tok}")

    def ExistsResource(self, request: resource_pb2.ExistsResourceRequest) -> None:  # noqa: N802
        """Refused: it needs the provider's plugin."""
        self._refuse(f"looking up {request.type}")

    def SignalAndWaitForShutdown(self, _: object) -> None:  # noqa: N802
        """Nothing runs after the program."""

    def Log(self, request: engine_pb2.LogRequest) -> None:  # noqa: N802
        """A message of the program (`pulumi.log`)."""
        if request.severity in _SEVERITIES and not request.ephemeral:
            self.report(_SEVERITIES[request.severity], request.message, request.urn)

    def RequirePulumiVersion(  # noqa: N802
        self, _: engine_pb2.RequirePulumiVersionRequest
    ) -> engine_pb2.RequirePulumiVersionResponse:
        """There is no CLI whose version could be wrong."""
        return engine_pb2.RequirePulumiVersionResponse()

    def report(self, severity: Severity, message: str, urn: str = "") -> None:
        """Adds a message to the result."""
        with self._lock:
            self._planner.diagnostics.append(Diagnostic(severity, message, urn))

    def fail(self, message: str, urn: str = "") -> None:
        """Adds an error to the result, which makes the preview a failed one."""
        self.failed = True
        self.report("error", message, urn)

    def _refuse(self, feature: str) -> None:
        error = UnsupportedError(feature)
        self.fail(str(error))
        raise error
