"""An evaluation server on the desk: every model of a round through a detector, as a container would be run."""
