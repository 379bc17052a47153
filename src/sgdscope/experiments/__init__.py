"""Experiments: the configurations, runs, evidence and figures of each page."""
