"""Benchmarks: ratios against a stock peer in the same run; printed, never gating. Run `make bench`."""
