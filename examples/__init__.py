"""How the verifier and the prover are used in programs of others; run by tests/examples."""
