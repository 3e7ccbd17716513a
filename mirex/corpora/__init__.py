"""Readers for the data files of training and of the accuracy benchmarks."""
