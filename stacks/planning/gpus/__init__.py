"""Which engine gets how much of which card; nothing about what an engine does with it."""
