"""Publish, pull and verify corpora on the Hugging Face Hub, or on any server that speaks like it.

One release is one commit with everything that MANIFEST.json names; a tag that names it never moves.
"""
