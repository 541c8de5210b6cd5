"""Text in, text out: rendering, cleaning, personal data, language, n-grams. Pure functions."""
