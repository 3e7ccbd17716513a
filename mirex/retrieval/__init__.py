"""Embeddings to answers: distances, ranked search, probabilities, alignment."""
