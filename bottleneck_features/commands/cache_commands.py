"""cache ls, verify, explain, gc, export, push, pull."""

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

import pipeline
from bottleneck_features.commands.command_files import digests_of_folder
from bottleneck_features.commands.command_options import (
    CACHE,
    DATA,
    FILE,
    LABELS,
    SPEC,
    examples,
    given,
    options,
)
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.safe_text import printable
from cache.arguments import at_home
from cache.digest_table import DigestTable
from cache.errors import UserError, log
from cache.files.atomic import require_writable

if TYPE_CHECKING:
    from cache.remote.selection import Transfer


def _bytes(text: str) -> int:
    """A number of bytes such as "20GB", "1.5 tb" or "1000000"."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])?b)?\s*", text.lower())
    if not found:
        raise click.BadParameter(f"{text!r} is no size: give one such as 20GB")
    return int(float(found[1]) * 1000 ** " kmgt".index(found[2] or " "))


@click.group()
def cache() -> None:
    """Look into the feature cache and look after it."""


@cache.command(epilog=examples("cache ls", "cache ls --json"))
@options(CACHE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(cache_dir: str | None, as_json: bool) -> None:
    """List the specs with their rows, shards and bytes."""
    from cache.upkeep.inventory import listing
    from featurize.pictures.hidden_parts import HIDDEN

    found = listing(cache_dir or pipeline.DEFAULT_CACHE)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    hidden = [spec for spec in found["specs"] if spec["spec"]["view"] in HIDDEN]
    for spec in found["specs"]:
        if spec not in hidden:
            print(f"{spec['rows']:>9} rows {spec['shards']:>5} shards {spec['bytes']:>13} bytes  {spec['folder']}")
    if hidden:
        rows, shards, size = (sum(spec[name] for spec in hidden) for name in ("rows", "shards", "bytes"))
        print(f"{rows:>9} rows {shards:>5} shards {size:>13} bytes  {len(hidden)} folders of heat maps by hiding parts")
    print(f"{found['rows']:>9} rows {found['shards']:>5} shards {found['bytes']:>13} bytes  in all")
    if (signatures := found["signatures"])["rows"]:
        print("{rows:>9} signatures, {bytes} bytes, by which near-duplicates are told".format(**signatures))


@cache.command(epilog=examples("cache verify", "cache verify --data photos --sample 100"))
@options(CACHE, DATA, SPEC)
@click.option(
    "--sample", type=click.IntRange(1), default=20, show_default=True, help="With --data: rows computed again."
)
def verify(sample: int, **chosen: Any) -> None:
    """Read and check every row; set damaged shards aside.

    Exits with status 1 if there were any.

    Files that only save time are made anew where they are damaged; that is no loss, nor is what killed runs have left.
    With --data, compute lost rows of that folder's images again, then some of the others, and compare.
    """
    from cache.shard_file import UnreadableShardError
    from cache.upkeep.inventory import verify as verify_cache
    from featurize.engines.converted import delete_damaged_graphs

    asked = given(chosen)
    cache_dir = asked.get("cache_dir", pipeline.DEFAULT_CACHE)
    found = verify_cache(cache_dir)
    print(f"{found.rows} rows in {found.shards} shards are whole, {len(found.damaged)} shards are damaged")
    for damage in found.damaged:
        lost = "an unknown number of" if damage.rows_lost is None else damage.rows_lost
        outcome = f"set aside, {lost} rows are lost: the next run computes them again"
        if isinstance(damage, UnreadableShardError):
            outcome = f"it stays there, with {lost} rows: look at the disk"
        _print_paths([damage.path], f"{damage.reason}; {outcome}")
    mended = [*found.mended, *delete_damaged_graphs(cache_dir)]
    _print_paths(mended, "missing or damaged: no loss, it is made anew")
    _print_paths(found.temporary, "left by a killed run, or being written; `cache gc` deletes what is left")
    _print_paths(found.set_aside, "set aside earlier; `cache gc` deletes it")
    same = True
    if "data" in asked:
        from featurize.extract.extractor import SAME_COSINE
        from featurize.pictures.find_images import find_images

        images = find_images(asked.pop("data")).images
        extractor = pipeline.open_extractor(**asked)
        if any(os.path.dirname(damage.path) in extractor.folders for damage in found.damaged):
            print(f"{extractor.run(images).computed} missing rows computed")
        count, difference, cosine = extractor.difference_to_network(images, sample)
        print(f"{count} rows computed again: largest difference {difference:.3g}, smallest cosine {cosine:.7f}")
        same = cosine >= SAME_COSINE
    sys.exit(1 if found.damaged or not same else 0)


@cache.command(epilog=examples("cache explain photos/cat/1.jpg", "cache explain --size 160 photos/cat/1.jpg"))
@options(CACHE, SPEC)
@click.argument("path", type=at_home)
def explain(path: str, **chosen: Any) -> None:
    """Say whether a file is cached, and if not, why.

    Either a field of the spec differs, or the bytes of the file have changed.
    """
    from cache.row_key import content_digest
    from cache.upkeep.explain import explain as explain_file
    from featurize.extract.writable import open_table
    from featurize.joined_options import specs_of
    from featurize.pictures.find_images import ImageError
    from featurize.pictures.sources import read

    try:
        digest = content_digest(read(path))
    except ImageError as error:
        raise UserError(f"{path}: {error}") from None
    asked: Any = given(chosen)
    table = open_table(cache_dir := asked.pop("cache_dir", pipeline.DEFAULT_CACHE))
    for spec in specs_of(table, asked):
        for line in explain_file(path, digest, table.last_known(path), spec, cache_dir):
            print(printable(line))


@cache.command(epilog=examples("cache gc", "cache gc --data photos --dry-run", "cache gc --data photos --yes"))
@options(CACHE, DATA)
@click.option("--shard-rows", type=click.IntRange(1), help="Merge small shards up to this many rows.")
@click.option("--dry-run", is_flag=True, help="Print what would go, and change nothing.")
@click.option("--yes", is_flag=True, help="With --data: drop rows without asking.")
def gc(cache_dir: str | None, data: str | None, shard_rows: int | None, dry_run: bool, yes: bool) -> None:
    """Delete leftovers, merge small shards.

    Also deletes graphs of no use, and forgets the digests and thumbnails of files that are gone.

    With --data, drop the rows of all images that are not in that folder: what would go is printed, and goes with --yes,
    or after a question on a terminal. Rows of pictures that cannot be read stay."""
    from cache.digest_table import ReadOnlyTable
    from cache.store import SHARD_ROWS
    from cache.upkeep.inventory import collect_garbage, leftovers_of, listing, rows_to_drop
    from featurize.engines.converted import delete_useless_graphs, useless_graphs
    from featurize.pictures.kept_thumbnails import drop_others

    cache_dir = cache_dir or pipeline.DEFAULT_CACHE
    table = ReadOnlyTable(cache_dir) if dry_run else DigestTable(cache_dir)
    keep = digests_of_folder(data, table) if data else None
    dropped = rows_to_drop(cache_dir, keep) if keep is not None else []
    for folder, rows, of_all in dropped:
        print(f"{rows} of {of_all} rows in {printable(folder)}: their pictures are not in {printable(data or '')}")
    if dropped and sum(rows for _, rows, _ in dropped) == listing(cache_dir)["rows"]:
        raise UserError(
            f"no picture in {data} has a row in the cache {cache_dir}: nothing is done. Is it the right folder? "
            "To drop every row, delete the cache"
        )
    if dry_run:
        _print_paths([*leftovers_of(cache_dir), *useless_graphs(cache_dir)], "left over, or of no use")
        print(f"the digests of {len(table.gone())} files that are gone")
        return
    if dropped and not yes and not (sys.stdin.isatty() and click.confirm("Drop these rows?")):
        raise UserError(f"nothing is done: give --yes to drop {sum(rows for _, rows, _ in dropped)} rows")
    gone = collect_garbage(cache_dir, shard_rows or SHARD_ROWS, keep)
    graphs = delete_useless_graphs(cache_dir)
    table.forget(forgotten := table.gone())
    thumbnails = drop_others(cache_dir, table.digests())
    print(
        f"deleted {gone['files']} leftover files, {graphs} graphs of no use, {thumbnails} thumbnails and "
        f"{gone['rows']} rows, {gone['shards']} shards fewer; "
        f"forgot the digests of {len(forgotten)} files that are gone"
    )


@cache.command(
    epilog=examples(
        "cache export --data photos --output features.h5", "cache export --data photos --output features.parquet"
    )
)
@options(DATA, SPEC, LABELS, CACHE)
@click.option("--output", **FILE, required=True, help="File to write: HDF5, or Parquet (.parquet).")
def export(output: str, **chosen: Any) -> None:
    """Write features, labels and paths into one HDF5 or Parquet file.

    They are those of the images in a folder, without other views of them.

    Without --data and --labels: of photographs that come with scikit-image.
    """
    asked = given(chosen)
    require_writable(output)  # features may take hours
    rows, failures = pipeline.export(asked.pop("data", None), output, **asked)
    print(f"{rows} rows written to {printable(output)}" + (f", {failures} images failed" if failures else ""))


SELECTION = [
    click.option("--backbone", metavar="NAME", help="Rows of this backbone alone."),
    click.option("--fingerprint", metavar="HEX", help="Rows of the spec whose fingerprint begins so, alone."),
    click.option("--dry-run", is_flag=True, help="Print what would be copied, and change nothing."),
]
ADDRESS = click.argument("address", metavar="ADDRESS", type=at_home)


@cache.command(epilog=examples("cache push s3://bucket/features", "cache push /mnt/nas/features --backbone nano"))
@options(CACHE, SELECTION)
@click.option("--check", is_flag=True, help="Also read every object there; those that are damaged are replaced.")
@click.option("--merge", is_flag=True, help="Also merge small objects there, and delete doubles.")
@ADDRESS
def push(address: str, cache_dir: str | None, **chosen: Any) -> None:
    """Copy rows to object storage or a mounted folder.

    Those that are there already are not copied again. Exits with status 1 if something there or here is damaged. What
    ends early goes on where it was.
    """
    from cache.remote.push import push as push_rows

    with progress_reporter() as report:
        done = push_rows(cache_dir or pipeline.DEFAULT_CACHE, address, **chosen, on_progress=report)
    _print_transfer(done, "pushed", chosen["dry_run"])


@cache.command(epilog=examples("cache pull s3://bucket/features", "cache pull s3://bucket/features --most 20GB"))
@options(CACHE, SELECTION)
@click.option("--most", type=_bytes, metavar="SIZE", help="Disk that it may take, such as 20GB. [what is free]")
@ADDRESS
def pull(address: str, cache_dir: str | None, **chosen: Any) -> None:
    """Copy rows from object storage or a mounted folder.

    Those that the cache has already are not copied again. Exits with status 1 if something there is damaged. What
    ends early goes on where it was.
    """
    from cache.remote.pull import pull as pull_rows

    with progress_reporter() as report:
        done = pull_rows(cache_dir or pipeline.DEFAULT_CACHE, address, **chosen, on_progress=report)
    if done.left:
        log.warning("%d rows stay where they are: they do not fit into --most", done.left)
    _print_transfer(done, "pulled", chosen["dry_run"])


def _print_transfer(done: "Transfer", verb: str, dry_run: bool) -> NoReturn:
    verb = f"would be {verb}" if dry_run else verb
    for folder, objects, rows, size in done.folders:
        print(f"{rows:>9} rows {objects:>5} objects {size:>13} bytes  {printable(folder)}")
    print(f"{done.rows:>9} rows {done.objects:>5} objects {done.bytes:>13} bytes  {verb}")
    if done.fewer:
        print(f"{done.fewer} objects fewer there")
    sys.exit(1 if done.damaged else 0)


def _print_paths(paths: list[str], about: str) -> None:
    for path in paths:
        print(f"  {printable(f'{path}: {about}')}")
