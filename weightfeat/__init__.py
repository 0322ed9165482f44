"""weightfeat: how likely is an image classifier trojaned, from its weights alone."""
