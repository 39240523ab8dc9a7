"""The command line with its errors as messages and exit codes, on streams that may be closed or cannot show every
character.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

import typer


def run_guarded(app: typer.Typer) -> None:
    """Runs the command line; what goes wrong leaves as its message and exit code, never as a traceback."""
    _whole_streams()
    as_json = "--json" in sys.argv
    try:
        code = app(prog_name="lab", standalone_mode=False)  # click would end with 1 on a closed pipe
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in: lab gpus | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except OSError as error:  # a full disk, a home that cannot be written
        sys.stderr.write(f"error: {error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be written shall not be tried again at the end
        sys.exit(1)
    except typer.Abort:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except Exception as error:
        from cli.output import fail, fail_usage
        from stacks.errors import LabError

        if isinstance(error, LabError):
            fail(error, as_json=as_json)
        message, show = getattr(error, "format_message", None), getattr(error, "show", None)
        if message is None or show is None:  # no wrong usage, which is all that typer knows
            raise
        if as_json:
            fail_usage(message())
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _whole_streams() -> None:
    """A closed descriptor is /dev/null from now on, and a character that a stream's encoding lacks is a question
    mark.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif number and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")
