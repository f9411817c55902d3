"""Measurements: run each as `python -m benchmarks.NAME` in the folder above."""
