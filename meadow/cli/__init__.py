"""The command line: thin shells over the library, one module a kind of work."""
