"""Retrieval with embeddings: distances, ranked search, probabilities, alignment."""
