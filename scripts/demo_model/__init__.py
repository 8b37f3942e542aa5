"""Training of the demo model: a tiny gpt-oss that is right in a small closed world."""
