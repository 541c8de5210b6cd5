"""Rows rewritten by a language model, cached, checked and audited."""
