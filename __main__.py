"""The Pulumi program: configuration -> Settings -> Plan -> LabPlatform -> exports."""

from pathlib import Path

import pulumi

from components import stack_config
from components.lab_platform import LabPlatform, LabPlatformArgs
from host.drivers.epoch import wanted_epoch
from host.drivers.ownership import checkout
from host.system.machine import detected
from stacks import measured
from stacks.catalog import load
from stacks.errors import LabError
from stacks.planning.build import build_plan
from stacks.settings import SECRET_KEYS, Settings

try:
    config = stack_config.read(SECRET_KEYS)
    settings = Settings.from_config(
        config.values, file=f"Pulumi.{pulumi.get_stack()}.yaml", secret_keys=config.secret_keys, detected=detected()
    )
    root = Path(__file__).resolve().parent
    plan = build_plan(
        settings,
        stack=pulumi.get_stack(),
        secrets=frozenset(config.secrets),
        catalog=load(root),
        measured=measured.read(root, pulumi.get_stack()),
    )
    epoch, owner = wanted_epoch(plan.stack, plan.cluster.driver), checkout(plan.stack)
except LabError as error:
    raise pulumi.RunError(str(error)) from None

lab = LabPlatform("lab", LabPlatformArgs(plan, config.secrets, epoch, str(Path.home()), owner))
for name, value in lab.exports.items():
    pulumi.export(name, value)
