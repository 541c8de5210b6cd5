"""What is fuzzed: one module per kind of input, with `make(index)` and `check(data, folder)`."""
