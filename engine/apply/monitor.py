"""The services that the SDK talks to while things are really done."""

from __future__ import annotations

from pulumi.runtime.proto import resource_pb2

from engine import urns
from engine.apply.applier import Applier, SkippedError
from engine.apply.interrupt import InterruptedRunError
from engine.apply.ledger import Ledger
from engine.errors import EngineError
from engine.goals import read_goal
from engine.monitor import Monitor
from engine.planner import Planner
from engine.wire import blind, encode, from_struct, has_unknown


class ApplyMonitor(Monitor):
    """Answers when a resource is done; a failed or skipped one gets unknown outputs, and the program goes on to its end."""

    def __init__(self, planner: Planner, applier: Applier, ledger: Ledger) -> None:
        super().__init__(planner)
        self._applier, self._ledger = applier, ledger
        self.exit_code = 0

    def fail(self, message: str, urn: str = "") -> None:
        """Adds an error to the result; nothing new begins after it."""
        self._applier.stopped = True
        super().fail(message, urn)

    def RegisterResource(  # noqa: N802 (the protocol's name)
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Plans and carries out one resource."""
        urn = self._planner.urn(request.type, request.name, request.parent)
        try:
            done = self._applier.register(read_goal(request))
        except (SkippedError, InterruptedRunError):
            self.failed = True
        except EngineError as error:
            self.exit_code = max(self.exit_code, error.exit_code)
            self.fail(str(error), urn)
        except Exception as error:  # noqa: BLE001 (a defect of ours: the other steps still have to be recorded)
            self.fail(f"defect of the embedded engine: {type(error).__name__}: {error}", urn)
        else:
            response = resource_pb2.RegisterResourceResponse(urn=urn, id=done.id)
            response.object.update(encode(done.outputs))
            return response
        return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> None:  # noqa: N802
        """Records the outputs of a component, or the stack's exports."""
        outputs = {key: value for key, value in from_struct(request.outputs).items() if not has_unknown(value)}
        self._ledger.set_outputs(request.urn, outputs)
        if urns.qualified_type(request.urn) == urns.STACK_TYPE:
            self.outputs = blind(outputs)
