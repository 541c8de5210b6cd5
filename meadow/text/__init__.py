"""Text in, text out: rendering, cleaning, personal data, language, n-grams. Pure functions."""

VERSION = 4
"""Raised when a rule of the cleaner changes what it writes; every source is then built again."""
