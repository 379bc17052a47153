"""The hub as the last resort: a cheap probe first, then a download into the ``datasets`` cache."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from sgdscope.data.locate import Found
from sgdscope.data.registry import Spec, get_split
from sgdscope.errors import NotFound

PROBE_SECONDS = 3.0  # without a network `datasets` alone retries for 25 s


def download(spec: Spec, split: str) -> tuple[Found | None, str]:
    """Fetch a data set from the hub, if that is possible here.

    Returns:
        The files in the ``datasets`` cache and ""; or None and one line that says why not. Never raises for a missing network, a missing
        package or a refusal by the hub.
    """
    if spec.hub is None:
        return None, f"hub: {spec.name} is not there"
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return None, f"hub: not tried, {variable} is set"
    try:
        from huggingface_hub import constants
    except ImportError:
        return None, "hub: the package 'datasets' is not installed (pip install sgdscope[hub])"
    if not reachable(constants.ENDPOINT):
        return None, f"hub: no connection within {PROBE_SECONDS:g} s"
    repository, configuration = spec.hub
    try:
        import datasets

        loaded = datasets.load_dataset(repository, configuration, split=get_split(spec, split).stored_as)
    except ImportError:
        return None, "hub: the package 'datasets' is not installed (pip install sgdscope[hub])"
    except Exception as error:  # the hub's refusals, broken downloads and library errors have no common type
        return None, f"hub: {repository} failed with {type(error).__name__}: {(str(error).strip() or '(no message)').splitlines()[0]}"
    files = tuple(Path(entry["filename"]) for entry in loaded.cache_files)
    return (Found("hub", files, "arrow"), "") if files else (None, f"hub: {repository} came without files")


def reachable(endpoint: str, *, timeout: float = PROBE_SECONDS) -> bool:
    """Whether a TCP connection to the endpoint (or to the proxy set for it) opens within ``timeout`` seconds, name resolution included."""
    url = urlsplit(endpoint)
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=timeout).close()
            opened.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)  # name resolution takes no timeout of its own
    thread.start()
    thread.join(timeout)
    return opened.is_set()


def not_found(spec: Spec, split: str, tried: list[str]) -> NotFound:
    """The error that says where a data set was looked for and the ways to provide it."""
    stored_as = get_split(spec, split).stored_as
    ways = [
        f"set SGDSCOPE_DATA to a folder that holds {spec.name}/{stored_as}-00000-of-00001.parquet (Hugging Face layout: columns "
        f"{', '.join(spec.inputs)}, {spec.label})"
    ]
    if spec.hub:
        repository, configuration = spec.hub
        ways += [
            "fill the datasets cache on a machine with a network, and copy it here or point HF_DATASETS_CACHE to it: "
            f'python -c "from datasets import load_dataset; load_dataset({repository!r}, {configuration!r})"',
            "with a network, let the hub be used: pip install sgdscope[hub], HF_HUB_OFFLINE unset",
        ]
    lines = [f"no data for {spec.name!r}, split {split!r}. Tried:"]
    lines += [f"  - {line}" for line in tried]
    lines += ["To provide it, do one of these:" if len(ways) > 1 else "To provide it:"]
    lines += [f"  {number}. {way}" for number, way in enumerate(ways, 1)]
    lines += ["Always there without a network: fashion_mnist_small, digits, gaussian, random_features."]
    return NotFound("\n".join(lines))
