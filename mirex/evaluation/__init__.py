"""Evaluating a matrix: metrics, intervals, tests, tables, plots and the report."""
