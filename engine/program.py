"""Runs a Pulumi program in this process, as the CLI's language host would in another, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

import pulumi
import pulumi.runtime

from engine.errors import EngineError, UnsupportedError
from engine.model import Program, StackConfig
from engine.monitor import Monitor
from stacks.errors import LabError

_NO_FEATURE = "Please update the Pulumi CLI."  # how the SDK ends its refusal of what the monitor does not offer

_PATIENCE = 5.0  # seconds for what a failed program left behind to notice that it is over


def run_program(program: Program, config: StackConfig, monitor: Monitor, parallel: int, *, dry_run: bool = True) -> None:
    """Runs the program to its end; what goes wrong in it is reported to the monitor, never raised."""
    # A copied context holds the SDK's whole configuration, which lives in context variables.
    contextvars.copy_context().run(_run, program, config, monitor, parallel, dry_run)


def _run(program: Program, config: StackConfig, monitor: Monitor, parallel: int, dry_run: bool) -> None:
    pulumi.runtime.set_all_config(dict(config.values), sorted(config.secret_keys))
    settings = pulumi.runtime.Settings(
        project=program.project, stack=program.stack, monitor=monitor, engine=monitor, parallel=parallel, dry_run=dry_run,
        organization="organization", root_directory=str(program.root),
    )  # fmt: skip
    pulumi.runtime.configure(settings)
    loop = asyncio.new_event_loop()
    executor = ThreadPoolExecutor(max(parallel, 1) * 4)  # the SDK's own factor
    loop.set_default_executor(executor)
    # Futures that nobody awaits are normal for a program that failed half-way.
    loop.set_exception_handler(lambda *_: None)
    try:
        with _borrowed_process(program, monitor):
            loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: _run_main(program.main)))
    except SystemExit as stop:
        if stop.code not in (None, 0):
            monitor.fail(f"an unhandled error occurred: program exited with non-zero exit code: {stop.code}")
    except EngineError as error:
        if not monitor.failed:  # a refusal was reported where it arose
            monitor.fail(str(error))
    except (pulumi.RunError, LabError) as error:
        monitor.fail(str(error))
    except Exception as error:  # noqa: BLE001 (whatever the program raises is its own affair, told as a message)
        monitor.fail(_describe(error, program.root))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
        executor.shutdown(wait=True)
        loop.close()


def _run_main(main: Path) -> None:
    runpy.run_path(str(main), run_name="__main__")


@contextlib.contextmanager
def _borrowed_process(program: Program, monitor: Monitor) -> Iterator[None]:
    """Gives the program the process state that the CLI gives it, and restores the caller's."""
    cwd, argv, path, modules = Path.cwd(), sys.argv, list(sys.path), set(sys.modules)
    printed = io.StringIO()
    # Other threads are the engine's own: what they tell the user must not wait for the program's end.
    stdout, stderr = _OwnThread(printed, sys.stdout), _OwnThread(printed, sys.stderr)
    os.chdir(program.root)
    sys.argv = [str(program.main)]
    sys.path.insert(0, str(program.main.parent))
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            yield
    finally:
        sys.path[:], sys.argv = path, argv
        os.chdir(cwd)
        # The next run must see the files as they are then.
        for name in set(sys.modules) - modules:
            if _is_own(getattr(sys.modules[name], "__file__", None) or "", program.root):
                del sys.modules[name]
        for line in printed.getvalue().splitlines():
            monitor.report("info", line)


class _OwnThread(io.TextIOBase):
    """A stream that keeps what the thread that made it writes, and passes on what others do."""

    def __init__(self, kept: TextIO, passed: TextIO) -> None:
        super().__init__()
        self._kept, self._passed, self._thread = kept, passed, threading.get_ident()

    def _target(self) -> TextIO:
        return self._kept if threading.get_ident() == self._thread else self._passed

    def write(self, text: str) -> int:
        return self._target().write(text)

    def flush(self) -> None:
        self._target().flush()

    def isatty(self) -> bool:
        return self._target().isatty()

    def fileno(self) -> int:
        return self._target().fileno()


def _is_own(file: str, root: Path) -> bool:
    return Path(file).is_relative_to(root.resolve()) and "site-packages" not in file


def _describe(error: Exception, root: Path) -> str:
    if _NO_FEATURE in str(error):
        return str(UnsupportedError(str(error).replace("The Pulumi CLI does not support ", "").replace(_NO_FEATURE, "").strip(" .")))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename, root)]
    trace = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return "".join(["Program failed with an unhandled exception:\n", *trace, *traceback.format_exception_only(error)]).rstrip()
