"""What prover and verifier share: encodings, key, plan, layout, transcript, Merkle trees, claims, soundness budget."""
