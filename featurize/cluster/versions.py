"""What has to be the same wherever rows of one cache are computed."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from cache.errors import UserError
from featurize.decoding.decode import DECODER
from featurize.extract.network_extractor import NetworkExtractor


def project_versions() -> dict[str, str]:
    """Those of this project, which decide whether it understands a task at all."""
    try:
        own = version("bottleneck-features")
    except PackageNotFoundError:
        own = "not installed"  # run from its folder
    return {"bottleneck-features": own, "decoder": str(DECODER)}


def engine_versions(parts: Sequence[NetworkExtractor]) -> dict[str, str]:
    """The engine of each network, and the versions of the libraries that may change its rows."""
    found: dict[str, str] = {}
    for part in parts:
        for library, its in part.engine.provenance.items():
            found[library] = its if found.get(library, its) == its else f"{found[library]}+{its}"
    return found


def check_versions(here: Mapping[str, str], run: Mapping[str, str]) -> None:
    """Raise UserError, naming both, where a worker has other versions than the run that it works for."""
    other = [library for library in here if here[library] != run.get(library)]
    if other:
        theirs = ", ".join(f"{library} {here[library]}" for library in other)
        ours = ", ".join(f"{library} {run.get(library, 'none')}" for library in other)
        raise UserError(f"it has {theirs}, this run has {ours}: install the same versions on both")
