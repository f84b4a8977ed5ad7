"""The command line as people use it, rightly and wrongly: exit codes, what goes to stdout, what goes to stderr."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from conftest import BUNDLED, SPEC

from bottleneck_features.commands.command_files import existing_paths
from cache.digest_table import DigestTable
from cache.shard_file import open_shard
from cache.store import FeatureStore

OPTIONS = [word for name, value in SPEC.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(warm_cache, tmp_path / "cache"))


@pytest.fixture
def model(run, surfaces: Path, cache: Path, tmp_path: Path) -> Path:
    path = tmp_path / "m.joblib"
    assert run("train", "--data", surfaces, "--model", path, "--cache-dir", cache, *OPTIONS)[0] == 0
    return path


def test_features_reports_in_numbers_and_json(run, surfaces: Path, cache: Path, tmp_path: Path) -> None:
    status, out, err = run(
        "features", "--data", surfaces, "--cache-dir", cache, "--json", tmp_path / "r.json", *OPTIONS
    )
    assert status == 0 and "images 36: computed 0, cached 36, failed 0; forward passes 0" in out
    assert "36 pictures: brick 12, grass 12, gravel 12" in err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["computed"] + report["cached"] + report["failed"] == report["images"] == 36
    assert report["failures"] == [] and report["forward_passes"] == 0
    assert report["seconds"] >= 0 and report["startup_seconds"] >= 0


def test_train_prints_scores_and_saves_them(run, surfaces: Path, cache: Path, tmp_path: Path) -> None:
    model = tmp_path / "my model.joblib"
    words = ("--head", "ridge", "--cv", 3, "--search", "--json", tmp_path / "r.json", "--model", model)
    status, out, _ = run("train", "--data", surfaces, "--cache-dir", cache, *words, *OPTIONS)
    assert status == 0
    for shown in ("accuracy", "95% interval", "baseline", "log loss", "precision", "taken for class", "search: 5"):
        assert shown in out
    assert "cross-validation in 3 folds" in out
    assert f'next: python -m pipeline predict --model "{model}" --images FOLDER' in out
    report = json.loads((tmp_path / "r.json").read_text())
    needed = {
        "accuracy",
        "classes",
        "confusion_matrix",
        "log_loss",
        "baseline_accuracy",
        "leaked",
        "cv_accuracy",
        "cv_std",
    }
    assert needed <= set(report) and report["cv_accuracy"] is not None
    assert [len(row["scores"]) for row in report["search"]] == [5] * 5 and len(report["cv_search"]) == 3
    (header,) = [number for number, line in enumerate(out.splitlines()) if line.split()[:3] == ["alpha", "score", "+-"]]
    table = [line.split() for line in out.splitlines()[header + 2 : header + 7]]
    assert "scored by neg_log_loss" in out and report["scoring"] == "neg_log_loss"
    assert [line[0] for line in table].count("*") == 1
    ranked = sorted(report["search"], key=lambda row: -row["score"])
    for row, shown in zip(ranked, table, strict=True):
        values = [row["params"]["alpha"], row["score"], row["std"], row["accuracy"], *row["scores"]]
        assert [float(value) for value in shown if value != "*"] == pytest.approx(values, abs=1e-4)
        assert (shown[0] == "*") == row["chosen"]
    with open(tmp_path / "my model.search.csv", newline="") as file:
        assert len([*csv.reader(file)]) == 1 + 4 * 5


def test_predict_prints_csv_on_stdout_and_nothing_else(run, surfaces: Path, model: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted",\nbroken name.png'
    shutil.copy(BUNDLED / "coins.png", odd)
    known = surfaces / "grass" / "grass.0.png"
    status, out, err = run("predict", "--model", model, "--images", known, odd)
    rows = list(csv.reader(io.StringIO(out)))
    assert status == 0 and rows[0] == ["path", "label", "probability", "margin"]
    assert [row[0] for row in rows[1:]] == [str(known), str(odd)]
    assert rows[1][1] in ("brick", "grass", "gravel") and 1 / 3 < float(rows[1][2]) <= 1
    assert "Traceback" not in err
    assert len(list(csv.reader(io.StringIO(run("predict", "--model", model, "--top-k", 2, surfaces)[1])))) == 1 + 72


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["features", "--data", "no such folder"], "no such folder"),
        (["features", "--data", "{empty}"], "no image"),
        (["train", "--data", "no such folder", "--weights", "nowhere.h5"], "no such folder"),
        (["features", "--data", "{data}", "--backbone", "resnet"], "resnet50_v2"),
        (["features", "--data", "{data}", "--pooling", "mean"], "flatten"),
        (["features", "--data", "{data}", "--size", "-3"], "-3"),
        (["features", "--data", "{data}", "--shard-rows", "0"], "shard-rows"),
        (["features", "--data", "{data}", "--colour", "red"], "--colour"),
        (["train", "--data", "{data}", "--head", "forest"], "logreg"),
        (["train", "--data", "{data}", "--head-params", "C:1"], "key=value"),
        (["train", "--data", "{data}", "--head-params", "D=1"], "'D'"),
        (["train", "--data", "{data}/grass"], "label"),
        (["train", "--data", "{data}", "--cv", "99", "--model", "{empty}/m.joblib"], "99"),
        (["train", "--data", "{data}", "--label-pattern", "("], "regular expression"),
        (["train", "--data", "{data}", "--labels", "none.csv"], "none.csv"),
        (["evaluate", "--data", "{data}", "--model", "none.joblib"], "none.joblib"),
        (["predict", "--model", "{model}", "gone.jpg"], "gone.jpg"),
        (["predict", "--model", "{model}", "--heatmap", "", "{data}"], "--heatmap': it is empty"),
        (["predict", "--model", "{model}", "--output", "", "{data}"], "--output': it is empty"),
        (["compare", "--data", "{data}", "--answers", ""], "--answers': it is empty"),
        (["predict", "--model", "{model}", "--pooling", "max", "{data}"], "trained with pooling avg"),
        (["predict", "--model", "{model}", "--size", "224", "{data}"], "trained with size 96x96"),
        (["predict", "--model", "{model}", "--head", "svm", "{data}"], "logreg"),
        (["evaluate", "--data", "{data}", "--model", "{model}", "--backbone", "vgg16"], "trained with backbone nano"),
        (["cache", "explain", *OPTIONS, "gone.jpg"], "gone.jpg"),
        (["transmogrify"], "transmogrify"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    run, surfaces: Path, cache: Path, model: Path, tmp_path: Path, words: list[str], shown: str
) -> None:
    (tmp_path / "empty").mkdir()
    names = {"data": surfaces, "model": model, "empty": tmp_path / "empty"}
    words = [word.format(**names) if "{" in word else word for word in words]
    if words[0] in ("features", "train"):
        words[1:1] = ["--cache-dir", str(cache), *OPTIONS]  # the later ones of an option count
    status, out, err = run(*words)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2 and out == "" and len(errors) == 1 and shown in errors[0], (status, out, err)


@pytest.mark.parametrize(
    "words", [[], ["cache"], *([name] for name in ("demo", "features", "train", "evaluate", "predict"))]
)
def test_every_command_explains_itself(run, words: list[str]) -> None:
    status, out, _ = run(*words, "--help")
    assert status == 0 and "Usage: python -m pipeline" in out
    if words and words != ["cache"]:
        assert "Examples:" in out


@pytest.mark.parametrize("words", [[], ["cache"]])
def test_summaries_of_commands_are_whole(run, words: list[str]) -> None:
    summaries = run(*words, "--help")[1].partition("Commands:\n")[2].splitlines()
    assert len(summaries) > 4 and not [line for line in summaries if not line.endswith((".", "?"))]
    assert not [line for line in summaries if line.endswith("...")]


def test_no_command_at_all_shows_the_help(run) -> None:
    for words in ((), ("cache",)):
        status, _, err = run(*words)
        assert status == 2 and "Commands:" in err and "error: " not in err


@pytest.mark.parametrize("name", ["ls", "verify", "explain", "gc", "export"])
def test_every_cache_command_explains_itself(run, name: str) -> None:
    status, out, _ = run("cache", name, "--help")
    assert status == 0 and "Examples:" in out and "--cache-dir" in out


def test_cache_ls_counts_and_a_missing_cache_is_empty(run, cache: Path, tmp_path: Path) -> None:
    found = json.loads(run("cache", "ls", "--json", "--cache-dir", cache)[1])
    assert (found["rows"], found["shards"]) == (36, 1) and found["bytes"] > 36 * 1280 * 4
    status, out, _ = run("cache", "ls", "--json", "--cache-dir", tmp_path / "none")
    assert status == 0 and {name: json.loads(out)[name] for name in ("rows", "shards", "bytes")} == {
        "rows": 0, "shards": 0, "bytes": 0
    }  # fmt: skip


def test_cache_explain_names_the_field_that_differs_or_the_changed_bytes(run, photos: Path, cache: Path) -> None:
    path = photos / "grass" / "grass.0.png"
    words = ("--cache-dir", cache, path)
    assert ": cached in" in run("cache", "explain", *OPTIONS, *words)[1]
    out = run("cache", "explain", *OPTIONS, "--pooling", "max", *words)[1]
    assert "not cached" in out and "pooling differs: cached 'avg', asked for 'max'" in out
    run("features", "--data", photos, "--cache-dir", cache, *OPTIONS)
    shutil.copy(BUNDLED / "moon.png", path)
    assert "its bytes have changed" in run("cache", "explain", *OPTIONS, *words)[1]


def test_cache_verify_finds_damage_and_computes_rows_again(run, surfaces: Path, cache: Path) -> None:
    status, out, _ = run("cache", "verify", "--cache-dir", cache, "--data", surfaces, "--sample", 5, *OPTIONS)
    assert status == 0 and "36 rows in 1 shards are whole" in out and "5 rows computed again" in out
    (shard,) = cache.glob("*/*.h5")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 16
    shard.write_bytes(data)
    status, out, _ = run("cache", "verify", "--cache-dir", cache)
    assert status == 1 and "1 shards are damaged" in out and str(shard) in out


def test_cache_verify_with_data_computes_lost_rows_at_once(run, surfaces: Path, cache: Path) -> None:
    (shard,) = cache.glob("*/*.h5")
    before = FeatureStore(str(cache), open_shard(str(shard)).spec)
    digests = open_shard(str(shard)).digests
    right = before.read(digests)
    data = bytearray(shard.read_bytes())
    data[open_shard(str(shard)).offset + 7] ^= 16
    shard.write_bytes(data)
    words = ("cache", "verify", "--cache-dir", cache, "--data", surfaces, "--sample", 3, *OPTIONS)
    status, out, _ = run(*words)
    assert status == 1 and "36 rows are lost" in out and "36 missing rows computed" in out
    assert (FeatureStore(str(cache), before.spec).read(digests) == right).all()
    status, out, _ = run(*words)
    assert status == 0 and "0 shards are damaged" in out and f"{shard}.damaged: set aside earlier" in out
    assert "missing rows" not in out
    assert "deleted 1 leftover files" in run("cache", "gc", "--cache-dir", cache)[1]
    status, out, _ = run(*words)
    assert status == 0 and "set aside" not in out


def test_cache_verify_mends_what_only_saves_time(run, cache: Path) -> None:
    (spec_file,) = cache.glob("*/spec.json")
    (network,) = cache.glob("graphs/*/network.bin")
    for path in (spec_file, network, cache / "digests.sqlite"):
        path.write_bytes(path.read_bytes()[:100])
    status, out, _ = run("cache", "verify", "--cache-dir", cache)
    assert status == 0 and "36 rows in 1 shards are whole" in out
    for path in (spec_file, network.parent, cache / "digests.sqlite"):
        assert f"{path}: missing or damaged" in out
    status, out, _ = run("cache", "verify", "--cache-dir", cache)
    assert status == 0 and "missing or damaged" not in out


def test_cache_gc_deletes_graphs_of_no_use(run, cache: Path) -> None:
    (graph,) = cache.glob("graphs/*")
    (graph.parent / "tmpabcdefgh.tmp").mkdir()
    identity = json.loads((graph / "digests.json").read_text())["made from"]
    older = json.dumps([*json.loads(identity)[:-1], "0.1"])
    copy = Path(shutil.copytree(graph, graph.parent / hashlib.sha256(older.encode()).hexdigest()[:16]))
    record = json.loads((copy / "digests.json").read_text())
    (copy / "digests.json").write_text(json.dumps(record | {"made from": older}))
    status, out, _ = run("cache", "gc", "--cache-dir", cache)
    assert status == 0 and "2 graphs of no use" in out
    assert list(cache.glob("graphs/*")) == [graph]


def test_cache_gc_drops_what_is_not_in_the_folder(run, photos: Path, cache: Path) -> None:
    shutil.rmtree(photos / "brick")
    words = ("cache", "gc", "--cache-dir", cache, "--data", photos)
    before = {path: path.read_bytes() for path in cache.rglob("*.h5")}
    for more, status in (["--dry-run"], 0), ([], 2):
        found, out, err = run(*words, *more)
        assert found == status and "12 of 36 rows" in out and ("--yes" in err) == bool(status)
        assert {path: path.read_bytes() for path in cache.rglob("*.h5")} == before
    status, out, _ = run(*words, "--yes")
    assert status == 0 and "12 rows" in out and "forgot the digests of 0 files" in out
    assert json.loads(run("cache", "ls", "--json", "--cache-dir", cache)[1])["rows"] == 24


def test_cache_gc_drops_nothing_because_pictures_are_not_to_be_found(run, photos: Path, cache: Path) -> None:
    empty = photos.parent / "empty"
    empty.mkdir()
    (other := photos.parent / "other").mkdir()
    (other / "none.jpg").write_text("no picture of this cache, nor any")
    for folder in (empty, empty / "missing", other):
        status, _, err = run("cache", "gc", "--cache-dir", cache, "--data", folder, "--yes")
        assert status == 2 and str(folder) in err
        assert json.loads(run("cache", "ls", "--json", "--cache-dir", cache)[1])["rows"] == 36


def test_cache_gc_keeps_the_rows_of_pictures_that_cannot_be_read(run, photos: Path, cache: Path) -> None:
    run("features", "--data", photos, "--cache-dir", cache, *OPTIONS)  # by now it is known what is where
    first, *_ = sorted(photos.glob("brick/*.png"))
    (photos.parent / "elsewhere").mkdir()
    shutil.move(first, photos.parent / "elsewhere")
    first.symlink_to("unmounted/first.png")  # and a folder that may not be entered, of which root is not kept out
    words = ("cache", "gc", "--cache-dir", cache, "--data", photos, "--yes")
    status, out, err = run(*words)
    assert status == 0 and "and 0 rows" in out and f"{first}: link to nothing" in err and "stays" in err
    (photos / "unknown.jpg").symlink_to("unmounted/unknown.jpg")
    (photos / "brick" / "brick.1.png").unlink()
    status, out, err = run(*words)
    assert status == 2 and "unknown.jpg" in err and "nothing is dropped" in err
    assert json.loads(run("cache", "ls", "--json", "--cache-dir", cache)[1])["rows"] == 36


def test_cache_gc_forgets_the_digests_of_files_that_are_gone_and_not_of_a_disk(run, photos: Path, cache: Path) -> None:
    run("features", "--data", photos, "--cache-dir", cache, *OPTIONS)
    table = DigestTable(str(cache))
    (photos / "grass" / "grass.0.png").unlink()
    (photos / "brick").rename(photos.parent / "unmounted")
    shutil.move(photos / "gravel", photos.parent / "also unmounted")
    (photos / "gravel").mkdir()
    assert "the digests of 1 files" in run("cache", "gc", "--cache-dir", cache, "--dry-run")[1]
    assert table.last_known(str(photos / "grass" / "grass.0.png"))
    status, out, _ = run("cache", "gc", "--cache-dir", cache)
    assert status == 0 and "forgot the digests of 1 files that are gone" in out
    assert not table.last_known(str(photos / "grass" / "grass.0.png"))
    for path in ("brick/brick.0.png", "gravel/gravel.0.png", "grass/grass.1.png"):
        assert table.last_known(str(photos / path))


def test_labels_from_file_names_and_from_a_table(run, photos: Path, cache: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos.glob("*/*.png"):
        shutil.move(path, flat)
    words = ("--cache-dir", cache, "--model", tmp_path / "m.joblib", "--json", tmp_path / "r.json", *OPTIONS)
    assert run("train", "--data", flat, "--label-pattern", r"(?P<label>brick|grass|gravel)\.\d+\.png", *words)[0] == 0
    by_name = json.loads((tmp_path / "r.json").read_text())
    table = tmp_path / "labels.csv"
    table.write_text("id,kind\n" + "".join(f"{path.stem},{path.name.split('.')[0]}\n" for path in flat.iterdir()))
    columns = ("--path-column", "id", "--label-column", "kind")
    assert run("train", "--data", flat, "--labels", table, *columns, *words)[0] == 0
    by_table = json.loads((tmp_path / "r.json").read_text())
    assert by_table["confusion_matrix"] == by_name["confusion_matrix"] and by_table["forward_passes"] == 0


def test_tensorflow_says_nothing_at_start_up(warm_cache: Path) -> None:
    said = (warm_cache.parent / "stderr.txt").read_text().splitlines()
    known = ("36 pictures: ", "converting nano", "to compute: 36 rows")
    assert len(said) >= 3 and all(line.startswith(known) for line in said), said


def test_paths_may_be_patterns_or_several_in_one_string(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "with space.jpg"):
        (tmp_path / name).touch()
    a, b, spaced = (str(tmp_path / name) for name in ("a.jpg", "b.jpg", "with space.jpg"))
    assert existing_paths([spaced]) == [spaced]
    assert existing_paths([str(tmp_path / "?.jpg")]) == [a, b]
    assert existing_paths([f"{a} '{spaced}'"]) == [a, spaced]
