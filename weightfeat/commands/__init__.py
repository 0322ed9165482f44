"""One module a subcommand of `weightfeat`: `add_arguments`, and `run`, which returns the exit code."""
