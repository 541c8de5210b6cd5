"""Fuzzing: seeded mutants and generated inputs, each checked in a child process under limits."""
