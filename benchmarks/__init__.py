"""Measurements: ratios within one run, never asserted in tests. Results are committed under ``results/``."""
