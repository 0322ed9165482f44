"""A submission checked before it is sent: what NIST checks before running it, and what it cannot check."""
