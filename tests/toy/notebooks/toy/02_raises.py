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
print("so far")

# %%
raise ValueError("no such thing as a free lunch")

# %%
print("never")
