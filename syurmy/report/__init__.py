"""The report of one run: what it costs, what its tensors hold, and how far it is from the float model, as one page."""
