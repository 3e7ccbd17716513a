"""Readers of the data files that training and the accuracy benchmarks use."""
