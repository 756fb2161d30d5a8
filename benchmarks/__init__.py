"""Benchmarks: each prints ratios of times measured in one run."""
