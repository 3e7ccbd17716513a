"""Benchmarks: how well versions are found, next to other systems."""
