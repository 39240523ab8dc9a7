"""Runs the whole program under Pulumi's mocks and records each registration, also what the mocks themselves drop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import runpy
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pulumi
import pulumi.runtime
from google.protobuf import empty_pb2
from pulumi.runtime import mocks
from pulumi.runtime.proto import engine_pb2, resource_pb2

from stacks.errors import LabError
from tests.support.registrations import SECRET, Message, Record, Step, in_order, plain, step

STACK_TYPE: Final = "pulumi:pulumi:Stack"
_PATIENCE = 5.0  # seconds for the tasks of a failed program to end
_DISABLED = "pulumi:disable-default-providers"
_SEVERITIES = {engine_pb2.INFO: "info", engine_pb2.WARNING: "warning", engine_pb2.ERROR: "error"}


@dataclass(frozen=True)
class Program:
    """A Pulumi program and its flat configuration: `project:key` to text, other values as JSON text."""

    main: Path
    project: str
    stack: str
    config: Mapping[str, str] = field(default_factory=dict)
    secret_keys: frozenset[str] = frozenset()


def record(program: Program) -> Record:
    """Runs the program in preview mode, in this process. Its failure is a message of the result, never raised."""
    # The SDK keeps its settings, configuration and root stack in context variables; a copied context is a new process
    # to it.
    return contextvars.copy_context().run(_record, program)


def _record(program: Program) -> Record:
    monitor, log, printed = _Monitor(program.config), _Log(), io.StringIO()
    pulumi.runtime.set_all_config(dict(program.config), sorted(program.secret_keys))
    settings = pulumi.runtime.Settings(
        program.project,
        program.stack,
        monitor,
        log,
        dry_run=True,
        organization="organization",
        root_directory=str(program.main.parent),
    )
    pulumi.runtime.configure(settings)

    def main() -> None:
        runpy.run_path(str(program.main), run_name="__main__")

    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        failure = _ended(lambda: pulumi.runtime.run_in_stack(main))
    said = [*log.messages, *(Message("info", line) for line in printed.getvalue().splitlines())]
    if failure is not None:
        said.append(Message("error", failure))
    ok = all(message.severity != "error" for message in said)
    hidden = [program.config[key] for key in program.secret_keys]
    return Record(in_order(monitor.steps), monitor.outputs, tuple(_hide(message, hidden) for message in said), ok)


def _ended(run: Callable[[], Any]) -> str | None:
    """Runs a coroutine to its end and leaves no task of it behind; returns how it failed."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Inline(1))
    loop.set_exception_handler(lambda *_: None)  # a program that failed half-way leaves futures that nobody awaits
    try:
        loop.run_until_complete(run())
    except (pulumi.RunError, LabError) as error:
        return str(error)
    except SystemExit as stop:
        return f"the program exited with {stop.code}" if stop.code else None
    except Exception as error:  # noqa: BLE001 (whatever the program raises is told as a message)
        return "".join(traceback.format_exception(error))
    finally:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
        loop.close()
    return None


class _Inline(ThreadPoolExecutor):
    """Runs a call where it is made: registrations come in the program's order, and hundreds of runs start no thread."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments, **named))
        except BaseException as error:  # noqa: BLE001 (it belongs to whoever awaits the future)
            future.set_exception(error)
        return future


class _Nothing(mocks.Mocks):
    """No provider answers: what a preview would look up, it cannot have on a machine without a cluster."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise pulumi.RunError(f"the program reads {args.typ} {args.name}")

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise pulumi.RunError(f"the program calls {args.token}")


class _Monitor(mocks.MockMonitor):
    """Keeps every registration. Refuses what the engine refuses: a URN twice, a switched-off default provider."""

    def __init__(self, config: Mapping[str, str]) -> None:
        super().__init__(_Nothing())
        self.steps: dict[str, Step] = {}
        self.outputs: dict[str, Any] = {}
        self._disabled = config.get(_DISABLED, "")

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine makes it: the types of all parents but the stack, where the mocks keep the nearest only."""
        above = parent.split("::")[2] if parent else STACK_TYPE
        qualified = type_ if above == STACK_TYPE else f"{above}${type_}"
        return f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{qualified}::{name}"

    def RegisterResource(  # noqa: N802 (the protocol's name)
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        urn = self.make_urn(request.parent, request.type, request.name)
        if urn in self.steps:
            raise pulumi.RunError(f"{urn} is registered twice")
        package = request.type.partition(":")[0]
        if request.custom and not request.provider and f'"{package}"' in self._disabled:
            raise pulumi.RunError(f"{urn} names no provider, and the default one of {package} is switched off")
        self.steps[urn] = step(urn, request)
        # Without an id and without outputs of its own everything but the inputs stays unknown, as in a real preview.
        return resource_pb2.RegisterResourceResponse(urn=urn, object=request.object)

    def RegisterResourceOutputs(  # noqa: N802 (the protocol's name)
        self, request: resource_pb2.RegisterResourceOutputsRequest
    ) -> empty_pb2.Empty:
        if request.urn.split("::")[2] == STACK_TYPE:
            self.outputs = plain(request.outputs)
        return empty_pb2.Empty()


class _Log(mocks.MockEngine):
    def __init__(self) -> None:
        super().__init__(None)
        self.messages: list[Message] = []

    def Log(self, request: engine_pb2.LogRequest) -> None:  # noqa: N802 (the protocol's name)
        if request.severity in _SEVERITIES:
            self.messages.append(Message(_SEVERITIES[request.severity], request.message))


def _hide(message: Message, secrets: list[str]) -> Message:
    """The message without the secrets that the program may have put into it."""
    text = message.message
    for secret in secrets:
        text = text.replace(secret, SECRET) if secret else text
    return Message(message.severity, text)
