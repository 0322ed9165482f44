"""Rounds made here: real networks trained on drawn scenes, clean and poisoned, laid out as TrojAI does."""
