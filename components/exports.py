"""What `pulumi stack output` shows of a plan: why every value is what it is."""

from __future__ import annotations

from typing import Any

from stacks.plan import Decision, ModelPlan, Plan


def exports(plan: Plan) -> dict[str, Any]:
    """Models, decisions and host changes, with reasons."""
    return {
        "models": {model.name: _model_export(model) for model in plan.models},
        "decisions": _reasons(plan.decisions),
        "hostChanges": [change.what for change in plan.host_changes],
        "planDigest": plan.digest,
    }


def _model_export(model: ModelPlan) -> dict[str, Any]:
    engine = model.engine.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"image": model.image, "engine": engine, "decisions": _reasons(model.decisions)}


def _reasons(decisions: tuple[Decision, ...]) -> dict[str, str]:
    return {d.name: f"{d.value}  ({d.kind}: {d.reason})" for d in decisions}
