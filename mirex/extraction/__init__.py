"""Recordings to cached embeddings, spread over worker processes."""
