"""weightfeat: how likely is an image classifier trojaned, from its weights alone."""

__version__ = "0.2.0"
