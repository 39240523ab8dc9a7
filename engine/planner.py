"""From goals to steps: which operation each resource needs, by the rules of Pulumi's step generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine import diff, kinds, urns
from engine.aliases import Aliases
from engine.decision import Decision, is_listed, new_record
from engine.diff import Change
from engine.errors import EngineError
from engine.goals import Goal
from engine.model import Diagnostic, Op, Severity, Step
from engine.state import Resource, State
from engine.wire import UNKNOWN, Secret, blind

DISABLED_PROVIDERS_KEY = "pulumi:disable-default-providers"


def _read_list(text: str) -> list[str]:
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise EngineError(f"{DISABLED_PROVIDERS_KEY} must be a list of package names, not {text}", remedy="write [kubernetes]")
    return items


@dataclass(frozen=True)
class Planned:
    """The answer to one registration; an empty id is unknown, and so is a top-level output that is missing."""

    urn: str
    id: str
    outputs: Mapping[str, Any]


class Planner:
    """Decides for one run. Not thread-safe: its caller holds a lock around each call.

    A preview leaves the ids of new providers unknown; an apply draws them with `new_id`, for references to them are needed at once.
    """

    def __init__(
        self, project: str, stack: str, config: Mapping[str, str], state: State, new_id: Callable[[], str] = str
    ) -> None:  # fmt: skip
        self._project, self._stack, self._config, self._state = project, stack, config, state
        self._new_id = new_id
        self._interrupted = set(state.interrupted)
        self.aliases = Aliases(project, stack, state)
        self._goals: dict[str, Goal] = {}
        self._providers: dict[str, Resource] = {}  # by URN, what this run made of them
        self._taken: set[str] = set()  # URNs of recorded resources that the program still has
        self._replaced: set[str] = set()
        self._condemned: set[str] = set()  # recorded URNs deleted ahead of something that they depend on
        self._disabled = _read_list(config.get(DISABLED_PROVIDERS_KEY) or "[]")
        self.steps: list[Step] = []
        self.decisions: list[Decision] = []
        self.diagnostics: list[Diagnostic] = []
        self.refused = False  # whether something planned here may not be applied

    def urn(self, goal_type: str, name: str, parent: str) -> str:
        """The URN that a registration gets."""
        return urns.make(self._stack, self._project, parent, goal_type, name)

    def register(self, goal: Goal) -> Planned:
        """Plans one resource; raises EngineError where Pulumi or its provider would refuse it."""
        urn = self.urn(goal.type, goal.name, goal.parent)
        if urn in self._goals:
            raise EngineError(f"Duplicate resource URN '{urn}'; try giving it a unique name")
        goal = self._inherit(goal)
        self._goals[urn] = goal
        old, alias = self.aliases.find(urn, goal)
        if old:
            self._taken.add(old["urn"])
        if not goal.custom:
            return self._component(urn, goal, old, alias)
        kind = kinds.find(goal.type)
        reference = goal.provider or ("" if urns.is_provider(goal.type) else self._default_provider(urn, goal))
        goal = replace(goal, provider=reference)
        return self._resource(urn, goal, kind, old, alias)

    def gone(self) -> list[Resource]:
        """The recorded resources that the program no longer has, in the state's order; protected ones are reported."""
        gone = [item for urn, item in self._state.resources.items() if urn not in self._taken and not urns.is_default_provider(urn)]
        for item in gone:
            if item.get("protect"):
                remedy = "first set protect=False on it and run up, or run `pulumi state unprotect`"
                self._report("error", f"{item['urn']} cannot be deleted: it is protected\n  -> {remedy}", item["urn"])
        return gone

    def deletions(self) -> list[Step]:
        """The steps for them, dependants first."""
        return [Step("delete", item["urn"], old=blind(item)) for item in reversed(self.gone())]

    def _inherit(self, goal: Goal) -> Goal:
        parent = self._goals.get(goal.parent)
        if parent is None:
            return goal
        return replace(
            goal,
            protect=parent.protect if goal.protect is None else goal.protect,
            retain_on_delete=parent.retain_on_delete if goal.retain_on_delete is None else goal.retain_on_delete,
            deleted_with=goal.deleted_with or parent.deleted_with,
        )

    def _component(self, urn: str, goal: Goal, old: Resource | None, alias: str) -> Planned:
        change = Change(forced=bool(old and diff.compare(old.get("inputs", {}), goal.inputs)))
        self._add(Decision(self._op(old, change), urn, goal, new_record(urn, goal, goal.inputs, alias), old=old, change=change))
        return Planned(urn, "", {})

    def _resource(self, urn: str, goal: Goal, kind: kinds.Kind, old: Resource | None, alias: str) -> Planned:
        subject = kinds.Subject(urn, goal.type, goal.name, goal.version, self._options(goal.provider))
        if kind.applied_by_cli_only:
            self._report("warning", f"{goal.type} {goal.name}: previewed here, applied by the Pulumi CLI only", urn)
        wanted = goal.inputs
        for pattern in goal.ignore_changes if old else ():
            wanted = diff.keep_old((old or {}).get("inputs", {}), wanted, diff.parse_path(pattern))
        # Deleted ahead of its replacement, in this run or in an earlier one that did not get further.
        recreated = old is not None and (old["urn"] in self._condemned or bool(old.get("pendingReplacement")))
        inputs = kind.check(subject, wanted, None if recreated else old)
        change = Change(forced=True) if recreated else self._change(subject, goal, kind, old, inputs)
        op: Op = "replace" if recreated else self._op(old, change)
        for note in change.notes:
            self._report("warning", note, urn)
        delete_first = recreated or (change.delete_first if goal.delete_before_replace is None else goal.delete_before_replace)
        condemned: tuple[Resource, ...] = ()
        if op == "replace" and old:
            inputs = kind.check(replace(subject, replaced_id=old.get("id", "")), goal.inputs, None)
            self._replaced.add(urn)
            if goal.protect and old.get("protect"):
                remedy = "set protect=False on it in the program and run up"
                self._report("error", f"unable to replace {urn}: it is marked for protection\n  -> {remedy}", urn)
            if delete_first:
                condemned = self._condemn_dependents(old)
        outputs = dict(old.get("outputs", {}) if old and op == "same" else kind.outputs(inputs, old if op == "update" else None))
        for key in goal.additional_secret_outputs:
            value = outputs.get(key, UNKNOWN)
            outputs[key] = value if isinstance(value, Secret) else Secret(value)
        provider_id = ""
        if urns.is_provider(goal.type):
            provider_id = old.get("id", "") if old and op != "replace" else self._new_id()
            self._providers[urn] = {"inputs": inputs, "id": provider_id}
        # As in the CLI, a replacement that is created first already shows its outputs.
        extra = {"outputs": outputs} if op == "replace" and not delete_first else {}
        decision = Decision(
            op, urn, goal, new_record(urn, goal, inputs, alias), subject.options, old=old, change=change, delete_first=delete_first,
            provider_id=provider_id, condemned=condemned,
        )  # fmt: skip
        self._add(decision, extra)
        return Planned(urn, old.get("id", "") if old and op in ("same", "update") else "", outputs)

    def _change(self, subject: kinds.Subject, goal: Goal, kind: kinds.Kind, old: Resource | None, inputs: dict[str, Any]) -> Change:
        if old is None:
            return Change()
        if goal.deleted_with in self._replaced:
            return Change(replace_keys=("deletedWith",))
        if self._provider_changed(old.get("provider", ""), goal.provider):
            return Change(replace_keys=("provider",))
        if old.get("taint"):
            return Change(replace_keys=("id",))
        change = kind.diff(subject, old, inputs).with_replace_on(goal.replace_on_changes)
        # A resource that never became ready, or that a killed run was working on, is tried again.
        again = old.get("initErrors") or old["urn"] in self._interrupted
        return replace(change, forced=True) if change.empty and again else change

    def _op(self, old: Resource | None, change: Change) -> Op:
        if old is None:
            return "create"
        return "same" if change.empty else "replace" if change.replaces else "update"

    def _add(self, decision: Decision, extra: Mapping[str, Any] | None = None) -> None:
        self.decisions.append(decision)
        if is_listed(decision):
            self.steps.append(decision.step(extra or {}))

    def _default_provider(self, urn: str, goal: Goal) -> str:
        package = urns.package_of(goal.type)
        if any(item.strip() in ("*", package) for item in self._disabled):
            raise EngineError(f"Default provider for '{package}' disabled. '{urn}' must use an explicit provider.")
        name = f"default_{goal.version.replace('.', '_')}" if goal.version else "default"
        provider_urn = self.urn(f"{urns.PROVIDER_PREFIX}{package}", name, "")
        if provider_urn not in self._goals:
            settings = {key.split(":", 1)[1]: value for key, value in self._config.items() if key.split(":", 1)[0] == package}
            self.register(Goal(f"{urns.PROVIDER_PREFIX}{package}", name, "", custom=True, inputs=settings, version=goal.version))
        return f"{provider_urn}::{self._providers[provider_urn]['id'] or UNKNOWN}"

    def _options(self, reference: str) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self._providers.get(urns.reference_urn(reference), {}).get("inputs", {}) if reference else {}
        return options

    def _provider_changed(self, old: str, new: str) -> bool:
        """Whether a resource has moved to a provider that cannot manage it in place."""
        if old == new:
            return False
        if not old or not new:
            return True
        before, after = urns.reference_urn(old), urns.reference_urn(new)
        if self.aliases.now(before) == after and after not in self._replaced:
            return False
        recorded, planned = self._state.resources.get(before), self._providers.get(after)
        if recorded is None or planned is None:
            return True
        subject = kinds.Subject(after, recorded["type"], urns.name_of(after))
        return kinds.find(recorded["type"]).diff(subject, recorded, planned["inputs"]).replaces

    def _condemn_dependents(self, root: Resource) -> tuple[Resource, ...]:
        """A resource that goes before its replacement comes takes along what an unknown value of it would replace."""
        replaced, found_now = {root["urn"]}, []
        for urn, item in self._state.resources.items():
            if urn in self._taken or not item["custom"]:
                continue
            provider = urns.reference_urn(item.get("provider", ""))
            sources = item.get("propertyDependencies", {})
            inputs = {key: UNKNOWN if replaced & set(sources.get(key, ())) else value for key, value in item.get("inputs", {}).items()}
            changed = any(replaced & set(found) for found in sources.values())
            if provider in replaced or item.get("deletedWith") in replaced or (changed and self._would_replace(item, inputs)):
                replaced.add(urn)
                self._condemned.add(urn)
                found_now.append(item)
        return tuple(found_now)

    def _would_replace(self, item: Resource, inputs: dict[str, Any]) -> bool:
        subject = kinds.Subject(item["urn"], item["type"], urns.name_of(item["urn"]), options=self._options(item.get("provider", "")))
        return kinds.find(item["type"]).diff(subject, item, inputs).with_replace_on(item.get("replaceOnChanges", [])).replaces

    def _report(self, severity: Severity, message: str, urn: str) -> None:
        self.refused = self.refused or severity == "error"
        self.diagnostics.append(Diagnostic(severity, message, urn))
