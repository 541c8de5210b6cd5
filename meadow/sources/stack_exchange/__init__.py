"""Stack Exchange data dumps: questions with their answers."""
