"""Values of the right type that no run could take are refused by the page, before a kernel or a run starts."""

import re

import pytest

from sgdscope.errors import SgdscopeError
from sgdscope.pages import find

MODEL, EARLY, STRATIFIED, CLUSTERING, MNIST, CIFAR, FEATURES, DUPLICATES = (
    "break_even/01_model",
    "break_even/02_early_phase",
    "gradient_variance/01_stratified",
    "gradient_variance/02_clustering",
    "gradient_variance/03_mnist",
    "gradient_variance/04_cifar",
    "gradient_variance/05_random_features",
    "gradient_variance/06_duplicates",
)
NO_IMAGES = "unknown data set of labelled images 'imdb'. Valid: mnist, fashion_mnist, "
NO_MODEL = "unknown model 'nope'. Valid: fcn, lenet, linear, mlp, "
MORE = "num_examples = 100,000,000 exceeds the 6,000 examples of fashion_mnist_small, train; ask for at most 6,000."


@pytest.mark.parametrize(
    ("page", "parameter", "value", "message"),
    [
        (MODEL, "dataset", "imdb", NO_IMAGES),
        (MODEL, "num_examples", "100000000", MORE),
        (EARLY, "dataset", "imdb", NO_IMAGES),
        (EARLY, "model", "nope", NO_MODEL),
        (EARLY, "embedding", "tsne", "unknown embedding 'tsne'. Valid: umap, pca."),
        (
            EARLY,
            "batch_size",
            "6001",
            "batch_size must be a whole number from 1 to 6000 (training examples of fashion_mnist_small); 6001 came.",
        ),
        (EARLY, "num_hessian_examples", "6001", "num_hessian_examples must be a whole number from 2 to 6000"),
        (STRATIFIED, "dataset", "imdb", NO_IMAGES),
        (STRATIFIED, "dataset", "imagenet", "imagenet needs num_examples, how many to hold in memory; this page would take all."),
        (STRATIFIED, "models", "[nope]", NO_MODEL),
        (STRATIFIED, "models", "[resnet8]", "resnet8 has batch norm, so that single examples have no gradient; take a model without."),
        (STRATIFIED, "num_examples", "100000000", MORE),
        (STRATIFIED, "batch_size", "6001", "batch_size must be a whole number from 1 to 6000; 6001 came."),
        (STRATIFIED, "hidden", "[0]", "hidden"),
        (CLUSTERING, "dataset", "imdb", NO_IMAGES),
        (CLUSTERING, "cluster_range", "[1]", "cluster_range must be two or more increasing numbers from 1, got [1]."),
        (CLUSTERING, "cluster_range", "[4, 8]", "cluster_range must hold a K from 10 to 100, of which a claim is; got [4, 8]."),
        (CLUSTERING, "cluster_range", "[20, 60]", "there must be more examples than clusters; 60, 30 and 1000 came for [20, 60] and 4."),
        (CLUSTERING, "centre_examples", "100000000", MORE),
        (MNIST, "dataset", "imdb", NO_IMAGES),
        (MNIST, "repeats", "1", "repeats must be a whole number of at least 2 (mlp on digits); 1 came."),
        (MNIST, "problem_repeats", "1", "repeats must be a whole number of at least 2 (linear on digits); 1 came."),
        (MNIST, "batch_size", "720", "mlp on digits needs 1440 training examples at least, for its batches and clusters; 1438 came."),
        (MNIST, "problems", "[digits mlp 0.1 0]", "problems must be two or more distinct ones, which are compared"),
        (MNIST, "problems", "[digits mlp 0.1 0, digits nope 0.1 0]", NO_MODEL),
        (MNIST, "problems", "[digits mlp 0.1 0, imdb mlp 0.1 0]", NO_IMAGES),
        (MNIST, "problems", "[digits mlp 0.1 0, digits mlp 0.1 2]", "corrupt_share must be from 0 to 1 (mlp on digits), got 2.0."),
        (MNIST, "problems", "[digits mlp 0.1 0, digits lenet 0.1 0]", "lenet takes images (channels, height, width) of at least 12 x 12"),
        (MNIST, "training", "[digits mlp 0.1 20 200 0]", "'0' in 'digits mlp 0.1 20 200 0' must be a whole number of at least 1; 0 came."),
        (MNIST, "training", "[digits mlp 0.1 2.5 200 1]", "'2.5' in 'digits mlp 0.1 2.5 200 1' must be a whole number of at least 1"),
        (MNIST, "training", "[digits nope 0.1 20 200 1]", NO_MODEL),
        (MNIST, "training", "[digits mlp 0.1 20 1439 1]", "num_examples = 1,439 exceeds the 1,438 examples of digits, train"),
        (CIFAR, "dataset", "imdb", NO_IMAGES),
        (CIFAR, "model", "nope", NO_MODEL),
        (CIFAR, "second_model", "nope", NO_MODEL),
        (CIFAR, "augment", "flip", "unknown augmentation 'flip'. Did you mean 'crop_flip'? Valid: none, crop_flip, resized_crop_flip."),
        (CIFAR, "smoothing", "2", "label_smoothing must be from 0 to below 1 (fcn on fashion_mnist_small), got 2.0."),
        (CIFAR, "many_examples", "1", "fcn on gaussian_mixture needs 64 training examples at least, for its batches and clusters; 1 came."),
        (CIFAR, "many_examples", "0", "gaussian_mixture needs a number of examples, how many to compute; 0 came."),
        (CIFAR, "many_repeats", "1", "repeats must be a whole number of at least 2 (fcn on gaussian_mixture); 1 came."),
        (CIFAR, "momentum", "1", "momentum must be from 0 to below 1 (fcn on fashion_mnist_small), got 1.0."),
        (CIFAR, "second_examples", "100000000", MORE),
        (CIFAR, "num_steps", "3", "<= states_steps <= num_steps; got 1, 4, 8 and 3."),
        (FEATURES, "repeats", "1", "repeats must be a whole number of at least 2; 1 came."),
        (FEATURES, "refresh_every", "0", "refresh_every must be a whole number of at least 1; 0 came."),
        (FEATURES, "batch_size", "40", "h_s / overparametrisation must give 80 examples at least, for SG-2B; 60 / 1 came."),
        (FEATURES, "batch_sizes", "[64, 128]", "h_s / overparametrisation must give 64 examples at least"),
        (FEATURES, "input_dims", "[0]", "input_dims must be distinct positive numbers, got [0]."),
        (FEATURES, "deep_dataset", "imdb", NO_IMAGES),
        (FEATURES, "deep_steps", "10", "deep_steps must be a whole number of at least 20; 10 came."),
        (DUPLICATES, "dataset", "imdb", NO_IMAGES),
        (DUPLICATES, "model", "nope", NO_MODEL),
        (DUPLICATES, "repeats", "1", "repeats must be a whole number of at least 2 ("),
        (DUPLICATES, "features_repeats", "1", "features_repeats must be a whole number of at least 2; 1 came."),
        (DUPLICATES, "refresh_every", "0", "refresh_every must be a whole number of at least 1; 0 came."),
        (DUPLICATES, "update_every", "0", "update_every must be a whole number of at least 1; 0 came."),
        (DUPLICATES, "num_examples", "100000000", MORE),
    ],
)
def test_values_that_no_run_takes(page, parameter, value, message):
    page = find(page)
    with pytest.raises(SgdscopeError, match=re.escape(message)):
        page.experiment().configurations(**page.values("smoke", {parameter: value}))
