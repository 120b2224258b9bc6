"""What every worker process shares: settings, connections, telemetry, lifecycle."""
