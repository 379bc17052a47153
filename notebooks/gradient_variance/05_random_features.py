# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does over-parametrisation do to the noise?
#
# ## What the paper claims
#
# ## Parameters

# %% tags=["hide-input"]
from sgdscope.experiments.gradient_variance import random_features
from sgdscope.runs import collect

# %% tags=["parameters"]
hidden = 1000  # h_s, width of the student; N = h_s over the over-parametrisation
overparametrisations = [0.5, 1.0, 2.0, 5.0, 10.0]  # h_s / N
input_dims = [100, 10000]  # I, a tenth and ten times the student's width
teacher_widths = [100, 1000]  # h_t
learning_rates = [0.1, 0.01, 0.001]  # of SGD, without momentum
batch_size = 10  # B; SG-2B takes twice as many, GC as many clusters
num_steps = 5000  # of SGD
log_every = 250  # steps between two measurements
repeats = 10  # R estimates, and R more for the authors' normalised variance
refresh_every = 1000  # steps between two snapshots of SVRG and clusterings of GC
seeds = [0, 1, 2]  # of teacher, inputs, features, start, mini-batches and estimates
drop_overparametrisations = [0.5, 1.0]  # h_s / N of the runs with a drop of the largest rate
batch_hidden = 400  # h_s = N of the runs until a fixed loss
batch_sizes = [2, 4, 8, 16, 32, 64, 128, 256]  # their B, each twice the one before
batch_rates = [0.03, 0.1, 0.3]  # their learning rates, of which the best counts
batch_steps = 2000  # after which they end
deep_dataset = "fashion_mnist_small"  # images for the deep counterpart
deep_rates = [0.3, 0.1]  # its learning rates
deep_steps = 400  # its steps

# %% [markdown]
# ## Deviations from the paper
#
# ## Provenance
