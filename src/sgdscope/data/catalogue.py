"""Which data sets can be loaded here. Reads file headers only: no decoding, no network, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sgdscope.data import locate
from sgdscope.data.registry import SPECS, Spec
from sgdscope.errors import SgdscopeError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One data set, as it is on this machine.

    Attributes:
        name: for `load_dataset`.
        place: "the package", "scikit-learn", "computed", "SGDSCOPE_DATA", "datasets cache", "hub cache"; "hub" if it would have to be
            downloaded; "absent" if the hub has none either; "damaged".
        source: folder, hub name, or what is wrong.
        examples: split -> number of examples there; None where as many are computed as asked for, and for what is not here.
        published: split -> number of examples of the complete split.
        complete: whether all published examples are here; None for what is not here.
        licence: as far as it is known.
        note: what to know before using it in place of another.
    """

    name: str
    place: str
    source: str
    examples: Mapping[str, int | None]
    published: Mapping[str, int | None]
    complete: bool | None
    licence: str
    note: str

    @property
    def here(self) -> bool:
        """Whether it loads without a network."""
        return self.place not in ("hub", "absent", "damaged")


def describe() -> tuple[Entry, ...]:
    """All data sets and where `load_dataset` would take each from."""
    return tuple(_describe(spec) for spec in SPECS.values())


def available() -> tuple[str, ...]:
    """Names of the data sets that load without a network."""
    return tuple(entry.name for entry in describe() if entry.here)


def _describe(spec: Spec) -> Entry:
    published = {name: split.examples for name, split in spec.splits.items()}
    examples: dict[str, int | None] = dict(published)
    complete: bool | None = True
    if spec.kind == "computed":
        place = source = "scikit-learn" if spec.name == "digits" else "computed"
    else:
        try:
            found = {split: locate.find(spec, split)[0] for split in spec.splits}
            examples = {split: locate.count(files) if files else None for split, files in found.items()}
            first = next((files for files in found.values() if files), None)
            if first:
                place, source = first.place, str(first.files[0].parent)
                complete = all(examples[split] is not None and examples[split] >= published[split] for split in spec.splits)
            else:
                place, source = ("hub", ", ".join(spec.hub)) if spec.hub else ("absent", "provide the files")
                complete = None
        except SgdscopeError as error:
            place, source, complete, examples = "damaged", str(error), None, dict.fromkeys(published)
    return Entry(
        name=spec.name, place=place, source=source, examples=examples, published=published, complete=complete,
        licence=spec.licence, note=spec.note,
    )  # fmt: skip
