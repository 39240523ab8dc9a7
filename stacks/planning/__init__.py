"""How the plan is made from settings and catalogue; changes and looks at nothing outside."""
