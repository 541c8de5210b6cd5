"""Anki decks: packages, collections and text exports to question and answer."""
