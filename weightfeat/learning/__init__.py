"""Learning a detector, searching its metaparameters, and measuring what would be learned."""
