"""The gradient-variance paper: runs, evidence and figures, a family of modules a page."""
