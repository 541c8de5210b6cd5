"""A language model at an OpenAI-compatible address: asked once, within limits, in versioned words.

Rewriting rows and judging answers ask alike: one client, one cache, one policy of retries.
"""
