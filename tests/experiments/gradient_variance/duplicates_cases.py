"""Small hand-made tables of the runs of the page on duplicates, on which every part of every rule is met."""

from itertools import product

import numpy as np
import pandas as pd

from sgdscope.experiments.gradient_variance.duplicates_tables import AUTHORS, RATIOS

SEEDS = (0, 1, 2)
GAIN = {0.0: 1.95, 0.1: 2.1, 0.5: 2.6, 0.9: 9.0}  # SG-B over GC


def features(*, hidden=1000, batch=10, gain=GAIN, taus=(0.5, 1.0, 2.0, 5.0, 10.0), tilt=0.05):
    rows = []
    for share, tau, seed, teacher in product(gain, taus, SEEDS, (100, 1000)):
        level = 1e-3 / tau**2 * (1 - 0.9 * share) * (1 + 0.01 * seed)
        ratio = gain[share] * (1 + 0.01 * seed) * tau ** (tilt * share)
        for step in (100, 200, 300, 400):
            of = {"SG-B": level, "SG-2B": level / 2, "SVRG": level / 4, "GC": level / ratio}
            rows += [
                {
                    "overparametrisation": tau,
                    "input_dim": 100,
                    "teacher_hidden": teacher,
                    "learning_rate": 0.01,
                    "seed": seed,
                    "share": share,
                }
                | {
                    "hidden": hidden,
                    "batch_size": batch,
                    "num_steps": 400,
                    "refresh_every": 100,
                    "clustering_steps": 3,
                    "status": "finished",
                }
                | {"step": step, "estimator": name, "exact": value * (100 if step == 100 else 1)}
                for name, value in of.items()
            ]
    return pd.DataFrame(rows)


def images(**changes):
    """GC over SG-B is 0.1 with exact copies, 0.4 with augmented ones, 0.7 else; just before an update it is a tenth larger."""
    ratios, rows = {(True, "none"): 0.1, (True, "crop_flip"): 0.4}, []
    for copied, augment, seed in product((False, True), ("none", "crop_flip"), SEEDS):
        ratio = ratios.get((copied, augment), 0.7) * (1 + 0.01 * seed)
        for step in (0, 10, 20, 30, 40):
            row = {"seed": seed, "dataset": "cifar10", "model": "resnet8", "augment": augment, "duplicate_copies": 40 if copied else 0}
            row |= {"duplicate_originals": 2 if copied else 0, "gc_steps": 3, "update_every": 20, "batch_size": 8, "status": "finished"}
            row |= {"training_size": 120 if copied else 40, "step": step, "train_loss": 1.0, "sgd_average": np.nan}
            if step:
                update = step in (10, 20, 40)
                row |= {"sgd_average": 1e-4, "sgd2_average": 5e-5, "svrg_average": 0.0 if update else 3e-5, "sgd_age": 0 if update else 10}
                row |= {"gc_average": 1e-4 * ratio}
                if step in (20, 40):
                    row |= {"gc_average": 1e-5 * ratio, "gc_before_average": 1.1e-4 * ratio, "svrg_before_average": 4e-5}
            rows.append(row)
    return pd.DataFrame(rows).assign(**changes)


def clusters():
    return pd.DataFrame(
        [
            {"seed": seed, "batch_size": 8, "duplicate_originals": 2, "duplicate_copies": 40, "status": "finished", "step": step, "order": order}
            | {"clusters": 8, "pure": int(order == "shuffled"), "mixed": 2, "apart": 0.0, "together": 0.9, "sgd_exact": 1e-4}
            | {"gc_exact": 1e-5, "gc_mixed": 1e-6, "ideal_exact": 8e-6, "distinct": 40, "training_size": 120}
            for seed, step, order in product(SEEDS, (10, 40), ("appended", "shuffled"))
        ]
    )  # fmt: skip


def code():
    """SG-B with the numbers of the authors' plots."""
    made = features()
    made = made[(made.share > 0) & (made.estimator == "SG-B")]
    plotted = {(share, tau): both[0][RATIOS.index(tau)] / 1.1 for share, both in AUTHORS.items() for tau in RATIOS}
    return made.assign(exact=[plotted[row.share, row.overparametrisation] for row in made.itertuples()])


MAKERS = {"features": features, "code": code, "images": images, "clusters": clusters}
