"""Detectors that run the network on example images: other people's methods, each from its paper."""
