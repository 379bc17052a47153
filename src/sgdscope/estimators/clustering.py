"""Gradient clustering: stratified sampling over clusters of the gradients themselves (Faghri et al. 2020, Sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, unknown_name, whole
from sgdscope.estimators.checks import augmented, check_augment, check_generator, check_keep, check_model, check_share, check_switch
from sgdscope.estimators.factored import factored_lloyd
from sgdscope.estimators.identity import RefreshedOn
from sgdscope.estimators.lloyd import weighted_lloyd
from sgdscope.estimators.network import NetworkCentres
from sgdscope.estimators.partition import Assigner, Clustering, check_fits, check_options
from sgdscope.estimators.sampled import Augment, Sampled
from sgdscope.estimators.selection import check_layers, check_used, chosen
from sgdscope.estimators.stratified import Strata
from sgdscope.gradients import PerExampleGradients
from sgdscope.gradients.budget import MEMORY
from sgdscope.models.examples import Examples, device_of, num_examples, take
from sgdscope.models.losses import Loss

CENTRES = ("gram", "rank1", "svd")


class GradientClustering(Sampled):
    """One example from each of K clusters of per-example gradients, weighted by ``N_k / N`` (Eq. 1); `refresh` clusters.

    Unbiased whatever the clusters are. The clusters lower ``sum_k N_k sum_{i in k} |C_k - g_i|^2`` (Eq. 2), N^2 times the trace of the covariance
    over the coordinates that count for the distances.
    A later `refresh` on the same model and data begins with the clusters of the last one. Clusters that stay empty (fewer than K
    distinct gradients) are left out of the draws. Between refreshes `update` moves clusters by mini-batches, at the cost of these.

    Args:
        num_clusters: K.
        batch_size: examples of an estimate; K, since each cluster gives one. Fewer where clusters are empty, as an `update` may leave them.
        centres: ``gram``, exact centres from the (N, N) Gram matrix; ``rank1``, one pair of vectors a cluster and weight (Eq. 5, 6);
            ``svd``, the best centres of rank ``rank``. Low rank is for linear and convolutional layers; other parameters (embeddings,
            norms, biases) have whole centres, K times their size.
        rank: of ``svd``.
        steps: assignments at a refresh; the paper takes 10 on MNIST and 3 elsewhere ("GC T").
        sizes: N_k in the assignment: ``running`` (authors' code), ``previous`` (paper; unstable, see `weighted_lloyd`) or ``none`` (plain k-means).
        refill: how many empty clusters are refilled at each step: ``all``, ``one`` (authors' code) or ``none``.
        pass_batch: after how many examples ``running`` counts are brought up to date. With N at most that, a pass is plain k-means.
        layers: names of modules or parameters, or patterns of whole names such as ``"*conv*"``, whose gradients count for the distances;
            all by default.
        biases: whether parameters of one dimension (biases, scales of norms) count; the authors' code leaves them out.
        share: of the examples that a later refresh works on, a random part; the rest keeps its clusters and counts in their sizes.
            The first refresh, or one on another model or data, takes all; so does every one with ``warm=False``.
        warm: begin with the last clusters.
        augment: ``augment(x, generator)`` on the drawn examples; clusters are of one augmented copy of the data. Not with ``gram``.
        memory: bytes for factors of per-example gradients, and for the Gram matrix: with 1 GiB N is at most 16,384 in float32.

    Attributes:
        clustering: what the last `refresh` found, with its objective by step; None before, and after `restore`.
        partition: (N,) the clusters as they are now, after updates as well; None before the first refresh.

    Raises:
        InvalidInput: numbers below 1, a share that is not above 0 and at most 1, K above N, a batch size that is not K, a rank or an
            augmentation that the centres do not allow, a layer that matches nothing; use before `refresh`, or on another model or data.
        NotFound: an unknown option.
    """

    def __init__(
        self,
        num_clusters: int = 128,
        batch_size: int | None = None,
        *,
        centres: str = "gram",
        rank: int = 1,
        steps: int = 10,
        sizes: str = "running",
        refill: str = "all",
        pass_batch: int = 32,
        layers: Sequence[str] | None = None,
        biases: bool = True,
        share: float = 1.0,
        warm: bool = True,
        augment: Augment | None = None,
        memory: int = MEMORY,
    ):
        num_clusters, rank, steps = whole("num_clusters", num_clusters), whole("rank", rank), whole("steps", steps)
        pass_batch, memory = whole("pass_batch", pass_batch), whole("memory", memory)
        check_options(sizes=sizes, refill=refill)
        if batch_size not in (None, num_clusters) or isinstance(batch_size, bool):
            raise InvalidInput(
                f"batch_size must be num_clusters, {num_clusters}, for each cluster gives one example; {batch_size!r} came. Leave it out."
            )
        if centres not in CENTRES:
            raise unknown_name("centres", str(centres), CENTRES)
        check_augment(augment)
        check_switch("biases", biases)
        check_switch("warm", warm)
        if rank != 1 and centres != "svd":
            raise InvalidInput(f"centres {centres!r} have no rank to choose; rank {rank} came. Use centres='svd'.")
        if augment is not None and centres == "gram":
            raise InvalidInput(
                "exact centres are of fixed per-example gradients; an augmentation came. Use centres='rank1', or leave it out."
            )
        self.num_clusters = self.batch_size = num_clusters
        self.centres, self.rank, self.steps, self.sizes, self.refill, self.pass_batch = centres, rank, steps, sizes, refill, pass_batch
        self.layers, self.biases = check_layers(layers), biases
        self.share, self.warm, self.augment, self.memory = check_share(share), warm, augment, memory
        self.clustering: Clustering | None = None
        self.partition: Tensor | None = None
        self._strata: Strata | None = None
        self._on: RefreshedOn | None = None
        self._network: NetworkCentres | None = None
        self._moved = False

    def refresh(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> None:
        """Clusters the gradients at the present parameters.

        Begins with the clusters of the last refresh, by their members' present gradients; after an `update` with the centres that it
        moved, which saves this pass. With a ``share`` below 1 only a random part of the data is assigned anew.

        Raises:
            InvalidInput: more clusters than examples; a Gram matrix beyond ``memory``; what `PerExampleGradients.of` refuses, batch norm in
                training mode among it.
        """
        check_generator(generator)
        check_model(model)
        number = num_examples(x, y)
        check_fits(self.num_clusters, number)
        names = self.parameters(model)
        on = RefreshedOn(model, x, y)
        start = self.partition if self.warm and self._on is not None and self._on.problem(model, x, y) is None else None
        index = outside = None
        if start is not None and self.share < 1:
            index = torch.randperm(number, generator=generator, device=generator.device)[: ceil(self.share * number)].to(start.device)
            outside = torch.bincount(start, minlength=self.num_clusters) - torch.bincount(start[index], minlength=self.num_clusters)
            x, y = take(x, index.to(device_of(x))), take(y, index.to(device_of(x)))
        self._check_memory(num_examples(x, y), model)
        x = augmented(self.augment, x, generator)
        shared = {"steps": self.steps, "sizes": self.sizes, "refill": self.refill, "pass_batch": self.pass_batch, "generator": generator}
        shared |= {"start": start if index is None else start[index], "outside": outside}
        if self.centres == "gram":
            exact = PerExampleGradients.of(model, loss, x, y, memory=self.memory)
            check_used(names, next(exact.factors())[1])
            found = weighted_lloyd(exact.gram(parameters=names), self.num_clusters, **shared)
        else:

            def gradients(index: Tensor | None) -> PerExampleGradients:
                return self._gradients(model, loss, *((x, y) if index is None else (take(x, index), take(y, index))))

            network = self._centres(names)
            if start is not None and self._moved:
                network.restore(self._network.state())
            found = factored_lloyd(gradients, self.num_clusters, centres=network, **shared)
            self._network = network
        if index is not None:
            assignment = start.to(found.assignment.device, copy=True)
            assignment[index.to(assignment.device)] = found.assignment
            found = replace(found, assignment=assignment, sizes=torch.bincount(assignment, minlength=self.num_clusters))
        self.clustering, self._on, self._moved = found, on, False
        self._take_up(found.assignment)

    def update(
        self,
        model: nn.Module,
        loss: Loss,
        x: Examples,
        y: Examples,
        *,
        num_examples: int = 128,
        keep: float = 1.0,
        reassign: bool = True,
        generator: torch.Generator,
    ) -> int:
        """Moves the centres by the gradients of a mini-batch at the present parameters, without a pass over the data (Sec. 3.2, B.2).

        Draws ``num_examples`` at random. Each joins the cluster of the nearest centre by the rule ``sizes`` (the rest of the data in its
        clusters), or stays where it is if ``reassign`` is off. Then the centres of these clusters become running means with counts v_k:
        ``C_k <- (keep v_k C_k + sum_i g_i) / (keep v_k + n_k)``, n_k the batch's examples in k; v_k begins with the sizes of the last refresh. The
        next refresh begins with these centres. A cluster that loses its last example gives none until a refresh refills it.

        Args:
            model: where it was refreshed.
            loss: of single examples, as for `refresh`.
            x: all N examples.
            y: their targets.
            num_examples: of the batch, at most N.
            keep: from 0 (the mean of the batch alone) to 1 (of all gradients since the refresh; they age as the parameters move).
            reassign: whether the examples of the batch may change their cluster.
            generator: of the batch, and of the augmentation.

        Returns:
            How many examples changed their cluster.

        Raises:
            InvalidInput: centres ``gram``, which are not kept; use before `refresh`, or on another model or data; a batch or ``keep`` out of range.
        """
        number = self.check(model, loss, x, y)
        if self.centres == "gram":
            raise InvalidInput(
                "centres 'gram' are means over all members and are not kept, so a batch cannot move them. Use 'rank1' or 'svd'."
            )
        check_generator(generator)
        if whole("num_examples", num_examples) > number:
            raise InvalidInput(
                f"num_examples must be at most the number of examples; {num_examples} came for {number}. Pass num_examples={number} or less."
            )
        check_keep(keep)
        index = torch.randperm(number, generator=generator, device=generator.device)[:num_examples].to(device_of(x))
        batch = take(x, index)
        gradients = self._gradients(model, loss, augmented(self.augment, batch, generator), take(y, index))
        partition = self.partition.to(gradients.device, copy=True)
        index = index.to(gradients.device)
        before = partition[index]
        if reassign:
            sizes, given = (torch.bincount(of, minlength=self.num_clusters) for of in (partition, before))
            alive = (self._network.counts.to(sizes.device) > 0) & (sizes > 0)
            partition[index] = self._network.assign(gradients, Assigner(self.sizes, given, alive, self.pass_batch, sizes - given))
        self._network.move(gradients, partition[index], keep=keep)
        self._moved = True
        self._take_up(partition)
        return int((partition[index] != before).sum())

    def _gradients(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> PerExampleGradients:
        return PerExampleGradients.of(model, loss, x, y, memory=self.memory, form="factored")

    def _centres(self, names: Sequence[str]) -> NetworkCentres:
        return NetworkCentres(self.num_clusters, names, rule="mean" if self.centres == "rank1" else "svd", rank=self.rank)

    def _check_memory(self, number: int, model: nn.Module) -> None:
        size = number**2 * next(model.parameters()).element_size()
        if self.centres == "gram" and size > self.memory:
            raise InvalidInput(
                f"the Gram matrix of {number} examples takes {size / 2**30:.3g} GiB, memory allows {self.memory / 2**30:.3g}. "
                "Use centres='rank1', or raise memory."
            )

    def parameters(self, model: nn.Module) -> list[str]:
        """Names of the parameters whose gradients count for the distances.

        Raises:
            InvalidInput: a layer that matches none, or nothing left.
        """
        return chosen(model, self.layers, self.biases)

    def _take_up(self, partition: Tensor) -> None:
        self.partition, self._strata = partition, Strata(partition)

    def options(self) -> dict[str, object]:
        """All but augmentation and memory."""
        names = ("num_clusters", "centres", "rank", "steps", "sizes", "refill", "pass_batch", "layers", "biases", "share", "warm")
        return {name: getattr(self, name) for name in names}

    def check(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> int:
        """N, if it was refreshed on these; with another loss the clusters fit less well, and the estimate stays unbiased."""
        if self._on is None:
            raise InvalidInput("GradientClustering has no clusters yet. Call refresh(model, loss, x, y, generator=...) first.")
        self._on.check(model, x, y)
        return super().check(model, loss, x, y)

    def draw(self, number: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One member of each cluster, with weights ``N_k / N``."""
        return self._fitted().draw(check_generator(generator))

    def outcomes(self, number: int) -> tuple[Tensor, Tensor]:
        """All ``prod_k N_k`` choices, up to a million."""
        return self._fitted().outcomes()

    def _fitted(self) -> Strata:
        if self._strata is None:
            raise InvalidInput("GradientClustering has no clusters yet. Call refresh(model, loss, x, y, generator=...) first.")
        return self._strata

    def state(self) -> dict[str, object]:
        """The clusters, their centres where these are kept, and what they are of."""
        on = None if self._on is None else self._on.state()
        centres = None if self._network is None else self._network.state()
        return super().state() | {"on": on, "partition": self.partition, "centres": centres, "moved": self._moved}

    def restore(self, state: dict[str, object]) -> None:
        """Take up a `state`."""
        super().restore(state)
        self._check_state(state, "on", "partition", "centres", "moved")
        self.clustering = self._strata = self.partition = None
        self._on = None if state["on"] is None else RefreshedOn.restored(state["on"])
        if state["partition"] is not None:
            self._take_up(state["partition"])
        self._network, self._moved = None, bool(state["moved"])
        if state["centres"] is not None:
            self._network = self._centres(state["centres"]["parameters"])
            self._network.restore(state["centres"])
