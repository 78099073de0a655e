"""Benchmarks: official and strict scoring rules, the evaluation runner, figures with their errors."""
