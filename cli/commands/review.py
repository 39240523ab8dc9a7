"""`lab review`: validates and plans the stacks that a change touches, as one Markdown comment for its pull request."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.changes import Change, Touched, changed_since, touched_stacks
from cli.comparison import comparison
from cli.load import REFERENCE_MACHINE, load_plan
from cli.output import console
from cli.render.markdown import refused_section, stack_section
from stacks.errors import LabError, Problem, SettingsError
from stacks.settings.stack_file import stack_names

MARKER = "<!-- local-ai-lab-preview -->"
"""The comment's first line, hidden when shown: a workflow finds its own comment by it and updates that one."""

LIMIT = 65_000
"""GitHub takes 65,536 characters; the difference is for what a workflow appends."""

_FOLD = "\n<details>\n"
_NOTE = 200  # room for the sentence that says what was left out


@dataclass(frozen=True)
class Section:
    """One stack's part of the comment."""

    stack: str
    text: str
    works: bool


def run(root: Path, *, base: str, output: Path | None) -> None:
    """Writes the comment for the change since `base`; exits with 2 where a touched stack does not work.

    Raises LabError where git cannot tell the change, and SettingsError where `output` cannot be written.
    """
    change = changed_since(root, base)
    touched = touched_stacks(change.files, stack_names(root))
    sections = [_section(root, change, stack) for stack in touched.stacks]
    text = comment(sections, touched, base).replace(f"{root}{os.sep}", "")
    if output is None:
        sys.stdout.write(text)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            said = f"{output} cannot be written: {error.strerror}"
            raise SettingsError(
                [Problem("command line", "--output", said, "name a file in a folder that you may write to")]
            ) from None
        console(stderr=True).print(f"wrote {output}", markup=False)
    if not all(section.works for section in sections):
        sys.exit(2)


def comment(sections: Sequence[Section], touched: Touched, base: str, *, limit: int = LIMIT) -> str:
    """The whole comment, at most `limit` characters long: folded parts go first, from the end, and the comment
    says so.
    """
    head = f"{MARKER}\n## {_headline(sections, touched)}\n"
    if not sections and not touched.removed:
        head += "\nNo stack file changed, and nothing of the program that every stack is made from.\n"
    if touched.program and sections:
        head += (
            "\nThe program that every stack is made from changed, so every stack was planned with it. What that "
            "changes where a stack runs already, only Pulumi tells: `./lab preview STACK`\n"
        )
    removed = "".join(
        f"### 🗑 `{stack}` is removed\n\nIts file is gone, what it made on its machine is not. Before the merge, on the "
        f"base branch, type there: `pulumi destroy -s {stack}`\n\n"
        for stack in touched.removed
    )
    made = f"Made by `./lab review --base {_plain(base)}` from the plan alone"
    foot = f"---\n<sub>{made}; it touches no machine, cluster or secret.</sub>\n"
    return _clean(_shortened(head, list(sections), removed, foot, limit))


def _headline(sections: Sequence[Section], touched: Touched) -> str:
    fit = sum(section.works for section in sections)
    broken = len(sections) - fit
    removed = f"{_stacks(len(touched.removed))} removed" if touched.removed else ""
    fits = f"{_stacks(fit)} fit{'s' if fit == 1 else ''}" if fit else ""
    breaks = f"{_stacks(broken)} {'does' if broken == 1 else 'do'} not work" if broken else ""
    words = ", ".join(word for word in (breaks, fits, removed) if word)
    return f"{'❌' if broken else '✅'} {words}" if words else "✅ No stack is touched"


def _stacks(count: int) -> str:
    return f"{count} stack{'' if count == 1 else 's'}"


def _shortened(head: str, sections: Sequence[Section], removed: str, foot: str, limit: int) -> str:
    texts = [f"{section.text.rstrip()}\n\n" for section in sections]
    too_long = len(head) + sum(map(len, texts)) + len(removed) + len(foot) + 1 - limit
    if too_long <= 0:
        return "".join([head, "\n", *texts, removed, foot])
    too_long += _NOTE
    folds = cut = 0
    for index in reversed(range(len(texts))):  # only our own sections hold folds; a refusal quotes its author
        while too_long > 0 and sections[index].works and _FOLD in texts[index]:
            before, _, after = texts[index].rpartition(_FOLD)
            shorter = f"{before}\n{after.partition('</details>')[2].lstrip()}"
            too_long -= len(texts[index]) - len(shorter)
            texts[index] = shorter
            folds += 1
    for index in sorted(range(len(texts)), key=lambda n: len(texts[n]), reverse=True):
        if too_long > 0:
            shorter = texts[index].partition("\n")[0] + "\n\n"
            too_long -= len(texts[index]) - len(shorter)
            texts[index] = shorter
            cut += 1
    parts = [f"{folds} folded part{'' if folds == 1 else 's'}"] if folds else []
    parts += [f"all but the title of {_stacks(cut)}"] if cut else []
    note = f"Left out, because a comment may be no longer: {' and '.join(parts)}. All of it: `./lab plan STACK`\n\n"
    shown = "".join([head, "\n", *texts, removed])
    room = limit - len(note) - len(foot)
    return (shown if len(shown) <= room else shown[:room].rpartition("\n")[0] + "\n\n") + note + foot


def _section(root: Path, change: Change, stack: str) -> Section:
    try:
        plan = load_plan(root, stack, machine=REFERENCE_MACHINE)[1]
    except LabError as error:
        return Section(stack, refused_section(stack, error), works=False)
    text = stack_section(plan)
    if f"Pulumi.{stack}.yaml" in change.files:
        title, _, rest = text.partition("\n\n")
        text = "\n\n".join([title, "\n".join(comparison(root, change, plan)), rest])
    return Section(stack, text, works=True)


def _plain(text: str) -> str:
    """Text inside a code span, which a backtick would end."""
    return " ".join(text.replace("`", "'").split())[:200]


def _clean(text: str) -> str:
    """The text without what no reader can see: control characters, marks that turn the reading direction, bytes that
    are no UTF-8.
    """
    return "".join(letter if letter == "\n" or letter.isprintable() else "\ufffd" for letter in text)
