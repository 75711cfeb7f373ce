"""The commands: one thin module per make target, no logic. The only place that knows a terminal."""
