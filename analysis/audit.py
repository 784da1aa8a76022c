"""What is wrong with the authors' released code and data, measured on their files, and what it does to the comparison.

    python -m analysis.audit --source FOLDER --output results/audit.md

The page is for reading; the CSV beside it has a row for every number that was measured (analysis/audit_measures.py).
Each finding says whether the files show it: on other files the same program may find nothing.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from scipy.stats import binomtest, fisher_exact

import envs
from analysis import audit_measures as measures
from analysis.audit_measures import BETTER, FIRST_REPEATS, MAIN, MAIN_LLM, MAIN_STEPS, TAU, Number, Source
from analysis.import_published import REPEATS
from analysis.import_released import COMMIT, REPOSITORY
from envs.errors import UsageError, run_command_line
from envs.files import write_text

CLIFF_LABEL, CLIFF_LORO_LABEL = -345380, -24377
"""What the paper's figures print beside CliffWalking's 32B line and LORO with it: read off them, not computed."""
BY_CHANCE, LEVEL = 1 / 5, 0.001
"""How often the first of five equal repeats starts lowest, and how unlikely a count must be to be a finding."""
INTRODUCTION = (
    "# Audit of the released code and data\n\n"
    "What `analysis/audit.py` found in the files that the LORO authors released "
    f"({REPOSITORY}, commit {COMMIT[:7]}). "
    "All numbers are computed from the files, or simulated with fixed seeds ({random_episodes} random episodes, in "
    "Pong {pong_games} games), and are in `audit.csv`, except the printed numbers in finding 5, which were read off "
    "the paper's figures. What was read in the code and not computed is in finding 9, or says so. "
    "*Main setting*: qwen-7b, tau = 10, 3000 pretraining steps. *Gain*: cumulative reward minus that of online RL.\n"
)
STARTS = ("first ten: repeat 0", "first ten: repeats 1-4", "iterations repeat 0 had trained")
SUMS = (
    "sum as published",
    "sum of repeat 0",
    "sum of repeats 1-4",
    "gain over online as published",
    "gain over online of repeat 0",
    "online runs below repeat 0",
)
SAME_FIRST = "repeats whose first evaluation is the same for every tau"
STATEMENTS = (
    (
        "CartPole's observation sentence gives the pole's angle without its sign.",
        "env/classic_control/cartpole_translator.py",
        None,
        "the cart is pushed right less often where the pole leans and turns right, and so falls, than where it leans "
        "left and turns right, and so rights itself (next table), in files:",
    ),
    (
        "The action is the last digit anywhere in prompt and answer, not the answer's action.",
        "env/translation_agent.py",
        "action never offered",
        "the Pong prompt offers three actions; share of others in a file:",
    ),
    (
        "Where there is no such digit, capitalised words are sought in a lower-case text and never found; a fixed "
        "default action is played.",
        "env/translation_agent.py",
        "default action",
        "an answer that failed cannot be told from one that chose it; share of the default action in a file:",
    ),
    (
        "Except in CliffWalking the agent is evaluated on the very environment that it trains on.",
        "online_main.py",
        None,
        "nothing: the caches hold returns only",
    ),
    (
        "The target network is copied every 200 updates in LORO, online too, and every 1,000 in online RL: the two "
        "learners are not the same.",
        "pretrain_from_llm.py, online_main.py",
        None,
        "nothing: the caches hold returns only; our runs that switch this alone are in "
        '[tables/defects.md](tables/defects.md) ("target copied every 200 updates")',
    ),
    (
        "FrozenLake's prompt calls visited cells holes by a list in the program, which playing alone would not tell.",
        "env/toy_text/frozenlake_translator.py",
        "ends in a hole",
        "the LLM is told more than the learner is; it saves it from few; share of a file's episodes that end in one:",
    ),
    (
        "SAC's actions are not scaled to Pendulum's torque of -2 to 2: its policy ends at -1 and 1.",
        "pretrain_from_llm.py, online_main.py",
        "torque beyond 1",
        "the LLM's torques go to 2, where a policy that learns from them cannot follow; share beyond 1:",
    ),
)
"""What the code does, where it says so, which measured share bears on it, and how."""


@dataclass
class Args:
    """Audit the released files."""

    output: Path
    """the page to write; the .csv goes beside it"""
    source: Path | None = None
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA"""
    random_episodes: int = 200
    """random episodes to simulate in each environment but Pong"""
    pong_games: int = 10
    """random games of Pong to simulate"""


@dataclass
class Finding:
    """One section of the page."""

    title: str
    claim: str
    """what is wrong, in one plain sentence"""
    numbers: list[Number]
    found: bool
    """whether the files show it"""
    evidence: str
    """one number with its meaning"""
    effect: str
    """what it does to the published comparison, in a few words"""
    details: str = ""
    """the same at length"""
    tables: list[str] = field(default_factory=list)


def pick(numbers: Iterable[Number], quantity: str, **where: str) -> list[float]:
    """Return the values of one quantity, of some environment, arm or file only."""
    return [n.value for n in numbers if n.quantity == quantity and all(getattr(n, k) == v for k, v in where.items())]


def written(value: float, unit: str = "return") -> str:
    """Write a number for reading: a share in per cent, a count whole, a return with three or more digits."""
    if math.isnan(value):
        return ""
    if unit == "share":
        return f"{value:.1%}"
    if unit == "yes=1":
        return "yes" if value else "no"
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def title(env: str) -> str:
    """Return an environment's name for reading."""
    return envs.get(env).title


def table(numbers: Iterable[Number], quantities: Sequence[str] = (), arms: Sequence[str] = ()) -> str:
    """Return quantities (all by default) as columns of a Markdown table, a row for each environment and arm or LLM."""
    chosen = [n for n in numbers if (not quantities or n.quantity in quantities) and (not arms or n.arm in arms)]
    columns = quantities or list(dict.fromkeys(n.quantity for n in chosen))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for n in chosen:
        rows.setdefault((n.env, n.arm), {})[n.quantity] = written(n.value, n.unit)
    order = sorted(rows, key=lambda row: envs.PAPER.index(row[0]))
    lines = [[title(key[0]), key[1], *(rows[key].get(column, "") for column in columns)] for key in order]
    return markdown(["environment", "LLM or arm", *columns], lines)


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def stored_one_step_late(source: Source) -> Finding:
    """Finding 1."""
    numbers = measures.pairing(source)
    stored, shifted = pick(numbers, "agree as stored"), pick(numbers, "agree one step shifted")
    late = [after > before for before, after in zip(stored, shifted, strict=True)]
    return Finding(
        "Transitions are stored one step late",
        "The collection stores the observation after each step beside the step's action, so a transition reads "
        "(s_t+1, a_t, r_t, s_t+2), and the first observation is lost. A transition agrees where the environment, put "
        "at its observation, makes the same next observation and pays the same reward.",
        numbers,
        any(late),
        f"{sum(late)} of {len(late)} files agree better when shifted: of a file's transitions {min(stored):.1%} to "
        f"{max(stored):.1%} agree as stored, {min(shifted):.1%} to {max(shifted):.1%} shifted",
        "LORO and mix learn offline from actions paired with the state that they had already led to; for the effect "
        "see [tables/defects.md](tables/defects.md)",
        "The offline phase of LORO, and the LLM's part of mix's buffer where it has one (finding 13), show the learner "
        "a wrong effect of its actions wherever an action shows in the next observation. Online RL is not touched. "
        "These files do not tell which way that moves LORO's return, and wrong data need not lower it. Our own runs "
        "that switch only this show it: the rows *transitions stored one step late* of "
        "[tables/defects.md](tables/defects.md). Where the side *plus* is above 0 there, the defect helps LORO. "
        "Agreement as stored is chance: an action that is repeated, a wall; in Pendulum, whose reward depends on "
        "torque and angle, there is none. In FrozenLake, where chance moves, a transition agrees when it is possible "
        "at all; Pong is replayed under finding 7.",
        [table(numbers)],
    )


def repeats_start_trained(source: Source) -> Finding:
    """Finding 2."""
    numbers = measures.carry_over(source)
    low = [n for n in numbers if n.quantity == "repeat 0 starts lowest"]
    loro = [n.value for n in low if n.arm.startswith("loro")]
    control = [n.value for n in low if not n.arm.startswith("loro")]
    count, cells = int(sum(loro)), len(loro)
    chance = binomtest(count, cells, BY_CHANCE, alternative="greater").pvalue
    cells_of = {env: gains_of(numbers, env) for env in envs.PAPER}
    gains = (
        pick(numbers, "gain over online as published", arm=MAIN),
        pick(numbers, "gain over online of repeat 0", arm=MAIN),
    )
    positive, kept = (sum(gain > 0 for gain in part) for part in gains)
    runs = pick(numbers, "online runs below repeat 0", arm=MAIN)
    halves = sum(0 < first < published / 2 for published, first in zip(*gains, strict=True))
    return Finding(
        "Repeats start trained",
        "In the LORO arm one network is handed from repeat to repeat: repeats 1 to 4 begin with what those before "
        "them learnt online, and only repeat 0 is a warm start from the LLM.",
        numbers,
        chance < LEVEL,
        f"repeat 0 starts lowest in {count} of {cells} LORO cells (by chance a fifth); in {int(sum(control))} of "
        f"{len(control)} of the other arms, which make a network for each repeat",
        f"LORO is ahead in {positive} of {len(gains[0])} environments as published, in {kept} by repeat 0",
        "Five dependent repeats are averaged as if they were five warm starts, and the error bars are those of one "
        f"chain. In the main setting LORO is ahead of online RL in {positive} environments as published, in {kept} by "
        f"repeat 0 alone, in {halves} of them with less than half the gain. Repeat 0 is a single run; it is ahead of "
        f"every one of the online runs in {sum(n == REPEATS for n in runs)}. "
        f"The main setting is one of many: {beyond_the_main_setting(cells_of)} "
        "Where the cached curves are longer than the plotted ones, repeat 1 starts after all of them. "
        "*Lowest* means strictly lower than each of the others, so a cell where nothing is learnt never counts.",
        [table(numbers, STARTS, [MAIN]), table(numbers, SUMS, [MAIN]), all_cells(cells_of)],
    )


Gains = tuple[dict[str, float], dict[str, float]]
"""Each LORO cell's gain over online RL, as published and of repeat 0 alone."""


def gains_of(numbers: list[Number], env: str) -> Gains:
    """Return the gains of one environment's cells."""
    published, first = (
        {n.arm: n.value for n in numbers if n.env == env and n.quantity == f"gain over online {of}"}
        for of in ("as published", "of repeat 0")
    )
    return published, first


def beyond_the_main_setting(gains: dict[str, Gains]) -> str:
    """Say in how many LORO cells repeat 0 is ahead of online RL, and where the main setting's stands among them."""
    ahead, firsts = (sum(gain > 0 for both in gains.values() for gain in both[i].values()) for i in (0, 1))
    cells = sum(len(published) for published, _ in gains.values())
    best = [title(env) for env, (_, first) in gains.items() if first and max(first, key=first.__getitem__) == MAIN]
    told = f"of all {cells} LORO cells {ahead} are ahead as published, {firsts} by repeat 0"
    return told + (f"; in {', '.join(best)} its repeat 0 is the best of all." if best else ".")


def all_cells(gains: dict[str, Gains]) -> str:
    """Return the table of all LORO cells: how many are ahead of online RL, and how far repeat 0 at worst and best."""
    lines = []
    for env, (published, first) in gains.items():
        if published:
            ahead = [str(sum(gain > 0 for gain in cells.values())) for cells in (published, first)]
            ends = [written(end(first.values())) for end in (min, max)]
            lines.append([title(env), str(len(published)), *ahead, *ends, written(first.get(MAIN, math.nan))])
    head = ["LORO cells", "ahead of online as published", "ahead by repeat 0", "gain of repeat 0: lowest", "highest"]
    return markdown(["environment", *head, "main setting"], lines)


def other_lengths(source: Source) -> Finding:
    """Finding 3."""
    numbers = measures.lengths(source)
    per_file = {(n.env, n.file, n.arm): {} for n in numbers if n.quantity == "LLM cap"}
    for n in numbers:
        if (n.env, n.file, n.arm) in per_file:
            per_file[n.env, n.file, n.arm][n.quantity] = n.value
    shorter = {key: v for key, v in per_file.items() if v["LLM cap"] < v["RL length"]}
    heads = {}
    for (env, _, llm), v in shorter.items():
        if llm == MAIN_LLM:
            heads[env] = TAU * (v["random at LLM cap"] - v["random at RL length"])
    parts = [
        f"{title(env)} {written(head)} of a published gain of {written(source.gain(env))}"
        for env, head in heads.items()
    ]
    used = "; ".join(parts) or "none of the main setting's files is concerned"
    worst = min(
        shorter.items(),
        key=lambda item: (item[1]["LLM cap"] / item[1]["RL length"], item[0][2] != MAIN_LLM),
        default=None,
    )
    evidence = "no file is cut off sooner than the RL evaluation"
    if worst:
        (env, _, llm), v = worst
        evidence = (
            f"{len(shorter)} files are cut off sooner than the RL evaluation; {title(env)}, {llm}: "
            f"{v['LLM cap']:,.0f} steps against {v['RL length']:,.0f}"
        )
    return Finding(
        "LLM episodes are of other lengths than the RL evaluation",
        "Returns of short LLM episodes are drawn, and summed, beside returns of longer RL evaluations.",
        numbers,
        bool(shorter),
        evidence,
        f"the LLM's line and the first tau iterations are flattered: {used}",
        "The LLM's mean return is a line in the figure and stands for the first tau iterations of LORO and mix. What "
        "the shorter cap alone is worth in ten warm-up iterations, estimated from random play at both lengths: "
        f"{used}. A return of minus the cap in MountainCar is no success. In Pong the RL evaluation is a whole game, "
        "here as long as random games are. The lowest cached evaluation of online RL shows its length in MountainCar "
        "(-1 a step) and CliffWalking (at worst -100 a step).",
        [table(n for n in numbers if n.arm != "online"), table(n for n in numbers if n.arm == "online")],
    )


def cut_offs_stored_as_ends(source: Source) -> Finding:
    """Finding 4."""
    numbers = measures.cut_offs(source)
    flagged, wrong = sum(pick(numbers, "flagged terminal")), sum(pick(numbers, "of these cut-offs"))
    files = sum(value > 0 for value in pick(numbers, "of these cut-offs"))
    return Finding(
        "A cut-off is stored as an end",
        "An episode that was cut off at its cap is stored like one that the environment ended.",
        numbers,
        wrong > 0,
        f"{wrong:,} of {flagged:,} ends that are flagged terminal are cut-offs, in {files} files",
        "offline, the state at the cap is learnt to be worth nothing",
        "Nothing is bootstrapped there, so the last state before the cap is learnt to cost nothing more: with negative "
        "rewards it looks as good as success. One transition an episode is concerned. Online RL is not touched by "
        "these files.",
        [table(numbers)],
    )


def line_of_another_file(source: Source) -> Finding:
    """Finding 5."""
    numbers = measures.cliff_lines(source)
    named, other = (pick(numbers, "mean times iterations", arm=llm)[0] for llm in ("qwen-32b", "qwen-32b-typo"))
    loro, other_loro = (
        pick(numbers, "sum of LORO with this warm-up", arm=llm)[0] for llm in ("qwen-32b", "qwen-32b-typo")
    )
    is_named, is_other = (abs(value - CLIFF_LABEL) <= 1 for value in (named, other))
    return Finding(
        "The figure's CliffWalking line of the 32B LLM is from another file",
        "The released code names one file of the 32B LLM's CliffWalking episodes; the figure prints that of another, "
        "which the code calls the one with the typing error. (The printed numbers were read off the figures; the "
        "others are computed.)",
        numbers,
        is_other and not is_named,
        f"printed {CLIFF_LABEL:,}; the named file gives {named:,.0f}, the other {other:,.0f}",
        f"the line is {named / CLIFF_LABEL:.1f} times nearer to 0 than that of the file which LORO learns from"
        if named < CLIFF_LABEL
        else "the line is not that of the file which LORO learns from",
        "The LLM's line and the LORO curves for the 32B LLM are then from different prompts and caps (finding 3). "
        f"The sum of LORO with the 32B LLM (tau = {TAU}, N = 1000) is printed as {CLIFF_LORO_LABEL:,}: its curve with "
        f"the other file's warm-up makes {other_loro:,.0f}, with the named file's {loro:,.0f}. The tables of this "
        "package take the named file's, as the released code does. The main setting uses the 7B LLM and is not "
        "touched.",
        [table(numbers)],
    )


def random_episodes_without_cap(source: Source) -> Finding:
    """Finding 6."""
    numbers = measures.uncapped(source)
    longer = [n for n in numbers if n.quantity == "surely longer than the cap" and n.value > 0]
    concerned = {n.env for n in longer}
    main = f"pretrain-random_tau{TAU}_n3000"
    longest = max((n for n in numbers if n.quantity == "longest has at least"), key=lambda n: n.value)
    sums = [
        f"{title(env)} {pick(numbers, 'sum as published', env=env, arm=main)[0]:,.0f} instead of "
        f"{pick(numbers, 'sum with capped episodes', env=env, arm=main)[0]:,.0f}"
        for env in envs.PAPER
        if env in concerned
    ]
    return Finding(
        "Random episodes without a cap in the pretrain-random arm",
        "The random episodes that cached runs of this arm begin with are far longer than 200 steps, and their returns "
        "are plotted and summed like evaluations of 200 steps.",
        numbers,
        bool(concerned),
        f"the longest has at least {longest.value:,.0f} steps ({title(longest.env)})",
        "the arm's sum is the random episodes': " + "; ".join(sums) if sums else "none found",
        "What the figure shows as a failure of pretraining on random data is the length of random episodes. "
        "The least length of an episode follows from what a step costs at worst: 1 in MountainCar, 100 in "
        "CliffWalking, so the true ones are longer. *Capped*: with our random episodes at the cap in their place, and "
        "the learning iterations as published. It does not undo what the learner got from the longer data."
        + (f" Table: tau = {TAU}, 3000 steps: " + "; ".join(sums) + "." if sums else ""),
        [table(numbers, arms=[main])],
    )


def two_steps_an_action(source: Source) -> Finding:
    """Finding 7."""
    numbers = measures.two_steps(source)
    single, double = pick(numbers, "replay agrees: one step"), pick(numbers, "replay agrees: two steps")
    points, paid = sum(pick(numbers, "points by the score")), sum(pick(numbers, "points in the rewards"))
    share = paid / points if points else math.nan
    return Finding(
        "Two environment steps an action in Pong",
        "Each action is played twice, eight frames instead of four, and the first of the two rewards is lost.",
        numbers,
        bool(double) and min(double) > max(single),
        f"replayed observations agree to {min(double):.1%} with two steps an action, to {max(single):.1%} with one; "
        f"{written(share, 'share') or 'none'} of {points:,.0f} points were paid",
        f"a game lost by 21 points pays about {-21 * share:.0f}" if points else "no point was played",
        "The replay starts the same game and plays the stored actions; all ten numbers of every observation are "
        "compared. All arms play so: the comparison between them stands, but sums and differences are those of "
        "another, coarser game that pays part of its points, and no Pong score from elsewhere compares.",
        [table(numbers)],
    )


def single_evaluations(source: Source) -> Finding:
    """Finding 8."""
    numbers = measures.evaluation_noise(source) + measures.means_of_several(source)
    chancy = {n.env for n in numbers if n.quantity == "chance in an evaluation" and n.value}
    fractions = [n.file.removesuffix(".pkl") for n in numbers if n.quantity == "values that are no whole return"]
    several = f" and in {', '.join(f'`{name}`' for name in fractions)}" if fractions else ""
    ratios = {
        env: (
            pick(numbers, "of the mean of all, at most", env=env)[0],
            pick(numbers, "published gain", env=env)[0],
        )
        for env in envs.PAPER
        if env in chancy
    }
    varying = {env: ratio for env, ratio in ratios.items() if ratio[0] > 1e-9}  # more than rounding
    worst = max(varying, key=lambda env: varying[env][0] / max(abs(varying[env][1]), 1e-9), default=None)
    evidence = "the last evaluations of every repeat are the same"
    effect = "none"
    if worst:
        noise, gain = map(written, varying[worst])
        inside, between = (
            written(pick(numbers, q, env=worst)[0]) for q in ("sd within a repeat", "sd between repeats")
        )
        evidence = f"{title(worst)}: sd {inside} between one repeat's last evaluations, {between} between repeats"
        effect = f"at most sd {noise} in the mean of the repeats' sums; the published gain there is {gain}"
    return Finding(
        "One episode an evaluation",
        f"Each point of a curve is a single greedy episode; in CliffWalking{several} it is the mean of several.",
        numbers,
        bool(varying),
        evidence,
        effect,
        f"From the last {measures.LAST} iterations of the five online runs, which are independent. The spread within a "
        "repeat is an upper bound on chance: the policy changes too, and where start and dynamics are deterministic "
        "(*chance*: no) all of it is the policy's. In a sum over all iterations chance averages out: compare with the "
        "spread of the repeats' sums and with the gain. For repeat 0 alone (finding 2) the bound is that of one sum.",
        [table(n for n in numbers if n.arm == "online")],
    )


def read_from_the_code(source: Source) -> Finding:
    """Finding 9."""
    numbers = measures.played_actions(source)
    falls, rights = (pick(numbers, f"right if leaning {side}, turning right") for side in ("right", "left"))
    wrong = sum(fall < right for fall, right in zip(falls, rights, strict=True))
    lines = []
    for statement, file, quantity, remark in STATEMENTS:
        values = pick(numbers, quantity) if quantity else []
        span = f" {min(values):.1%} to {max(values):.1%}" if values else ""
        count = f" {wrong} of {len(falls)}" if remark.endswith("in files:") else ""
        lines.append([statement, f"`{file}`", remark + span + count])
    torques = pick(numbers, "torque beyond 1")
    leaning = [q for q in dict.fromkeys(n.quantity for n in numbers) if q.startswith("right if")]
    return Finding(
        "What only the code shows",
        f"Read from the released code (commit {COMMIT[:7]}), not computed; the last column is what the data add.",
        numbers,
        True,
        f"of a Pendulum file's torques {min(torques):.1%} to {max(torques):.1%} are beyond what the learner can play"
        if torques
        else "no Pendulum file",
        "the LLM is given more information, and its answers are parsed differently, than its prompts suggest; LORO "
        "and online RL are unequal learners; Pendulum's SAC has half the torque",
        "The prompts and the parser decide what *the LLM's policy* is, and so the data of LORO and mix; online RL is "
        "not touched. The target network is LORO's alone: part of the gain may be its. The bound on "
        "the torque holds for all of Pendulum's learners.",
        [
            markdown(["statement", "file", "what the data add"], lines),
            table(numbers, leaning),
            table(
                numbers,
                ("default action", "commonest action", "torque beyond 1", "action never offered", "ends in a hole"),
            ),
        ],
    )


def equal_episodes(source: Source) -> Finding:
    """Finding 10."""
    numbers = measures.step_budgets(source)
    steps = pick(numbers, f"steps of the first {TAU} episodes")
    iteration_steps = TAU * measures.ITERATION_STEPS
    fewest = min((n for n in numbers if n.quantity.startswith("steps of the first")), key=lambda n: n.value)
    fewer = pick(numbers, "LORO has fewer by")
    return Finding(
        "Equal numbers of episodes are not equal numbers of steps",
        f"The LLM's first {TAU} episodes take the place of as many iterations, which are {measures.ITERATION_STEPS} "
        "environment steps each (the latter read from the code).",
        numbers,
        any(n < iteration_steps for n in steps),
        f"{sum(n < iteration_steps for n in steps)} of {len(steps)} files have fewer steps than the iterations that "
        f"they stand for; {title(fewest.env)}, {fewest.arm}: {fewest.value:,.0f} against {iteration_steps:,}",
        f"to LORO's disadvantage: at the same place of the axis it has trained on fewer steps, by up to "
        f"{max(fewer):.1%} at the end",
        "LORO, mix and online RL are compared at equal numbers of episodes, as in its figures. By environment steps,"
        " which is what data-efficiency is usually measured in, LORO's curve belongs further to the left, most where"
        " the LLM's episodes are short. Both axes for our own runs: `paper_figs/main.png` and "
        "`paper_figs/main_steps.png`.",
        [table(numbers)],
    )


def files_chosen(source: Source) -> Finding:
    """Finding 11."""
    numbers = measures.collections(source)
    named = {(n.env, n.arm) for n in numbers if n.quantity == "named by the code" and n.value}
    files = {(n.env, n.arm) for n in numbers}
    returns = {(n.env, n.arm): n.value for n in numbers if n.quantity == "mean return"}
    pairs = [
        (one, other)
        for one in named
        for other in files - named
        if one[0] == other[0] and other[1].startswith(f"{one[1]}-") and "-sft" not in other[1].removeprefix(one[1])
    ]
    widest = max(sorted(pairs), key=lambda pair: abs(returns[pair[0]] - returns[pair[1]]), default=None)
    lower = sum(returns[one] < returns[other] for one, other in pairs)
    evidence = "of every LLM there is one file"
    if widest:
        one, other = widest
        evidence = (
            f"{len(files - named)} files are not named; {title(one[0])}, {one[1]}: mean return "
            f"{written(returns[one])} in the file that is, {written(returns[other])} in another"
        )
    return Finding(
        "Several collections, of which one counts",
        "Of some LLMs more than one file of episodes was released; the code names one of them, by hand. (Which one, "
        "and the reasons against the others, a typing error or a faulty memory in the prompt, were read from the "
        "code.)",
        numbers,
        bool(widest),
        evidence,
        "the LLM's line and LORO's data hang on the choice; LORO with the others is not known",
        f"The named file has the lower mean return in {lower} of {len(pairs)} pairs, of other prompts and caps "
        "(finding 3; the table has returns per step). That the others are set aside for their prompts may be sound; "
        "the files do not tell whether that was decided before their results were seen.",
        [table(numbers)],
    )


def online_anew_for_every_tau(source: Source) -> Finding:
    """Finding 12."""
    numbers = measures.baselines(source)
    runs = pick(numbers, "runs of online RL")
    factors = pick(numbers, "factor over the five")
    greatest = factors.index(max(factors))
    env = envs.PAPER[greatest]
    five, everything = (pick(numbers, name, env=env)[0] for name in ("sum, main setting's five", "sum, all runs"))
    gains = list(zip(pick(numbers, "gain over the five"), pick(numbers, "gain over all"), strict=True))
    return Finding(
        "Online RL was run anew for every τ",
        "Each cache has five runs of online RL of its own, to which neither τ nor the LLM means anything. The figures "
        "compare each τ with the five of its cache.",
        numbers,
        max(runs) > REPEATS,
        f"{min(runs):.0f} to {max(runs):.0f} runs are there, {REPEATS} in a figure; {title(env)}: the {REPEATS} beside "
        f"the main setting sum to {five:,.0f}, all to {everything:,.0f}, which makes LORO's factor "
        f"{pick(numbers, 'factor over all', env=env)[0]:.2f} instead of {factors[greatest]:.2f}",
        "a gain is over five runs where three or six times as many were at hand",
        f"Over all runs of online RL the main setting's gain is smaller in {sum(a > b for a, b in gains)} of "
        f"{len(gains)} environments, and of another sign in {sum(a * b < 0 for a, b in gains)}. This package compares "
        "the published LORO with the five of the main setting, as the figures do.",
        [table(numbers)],
    )


def mixed_without_data(source: Source) -> Finding:
    """Finding 13."""
    numbers = measures.mixed(source)
    counted = {(n.env, n.arm): n.value for n in numbers if n.quantity == "LLM episodes that mix counted"}
    apart = {(n.env, n.arm): n.value for n in numbers if n.quantity == "an evaluation of mix, less online RL's"}
    lost = [cell for cell, episodes in counted.items() if not episodes]
    main = [env for env, arm in lost if arm == f"mix_{MAIN_LLM}_tau{TAU}"]
    ranges = []
    for env in dict.fromkeys(env for env, _ in lost):
        without, with_data = (
            [apart[cell] for cell, episodes in counted.items() if cell[0] == env and bool(episodes) == found]
            for found in (False, True)
        )
        if with_data:
            spans = (f"{written(min(values))} to {written(max(values))}" for values in (without, with_data))
            ranges.append(f"{title(env)} {' without the data, '.join(spans)} with it")
    same = {(n.env, n.arm): n.value for n in numbers if n.quantity == SAME_FIRST}
    several = [n for n in numbers if n.quantity == "different values among these" and n.value > 1]
    first = [
        f"{title(n.env)}, {n.arm.removeprefix('mix_')}: {same[n.env, n.arm]:.0f} of {REPEATS} repeats, "
        f"{n.value:.0f} values"
        for n in several
    ]
    details = f"An evaluation of mix less one of online RL in the same cache: {'; '.join(ranges)}. " if ranges else ""
    if first:
        details += (
            f"A first evaluation that is the same for every τ, and so owes nothing to the data: {'; '.join(first)}. "
        )
    return Finding(
        "The baseline that mixes began without the LLM's data",
        "*Mix* puts the LLM's episodes into the buffer and then learns online. For each that it puts there it takes an "
        "iteration less. Where the episodes cannot be loaded or converted, the code says so and goes on with an empty "
        "buffer. (Read from versions of it: one asks for a file of τ episodes, where files of 30 alone were released; "
        "another makes one-hot rows of FrozenLake's sixteen states in every environment, which other states are not "
        "among.)",
        numbers,
        bool(lost),
        f"{len(lost)} of {len(counted)} cells counted no episode"
        + (f", in the main setting those of {', '.join(map(title, main))}" if main else ""),
        'there mix is online RL that begins τ iterations late, and "better than mixing" a comparison with that',
        details + "This package's `released` does as the lengths say: mix begins with an empty buffer in these cells "
        "(`--discard-offline`). Under `paper` it has the data.",
        [table(n for n in numbers if n.arm in {arm for _, arm in counted})],
    )


def run_beyond_the_plots(source: Source) -> Finding:
    """Finding 14."""
    numbers = measures.unplotted(source)
    warm = FIRST_REPEATS.format(MAIN_STEPS)
    shares, ends, details = [], [], ""
    for env in dict.fromkeys(n.env for n in numbers):
        online, mix, loro = (
            {n.quantity: n.value for n in numbers if (n.env, n.arm) == (env, arm)} for arm in ("online", "mix", warm)
        )
        shares.append(f"{title(env)} {online['iterations plotted']:,.0f} of {online['iterations run']:,.0f}")
        last, last_warm = (written(told["last 20 of all"]) for told in (online, loro))
        ends.append(f"{title(env)}: online RL ends at {last}, {warm}, at {last_warm}")
        better = [(told[BETTER], told["runs"] - told[BETTER]) for told in (online, loro)]
        details += (
            f"{title(env)}: of online RL {online[BETTER]:.0f} of {online['runs']:.0f} runs end better than they began, "
            f"of {warm}, {loro[BETTER]:.0f} of {loro['runs']:.0f} (Fisher's exact test: p = "
            f"{fisher_exact(better).pvalue:.2g}), of mix, which where it had no data is online RL (finding 13), "
            f"{mix[BETTER]:.0f} of {mix['runs']:.0f}. "
        )
    return Finding(
        "Most of some runs is not plotted",
        "The caches hold more iterations than the figures show and the published sums add up. The rows of LORO are "
        "first repeats, of all LLMs and τ: later ones begin with networks that this training has made (finding 2).",
        numbers,
        bool(numbers),
        f"plotted are, of the iterations that were run, in {', in '.join(shares)}" if shares else "all is plotted",
        "; ".join(ends),
        details + "The test was chosen when these curves had been seen; LORO also copies its target network five times "
        "as often as online RL. This package trains as long as is plotted, and one chain as long as theirs "
        "(`reference/long-repeats-mountain-car`).",
        [table(numbers)],
    )


FINDINGS: tuple[Callable[[Source], Finding], ...] = (
    stored_one_step_late,
    repeats_start_trained,
    other_lengths,
    cut_offs_stored_as_ends,
    line_of_another_file,
    random_episodes_without_cap,
    two_steps_an_action,
    single_evaluations,
    read_from_the_code,
    equal_episodes,
    files_chosen,
    online_anew_for_every_tau,
    mixed_without_data,
    run_beyond_the_plots,
)


def page(findings: list[Finding], source: Source) -> str:
    """Return the whole Markdown page: the summary table, then a section for each finding."""
    text = INTRODUCTION.format(random_episodes=source.random_episodes, pong_games=source.pong_games)
    summary = [
        [f"{i}. {f.title}", f.evidence, f.effect if f.found else "not found in these files"]
        for i, f in enumerate(findings, 1)
    ]
    parts = [text, markdown(["finding", "evidence", "effect on the comparison"], summary)]
    for i, finding in enumerate(findings, 1):
        verdict = finding.details if finding.found else "Not found in these files, so nothing."
        parts += [
            f"\n## {i}. {finding.title}\n\n{finding.claim} **{finding.evidence[0].upper()}{finding.evidence[1:]}.**"
        ]
        parts += [f"\n{block}" for block in finding.tables if block.count("\n") > 1]
        parts += [f"\n**What it does to the comparison.** {verdict}"]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the page and the CSV."""
    args = tyro.cli(Args)
    folder = args.source or (Path(os.environ["LORO_AUTHORS_DATA"]) if "LORO_AUTHORS_DATA" in os.environ else None)
    if folder is None or not folder.is_dir():
        raise UsageError("The audit needs the authors' data folder: name it with --source or LORO_AUTHORS_DATA.")
    if min(args.random_episodes, args.pong_games) < 1:
        raise UsageError("--random-episodes and --pong-games must be 1 or more.")
    source = Source(folder, args.random_episodes, args.pong_games)
    findings = [find(source) for find in FINDINGS]
    numbers = pd.DataFrame([number for finding in findings for number in finding.numbers], columns=Number._fields)
    numbers["value"] = [f"{value:.9g}" if np.isfinite(value) else "" for value in numbers["value"]]
    write_text(args.output.with_suffix(".csv"), numbers.to_csv(index=False))
    write_text(args.output, page(findings, source))
    for i, finding in enumerate(findings, 1):
        print(f"{i}. {finding.title}: {'found' if finding.found else 'not found'}; {finding.evidence}.")


if __name__ == "__main__":
    run_command_line(main)
