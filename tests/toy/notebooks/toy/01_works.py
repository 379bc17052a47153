# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A toy page
#
# It shows how pages work.

# %% tags=["parameters"]
dataset = "digits"  # which images
learning_rates = [0.1, 0.5]  # in units of the sharpness
num_steps = 3  # of descent
seeds = [0, 1]
center = True

# %%
import os  # noqa: E402

print(num_steps, learning_rates, os.environ["SGDSCOPE_PAGE"], os.environ["SGDSCOPE_SCALE"], os.environ["OMP_NUM_THREADS"], os.getcwd())

# %%
from sgdscope.claims import Evidence, Measurement, judge  # noqa: E402

judge("be-exact", Evidence({"error": Measurement(0.25)}))

# %%
judge("be-about", Evidence({"size": Measurement(99)}))
