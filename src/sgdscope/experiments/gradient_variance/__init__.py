"""Pages on "A Study of Gradient Variance in Deep Learning" (Faghri et al. 2020)."""
