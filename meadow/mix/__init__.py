"""A corpus to a training set: what is chosen, which duplicates leave. Recipes are TOML."""
