"""The paper's claims, judged by a written rule: the published numbers, and ours under both protocols.

    python -m analysis.verdict --claims config/claims.yaml --runs results/runs/*/*/*.csv --output results/claims.md \\
        --figure paper_figs/verdict.pdf

The rule is in config/claims.yaml; what is judged is the protocol `paper`. The figure is a forest plot: for each claim
that compares two arms, the mean over its environments of the difference of their normalised scores, with stratified
bootstrap intervals (seeds are resampled within environments). A claim whose runs are not all there is drawn over the
environments that have them, and says over how many.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
import yaml

import envs
from analysis.main_table import interval, number
from analysis.plotting import BLACK, BLUE, GREY, ORANGE, STYLE, save_figure
from analysis.runs import POLICIES, Run, read_run
from analysis.statistics import RESAMPLES, bootstrap_interval, difference_interval
from envs.errors import UsageError, run_command_line
from envs.files import write_text

PROTOCOLS = {
    "published": ("published", GREY),
    "released": ("released protocol", ORANGE),
    "paper": ("paper protocol", BLUE),
}
KINDS = {"greater", "alike", "factor", "optimal"}
LAST = 20
"""Evaluations whose mean is where an arm ends."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


@dataclass
class Args:
    """Judge the claims."""

    claims: Path
    """the claims, the rule and the constants of normalisation"""
    runs: tuple[Path, ...]
    """run files of all protocols: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the .md to write"""
    figure: Path
    """the PDF of the forest plot; the PNG goes beside it"""


@dataclass(frozen=True)
class Pair:
    """What two arms earn in one environment: cumulative rewards of independent seeds, or the published numbers."""

    env: str
    ours: np.ndarray
    theirs: np.ndarray
    iterations: int
    scale: float
    """cumulative reward from random play to the expert's"""

    @property
    def difference(self) -> tuple[float, float, float]:
        """Return the difference of the means and its interval, NaN where one side has a single seed."""
        low, high = difference_interval(self.ours, self.theirs)
        return float(self.ours.mean() - self.theirs.mean()), low, high


Runs = dict[tuple[str, str, str], Run]
"""By protocol, environment and name."""


def read_claims(path: Path) -> dict[str, Any]:
    """Read the claims; raise UsageError where something is missing or unknown."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims, _ = content["claims"], content["rule"]["fewest_seeds"] + content["rule"]["margin"]
        wrong = [claim["claim"] for claim in claims if claim["kind"] not in KINDS or "arm" not in claim]
        missing = set(envs.ENVIRONMENTS) - set(content["normalisation"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UsageError(f"The claims {path} cannot be read ({error!r}); see config/claims.yaml.") from error
    if wrong or missing:
        raise UsageError(
            f"The claims {path}: unknown kind or no arm in {wrong}, or no constants for {sorted(missing)}."
        )
    return content


def environments_of(claim: dict[str, Any]) -> list[str]:
    """Return the environments that a claim is about."""
    return claim.get("environments", list(envs.ENVIRONMENTS))


def pair_of(runs: Runs, protocol: str, env: str, claim: dict[str, Any], constants: dict[str, Any]) -> Pair | None:
    """Return both arms of a claim in one environment, or None where a run is missing.

    What LORO is compared with is taken from `paper` where there is no run of the protocol: `released` is run for LORO
    alone, and the published means of policies that do not learn are those of the same episodes.
    """
    sides = [runs.get((protocol, env, name)) for name in (claim["arm"], claim["against"])]
    if protocol == "released" and sides[1] is None:
        sides[1] = runs.get(("paper", env, claim["against"]))
    if protocol == "published" and claim["against"].startswith(POLICIES):
        sides[1] = runs.get(("paper", env, claim["against"]))
    if None in sides:
        return None
    lengths = [run.iterations for run in sides if run.arm not in POLICIES]
    iterations = min(lengths)
    ours, theirs = (cumulative(run, iterations) for run in sides)
    scale = (constants[env]["expert"] - constants[env]["random"]) * iterations
    return Pair(env, ours, theirs, iterations, scale)


def cumulative(run: Run, iterations: int) -> np.ndarray:
    """Return the cumulative reward of each seed; of a policy, what each of its episodes would earn every iteration."""
    if run.arm in POLICIES:
        return run.table.eval_return.to_numpy() * iterations
    return run.curves()[:, :iterations].sum(axis=1)


def state_of(pair: Pair | None, kind: str, rule: dict[str, Any]) -> str:
    """Return what the rule says of one environment: higher, lower, alike, unlike or open."""
    if pair is None or min(len(pair.ours), len(pair.theirs)) < rule["fewest_seeds"]:
        return "open"
    _, low, high = pair.difference
    if kind == "greater":
        return "higher" if low > 0 else "lower" if high < 0 else "open"
    margin = rule["margin"] * pair.scale
    if -margin <= low and high <= margin:
        return "alike"
    return "unlike" if low > margin or high < -margin else "open"


def majority(states: list[str], good: str, bad: str, one_refutes: bool) -> str:
    """Return the verdict: `good` in more than half and `bad` in none, or that it cannot be so any more."""
    good_count, bad_count = states.count(good), states.count(bad)
    if good_count > len(states) / 2 and not bad_count:
        return HOLDS
    possible = len(states) - bad_count if one_refutes else len(states)
    if one_refutes and (bad_count or possible <= len(states) / 2):
        return FAILS
    return FAILS if not one_refutes and bad_count > len(states) / 2 else OPEN


def ratio_interval(pair: Pair) -> tuple[float, float, float]:
    """Return how many times as good the arm is, and its bootstrap interval.

    A ratio of costs is turned over: -10,000 is four times as good as -40,000.
    """
    random = np.random.default_rng(0)
    ours, theirs = (
        values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
        for values in (pair.ours, pair.theirs)
    )
    costs = pair.theirs.mean() < 0
    ratios = theirs / ours if costs else ours / theirs
    mean = pair.theirs.mean() / pair.ours.mean() if costs else pair.ours.mean() / pair.theirs.mean()
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(mean), float(low), float(high)


def judge_factor(pairs: dict[str, Pair | None], factor: float, rule: dict[str, Any]) -> tuple[str, str]:
    """Judge "up to `factor` times": the verdict and the best environment in words."""
    enough = {e: p for e, p in pairs.items() if p and min(len(p.ours), len(p.theirs)) >= rule["fewest_seeds"]}
    found = {env: ratio_interval(pair) for env, pair in enough.items()}
    if any(high >= factor for _, _, high in found.values()):
        verdict = HOLDS
    else:
        verdict = FAILS if len(found) == len(pairs) else OPEN
    if not found:
        return verdict, ""
    best = max(found, key=lambda env: found[env][0])
    mean, low, high = found[best]
    return verdict, f"at most {mean:.2f} [{low:.2f}, {high:.2f}] times ({envs.get(best).title})"


def judge_optimum(
    runs: Runs, claim: dict[str, Any], constants: dict[str, Any], rule: dict[str, Any]
) -> tuple[str, str]:
    """Judge "converges to the optimum": the verdict and how far each environment came."""
    states, words = [], []
    for env in environments_of(claim):
        run = runs.get(("paper", env, claim["arm"]))
        if run is None or len(run.curves()) < rule["fewest_seeds"]:
            states.append("open")
            continue
        random, expert = constants[env]["random"], constants[env]["expert"]
        ends = (run.curves()[:, -LAST:].mean(axis=1) - random) / (expert - random)
        low, high = bootstrap_interval(ends)
        reached = 1 - rule["margin"]
        states.append("reached" if low >= reached else "short" if high < reached else "open")
        words.append(f"{envs.get(env).title} {ends.mean():.2f}")
    if states.count("reached") > len(states) / 2:
        return HOLDS, "ends at " + ", ".join(words)
    verdict = FAILS if states.count("short") >= len(states) / 2 else OPEN
    return verdict, "ends at " + ", ".join(words)


def pooled(pairs: list[Pair]) -> tuple[float, float, float]:
    """Return the mean normalised difference over environments and its stratified bootstrap interval."""
    random = np.random.default_rng(0)
    mean = float(np.mean([pair.difference[0] / pair.scale for pair in pairs]))
    if any(min(len(pair.ours), len(pair.theirs)) < 2 for pair in pairs):
        return mean, np.nan, np.nan
    resampled = np.zeros(RESAMPLES)
    for pair in pairs:
        ours, theirs = (
            values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
            for values in (pair.ours, pair.theirs)
        )
        resampled += (ours - theirs) / pair.scale / len(pairs)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return mean, float(low), float(high)


@dataclass(frozen=True)
class Judged:
    """A claim, its verdict and what stands behind it."""

    claim: dict[str, Any]
    verdict: str
    evidence: str
    pairs: dict[str, dict[str, Pair | None]]
    """by protocol and environment; empty where a claim compares nothing"""


def judge(claim: dict[str, Any], runs: Runs, content: dict[str, Any]) -> Judged:
    """Judge one claim by the rule."""
    constants, rule, kind = content["normalisation"], content["rule"], claim["kind"]
    if kind == "optimal":
        return Judged(claim, *judge_optimum(runs, claim, constants, rule), {})
    pairs = {
        protocol: {env: pair_of(runs, protocol, env, claim, constants) for env in environments_of(claim)}
        for protocol in PROTOCOLS
    }
    if kind == "factor":
        return Judged(claim, *judge_factor(pairs["paper"], claim["factor"], rule), pairs)
    states = {env: state_of(pair, kind, rule) for env, pair in pairs["paper"].items()}
    good, bad = ("higher", "lower") if kind == "greater" else ("alike", "unlike")
    verdict = majority(list(states.values()), good, bad, one_refutes=kind == "greater")
    told = {state: [envs.get(env).title for env in states if states[env] == state] for state in (good, bad, "open")}
    evidence = "; ".join(f"{state}: {', '.join(names)}" for state, names in told.items() if names)
    return Judged(claim, verdict, evidence, pairs)


def summary(judged: Judged, protocol: str) -> str:
    """Return a cell: the mean normalised difference under a protocol and over how many environments."""
    pairs = [pair for pair in judged.pairs.get(protocol, {}).values() if pair is not None]
    if not pairs:
        return ""
    mean, low, high = pooled(pairs)
    bounds = f" [{low:+.3f}, {high:+.3f}]" if np.isfinite(low) else ""
    return f"{mean:+.3f}{bounds} ({len(pairs)})".replace("-", "−")


def markdown(judged: list[Judged], content: dict[str, Any]) -> str:
    """Return the page: the table of verdicts, then each claim environment by environment."""
    rule = content["rule"]
    lines = [
        "# The paper's claims, judged",
        "",
        f"The rule is in `config/claims.yaml`: 95% bootstrap intervals over at least {rule['fewest_seeds']} "
        "independent seeds, protocol `paper`. Numbers in the table: mean over environments of the difference of "
        "normalised scores (0 random play, 1 an expert), [its stratified bootstrap interval], (over how many "
        "environments). Published LORO is one chain of five repeats, and has no interval.",
        "",
        "| claim | published | released protocol | paper protocol | verdict | why |",
        "|---|---|---|---|---|---|",
    ]
    for one in judged:
        cells = [summary(one, protocol) for protocol in PROTOCOLS]
        lines.append(f"| {one.claim['claim']} | {' | '.join(cells)} | **{one.verdict}** | {one.evidence} |")
    lines += ["", "## Environment by environment, protocol `paper`", ""]
    for one in judged:
        if not one.pairs:
            continue
        lines += [f"### {one.claim['claim']}", "", f"`{one.claim['arm']}` against `{one.claim['against']}`.", ""]
        lines += ["| environment | difference [95% interval] | seeds | published difference |", "|---|---|---|---|"]
        for env, pair in one.pairs["paper"].items():
            published = one.pairs["published"][env]
            theirs = number(published.difference[0]) if published else ""
            if pair is None:
                lines.append(f"| {envs.get(env).title} | not computed yet | | {theirs} |")
                continue
            mean, low, high = pair.difference
            seeds = f"{len(pair.ours)} against {len(pair.theirs)}"
            lines.append(f"| {envs.get(env).title} | {number(mean)}{interval(low, high)} | {seeds} | {theirs} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def draw(judged: list[Judged]) -> plt.Figure:
    """Return the forest plot of the claims that compare two arms."""
    shown = [one for one in judged if any(any(pairs.values()) for pairs in one.pairs.values())]
    figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.42 * len(shown)), layout="constrained")
    for place, one in enumerate(shown):
        for offset, (protocol, (label, color)) in zip((-0.22, 0, 0.22), PROTOCOLS.items(), strict=True):
            pairs = [pair for pair in one.pairs[protocol].values() if pair is not None]
            if not pairs:
                continue
            mean, low, high = pooled(pairs)
            axes.plot([mean], [place + offset], "o", ms=3.5, color=color, label=label)
            if np.isfinite(low):
                axes.plot([low, high], [place + offset] * 2, color=color, lw=1.2)
    handles, labels = axes.get_legend_handles_labels()
    axes.axvline(0, color=BLACK, lw=0.6)
    axes.set_yticks(range(len(shown)), [f"{one.claim['claim']}\n({one.verdict})" for one in shown], fontsize=6)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("difference of the normalised scores, mean over environments")
    figure.legend(
        dict(zip(labels, handles, strict=True)).values(), dict.fromkeys(labels), loc="outside lower center", ncols=3
    )
    return figure


def main() -> None:
    """Judge, draw and write."""
    args = tyro.cli(Args)
    content = read_claims(args.claims)
    runs: Runs = {}
    for run in map(read_run, args.runs):
        first = runs.setdefault((run.protocol, run.env, run.path.stem), run)
        if first is not run:
            raise UsageError(f"{first.path} and {run.path} are the same run twice: give one.")
    judged = [judge(claim, runs, content) for claim in content["claims"]]
    if not any(pair for one in judged for pairs in one.pairs.values() for pair in pairs.values()):
        raise UsageError("None of the claims can be looked at with the runs given.")
    plt.rcParams.update(STYLE)
    save_figure(draw(judged), args.figure)
    write_text(args.output, markdown(judged, content))
    print(f"{args.output}: " + "; ".join(f"{one.claim['claim']}: {one.verdict}" for one in judged) + ".")


if __name__ == "__main__":
    run_command_line(main)
