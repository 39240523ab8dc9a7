"""Pulumi's own CLI, driven for one stack: its settings, its stream of events, and what a killed run left behind. Prints
nothing.
"""
