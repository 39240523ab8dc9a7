"""Applying: what the planner decided is carried out, on clusters that carry the lab's own mark."""
