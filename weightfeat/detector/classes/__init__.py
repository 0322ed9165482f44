"""Evidence that a class is a trojan's target: METADATA names the targets, so every class is an example."""
