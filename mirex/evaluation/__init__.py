"""Judging a matrix: metrics, intervals, tests, tables, pictures and the report."""
