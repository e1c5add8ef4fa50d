"""Test vectors of the protocol: small keys, proofs, statements and transcripts, as files in folders beside this one.

``python -m tests.vectors [NAME ...]`` writes them anew. Clear keys and proofs come out as they were unless the protocol
or the constraints of an instruction have changed; hiding ones are others every time.
"""
