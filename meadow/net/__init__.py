"""Bytes from elsewhere: HTTP, the Hub, stores; one policy of retries, no secret in a message."""
