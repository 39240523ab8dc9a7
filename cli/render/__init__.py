"""One renderer a thing: what a plan's card, budgets and decisions look like in a terminal, in Markdown and in a
picture.
"""
