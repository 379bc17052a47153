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
# # A question, as the reader would ask it?
#
# *Section 3 of {cite:t}`jastrzebski2020breakeven`.*
#
# Two paragraphs without a formula: what the section is about, in pictures and plain words, and what this page asks of it. Name the question that
# the last figure answers. (To start a page, copy this file and its two parameter sets to `notebooks/<paper>/NN_<section>`. It runs as it
# stands, on the experiment of the first page of the break-even paper.)
#
# ## What the paper claims
#
# The claims in the paper's order, with the numbers that it prints and its own equation numbers in words ("the paper's Eq. 1"). Equations get our
# numbers and link to the function that computes them, here {py:func}`~sgdscope.stability.almost_sure_exponent`:
#
# $$
# \mathbb{E}_B \log \lvert 1 - \eta H_B \rvert < 0
# $$ (eq-template-exponent)
#
# ## Parameters
#
# One sentence on what follows from these values. The page shows them as a table, in the place of their cell, with the command that changes one.

# %% tags=["hide-input"]
from sgdscope.claims import judge
from sgdscope.experiments.break_even import model, model_evidence, model_figures
from sgdscope.figures import say, show
from sgdscope.runs import collect
from sgdscope.runs.card import provenance_card

# %% tags=["parameters"]
dataset = "fashion_mnist_small"  # images
learning_rates = [0.5, 1.0]  # each with its unit; the quick values stand here
batch_sizes = [1, 4]  # S, in all simulations
num_examples = 100  # N, even
num_steps = 20  # of SGD
seeds = [0, 1, 2]  # three at least, or no direction can be judged

# %% tags=["hide-input"]
runs = model.runs(
    dataset=dataset,
    learning_rates=learning_rates,
    batch_sizes=batch_sizes,
    num_examples=num_examples,
    num_steps=num_steps,
    seeds=seeds,
)

# %% [markdown]
# ## A heading that says what was found
#
# :::{margin}
# An aside of two or three lines goes here: a definition that most readers know, or what a verdict means in this section.
# :::
#
# What is measured and how, before the cell that does it; {numref}`fig-template` before it comes. A cell is one library call, three lines at most;
# longer ones are folded. Then say what to look at in the figure, because the caption only says what is drawn.

# %%
stable = collect(runs["stable_case"])

# %% mystnb={"figure": {"name": "fig-template", "caption": "What is drawn, in a sentence or more: axes, lines, bands, how many seeds. A line that is theory and not a measurement is said to be one."}} tags=["hide-input"]
show(
    model_figures.draw_stable_case(stable),
    name="template",
    alt="What a reader who cannot see the figure must know: which lines there are, where they go, which lies above which.",
    numbers=stable,
)

# %% [markdown]
# A sentence with numbers takes them from the run, never from your memory:

# %% tags=["hide-input"]
say(
    "The typical trajectory shrinks where the exponent is negative; here it is {exponent:.2f} per step.",
    stable.iloc[0][["exponent"]],
)

# %%
judge("be-err-stable", model_evidence.stable_case(stable))

# %% tags=["remove-cell", "nbval-check-output"]
stable[["steps", "left_side", "exponent"]].round(6)

# %% [markdown]
# ## Deviations from the paper
#
# * Everything that is done otherwise than in the paper, with the reason: sizes, data, stand-ins, choices that the paper leaves open.
# * What was tuned, on which seeds, and that these are not the ones that are judged.
#
# ## Provenance

# %% tags=["hide-input"]
provenance_card()
