"""Rows that a language model rewrites or reasons about: cached, checked and audited."""
