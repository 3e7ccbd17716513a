"""Benchmarks: how well versions are found, beside what a user could pick instead."""
