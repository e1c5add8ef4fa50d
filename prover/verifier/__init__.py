"""The verifier: reads a proof and accepts it, or raises ``Rejected`` with the step and the reason."""
