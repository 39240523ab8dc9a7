"""A plan as a small SVG for a pull request: one file, no fonts or scripts from elsewhere, readable on light and dark,
equal for equal plans.
"""

from __future__ import annotations

from html import escape

from cli.render.chart import Segment, budget_text, card_segments, card_title, model_rows
from stacks.plan import Plan

_WIDTH, _LEFT, _BAR = 760, 16, 728
_COLOURS = {
    "desktop": "#5b7fb8", "context": "#7d98c4", "weights": "#9a6bb8", "work": "#d0a23c", "band": "#cc6677",
    "kv": "#4f9d69", "unused": "#8884",
}  # fmt: skip
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}.d{fill:#57606a}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.d{fill:#9da7b3}}"
)


def plan_svg(plan: Plan) -> str:
    """The picture: each card as a bar with its legend, then the machine's budgets, then a line a model."""
    body: list[str] = []
    y = 24
    body.append(_text(_LEFT, y, f"{plan.stack}: plan {plan.digest}", "h"))
    for card in plan.cards:
        y += 24
        body.append(_text(_LEFT, y, card_title(plan, card)))
        y += 8
        segments = card_segments(plan, card)
        body += _bar(segments, card.total_gib, y)
        y, legend = _legend(segments, y + 26 + 16)
        body += legend
    for budget in plan.budgets:
        y += 22
        share = min(1.0, budget.need / budget.have) if budget.have else 0.0
        body.append(_text(_LEFT, y + 10, budget.name))
        body.append(_rect(_LEFT + 110, y, 300, 12, _COLOURS["unused"], f"{budget.name}: {budget.what}"))
        body.append(
            _rect(_LEFT + 110, y, round(300 * share, 1), 12, _COLOURS["kv"] if budget.have else _COLOURS["work"])
        )
        body.append(_text(_LEFT + 420, y + 10, budget_text(budget), "d"))
    y += 14
    for name, context, requests, replicas, kv, held, speed in model_rows(plan)[1:]:
        y += 22
        body.append(_text(_LEFT, y, f"{replicas} x {name}", "h"))
        y += 16
        body.append(
            _text(
                _LEFT,
                y,
                f"{context} tokens, {requests} requests at once; KV cache {kv}; {held} full-length requests held",
                "d",
            )
        )
        if speed != "-":
            y += 16
            body.append(_text(_LEFT, y, f"upper bound from memory bandwidth: {speed}", "d"))
    height = y + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} '
        f'{height}" role="img">'
    )
    title = f"<title>{escape(f'Plan of {plan.stack}')}</title><style>{_STYLE}</style>"
    return "\n".join([head, title, *body, "</svg>", ""])


def _bar(segments: list[Segment], total: float, y: int) -> list[str]:
    parts, x = [], float(_LEFT)
    for segment in segments:
        width = segment.gib / total * _BAR
        if width >= 0.05:
            parts.append(
                _rect(
                    round(x, 1),
                    y,
                    round(width, 1),
                    26,
                    _COLOURS[segment.kind],
                    f"{segment.label}: {segment.gib:.2f} GiB",
                )
            )
        x += width
    return parts


def _legend(segments: list[Segment], y: int) -> tuple[int, list[str]]:
    """Entries in three columns; returns the baseline of the last line."""
    parts = []
    for index, segment in enumerate(segments):
        column, row = index % 3, index // 3
        x, line = _LEFT + column * 245, y + row * 17
        parts.append(_rect(x, line - 9, 10, 10, _COLOURS[segment.kind]))
        parts.append(_text(x + 15, line, f"{segment.label} {segment.gib:.2f} GiB", "d"))
    return y + (len(segments) - 1) // 3 * 17, parts


def _rect(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}">{inner}</rect>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'
