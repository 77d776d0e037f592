"""The wiring: settings in, objects built, one TaskGroup; the processes that the CLI runs."""
