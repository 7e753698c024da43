"""The command line: arguments in, one call, messages out (click only)."""
