"""A TrojAI round on disk, its METADATA, labelled digests of it, and the work on many models at once."""
