"""What one asks of a finished folder: check, diff, report, search, browse."""
