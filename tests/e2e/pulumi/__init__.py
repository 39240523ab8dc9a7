"""Pulumi's engine for real, with the programs that the product builds. No cluster and no root is needed."""
