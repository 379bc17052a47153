"""Pages about Faghri, Duvenaud, Fleet and Ba (2020), A Study of Gradient Variance in Deep Learning."""
