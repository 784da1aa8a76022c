"""Move freshly trained runs and collected episodes into results/, the shipped tree, after checks. For maintainers.

    python -m analysis.promote --tree rerun

A run is refused when it does not hold what its name promises: its environment, protocol, arm and every seed and
iteration; when its .json is missing; when runs of one environment were made with different versions; or when they, or
those already shipped, learnt from different episodes of one name. Episodes are refused when their data is damaged, or
their transcript does not tell every step; shipped, they are packed. Those that were imported are left where they are:
they are the authors' to give. A tree's priors go along with its runs. What is made from the authors' files (PRODUCTS)
is copied as is; what was measured of final policies (coverage.csv) joins what is shipped.
"""

import gzip
import json
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

import envs
from analysis.coverage import KEY, read_measured
from analysis.prior_quality import read_prior
from analysis.prior_runs import read_prior_run
from analysis.runs import POLICIES, check_same_episodes, description, read_own_run, read_run
from envs.datasets import load_dataset, pack_dataset, read_meta
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text, written_whole

HYPER_PARAMETERS = ("gamma", "epsilon", "learning_rate", "batch_size", "buffer_size", "hidden_size", "iteration_steps")
HYPER_PARAMETERS += ("smoothing",)
"""What the runs of one learner in one environment share, whatever the protocol."""
PRODUCTS = ("results/audit.csv", "results/audit.md")
"""Made from the authors' files, which are not shipped."""
BESIDE = ("replications", "offline-target")
"""Trees of runs beside the grid's: with other seeds, with the target network copied as seldom as online."""
COVERAGE = Path("results/coverage.csv")
"""Measured of final policies, which are not shipped."""


@dataclass
class Args:
    """Promote the runs and the collected episodes of one tree."""

    tree: Path = Path("rerun")
    """the tree that holds results/runs/ and results/datasets/"""
    to: Path = Path()
    """the repository that ships them, with its results/ and paper_figs/"""


def check(run: Path) -> dict:
    """Return the .json of a run at <protocol>/<env>/<arm>.csv; raise Failure when the run is not what it should be."""
    if run.parts[-3] == "prior":
        return check_prior_run(run)
    content = read_run(run)  # refuses damaged, doubled and incomplete rows, and what its .json does not tell
    described = describe_run(run)
    arguments = described["arguments"]
    promised = ["env"]
    if content.arm not in POLICIES:
        settings = {"tau": content.tau, "pretrain_steps": content.pretrain_steps, "dataset": content.llm}
        promised += ["protocol", "arm", "seeds", "carry_over"]
        promised += [name for name, value in settings.items() if value is not None]
    untold = [name for name in promised if name not in arguments]
    if untold:
        raise Failure(f"{run} has a .json that does not say its {', '.join(untold)}.")
    if content.arm in POLICIES:
        return described
    rows = arguments["seeds"] * arguments["carry_over"] * envs.get(content.env).iterations
    if len(content.table) != rows:
        raise Failure(f"{run} should have {rows} rows and has {len(content.table)}.")
    return described


def describe_run(run: Path) -> dict:
    """Return the .json of a run; raise Failure where there is none, or none with arguments."""
    described = description(run)
    if "arguments" not in described:
        raise Failure(f"{run} has no .json beside it that says how it was made.")
    codes = [described, *described.get("resumed_with", [])]
    if changed := sorted({name for code in codes for name in code.get("git_changed") or []}):
        raise Failure(f"{run} was made by code that no commit has ({', '.join(changed)}): commit it and train anew.")
    return described


def check_prior_run(run: Path) -> dict:
    """Return the .json of a run at prior/<env>/<arm>.csv; raise Failure when the run is not what it should be."""
    content, described = read_prior_run(run), describe_run(run)  # refuses damaged, doubled and incomplete rows
    arguments = described["arguments"]
    if content.arm in POLICIES:
        return described
    alpha = "alpha" if content.learner == "ppo" else "temperature"
    named = {"arm": content.arm, "prior": content.prior, alpha: content.alpha, "transitions": content.size}
    named["k"] = content.k if content.k in (None, "all") else int(content.k)
    told = {**arguments, "prior": arguments["prior"] and Path(arguments["prior"]).stem}
    for name, value in named.items():
        if value is not None and told.get(name) != value:
            raise Failure(f"{run} was made with {name} {told.get(name)}.")
    rows = arguments["seeds"] * arguments["iterations"]
    if len(content.table) != rows:
        raise Failure(f"{run} should have {rows} rows and has {len(content.table)}.")
    return described


def check_dataset(folder: Path) -> None:
    """Raise Failure when the episodes in <env>/<llm>/ cannot be trusted."""
    episodes = load_dataset(folder, folder.parent.name)
    transcripts = folder / "transcripts.jsonl.gz"
    try:
        with gzip.open(transcripts, "rt", encoding="utf-8") as file:
            told = [(row["episode"], row["step"], row["action"]) for row in map(json.loads, file)]
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, TypeError) as error:
        raise Failure(f"{transcripts} is damaged ({error}); collect the episodes anew.") from error
    played = [(i, t, action.tolist()) for i, episode in enumerate(episodes) for t, action in enumerate(episode.actions)]
    if told != played:
        raise Failure(f"The transcript in {folder} does not tell what was played.")


def joined_runs(tree: Path, to: Path) -> list[Path]:
    """Return the runs that will be shipped: those already there, a fresh one in the place of its namesake."""
    patterns = (*(f"results/{name}/*/*/*.csv" for name in ("runs", *BESIDE)), "results/reference/*.csv")
    found = {path.relative_to(root): path for root in (to, tree) for each in patterns for path in root.glob(each)}
    return [found[name] for name in sorted(found)]


def joined_coverage(fresh: Path, shipped: Path) -> str:
    """Return the CSV of what was measured: the fresh rows, and those of shipped policies that it has none of."""
    tables = [read_measured(path) for path in (fresh, shipped) if path.is_file()]
    rows = pd.concat(tables).drop_duplicates(KEY).sort_values(KEY)
    return rows.to_csv(index=False, float_format="%.8g", lineterminator="\n")


def main() -> None:
    """Check everything first, then copy it."""
    args = tyro.cli(Args)
    runs = sorted((args.tree / "results/runs").glob("*/*/*.csv"))
    if not runs:
        raise UsageError(f"There are no runs under {args.tree}/results/runs.")
    alike: dict[tuple[str, str], tuple[object, Path]] = {}
    again = [run for name in BESIDE for run in sorted((args.tree / "results" / name).glob("*/*/*.csv"))]
    for run in [*runs, *again]:
        described = check(run)
        if run.stem.split("_")[0] in POLICIES:
            continue
        shared = {"torch": described.get("versions", {}).get("torch")}
        shared |= {name: described["arguments"].get(name) for name in HYPER_PARAMETERS}
        for name, value in shared.items():
            first, other = alike.setdefault((f"{run.parts[-2]} {described.get('algorithm')}", name), (value, run))
            if value != first:
                raise Failure(f"{run} was made with {name} {value}, {other} with {first}.")
    metas = sorted((args.tree / "results/datasets").glob("*/*/meta.json"))
    collected = [meta.parent for meta in metas if "decision" in read_meta(meta.parent)]
    for folder in collected:
        check_dataset(folder)
    for prior in sorted((args.tree / "results/priors").glob("*/*.jsonl")):
        read_prior(prior)
    references = sorted((args.tree / "results/reference").glob("*.csv"))
    for reference in references:
        read_own_run(reference)
    check_same_episodes(joined_runs(args.tree, args.to))
    fresh = args.tree / COVERAGE
    coverage = joined_coverage(fresh, args.to / COVERAGE) if fresh.exists() else None
    for run in runs:
        for source in (run, run.with_suffix(".json")):
            target = args.to / "results/runs" / Path(*source.parts[-3:])
            with written_whole(target) as temporary:
                shutil.copyfile(source, temporary)
    for folder in collected:
        with written_whole(args.to / "results/datasets" / Path(*folder.parts[-2:])) as temporary:
            shutil.copytree(folder, temporary)
            pack_dataset(temporary)
    for prior in sorted((args.tree / "results/priors").glob("*/*.jsonl")):
        with written_whole(args.to / "results/priors" / Path(*prior.parts[-2:])) as temporary:
            shutil.copyfile(prior, temporary)
    beside = [path for run in [*references, *again] for path in (run, run.with_suffix(".json"))]
    if coverage is not None:
        write_text(args.to / COVERAGE, coverage)
    for name in [*PRODUCTS, *(path.relative_to(args.tree) for path in beside)]:
        if (args.tree / name).exists():
            with written_whole(args.to / name) as temporary:
                shutil.copyfile(args.tree / name, temporary)
    print(f"{len(runs) + len(again)} runs and {len(collected)} datasets are in {args.to / 'results'}.")


if __name__ == "__main__":
    run_command_line(main)
