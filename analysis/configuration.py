"""What a configuration must hold: the schema, what its parts say of each other, what a run asks of it."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

import envs
from analysis.arms import FORMS, PARTS, parts_of, read_name, run_name
from analysis.import_released import released_files
from analysis.protocols import DIFFERENCES, difference_of
from analysis.scales import BOUNDS, SCALES

CONFIG = Path(__file__).parents[1] / "config"


def mistake_in(config: dict[str, Any]) -> str | None:
    """Return what is wrong with a configuration, in one sentence; None where nothing is."""
    checks = (schema_mistake, unknown_names, without_scale, uncounted_seeds, too_few)
    return next(filter(None, (check(config) for check in checks)), None)


def schema_mistake(config: dict[str, Any], schema: str = "schema.json", name: str = "Configuration") -> str | None:
    """Say where a configuration is not as its schema in config/ has it."""
    content = json.loads((CONFIG / schema).read_text(encoding="utf-8"))
    mistake = best_match(Draft202012Validator(content).iter_errors(config))
    return f"{name} at {mistake.json_path}: {mistake.message}. See config/{schema}." if mistake else None


def unknown_names(config: dict[str, Any]) -> str | None:
    """Name an environment or an LLM that is used somewhere and is not among those of the configuration."""
    environments, llms = config["environments"], config["llms"]
    named = {"main.llm": ([config["main"]["llm"]], llms, "llms")}
    named |= {f"data_quality.{part}": (config["data_quality"][part], llms, "llms") for part in ("llms", "table")}
    named |= {part: (config.get(part, []), environments, "environments") for part in ("defects", "replications")}
    for part, (names, known, where) in named.items():
        if unknown := [name for name in names if name not in known]:
            return f"Configuration at $.{part}: {', '.join(unknown)} is not under {where}."
    return None


def without_scale(config: dict[str, Any]) -> str | None:
    """Name an environment whose returns the tables do not know how to read."""
    lacking = [env for env in config["environments"] if env not in SCALES or env not in BOUNDS]
    if lacking:
        return f"Configuration at $.environments: {', '.join(lacking)} has no scale or bounds in analysis/scales.py."
    return None


def uncounted_seeds(config: dict[str, Any]) -> str | None:
    """Name an environment, or the other settings, whose number of agents the configuration does not say."""
    seeds = config["seeds"]
    both = config["grid"] or config["defects"] or "released" in config["arms"]
    for protocol in ("paper", *(["released"] if both else [])):
        if lacking := [env for env in config["environments"] if env not in seeds.get(protocol, {})]:
            return f"Configuration at $.seeds.{protocol}: it does not say how many agents for {', '.join(lacking)}."
        if protocol not in seeds["others"]:
            return f"Configuration at $.seeds.others: it does not say how many agents under {protocol}."
    return None


def too_few(config: dict[str, Any]) -> str | None:
    """Say where there are fewer episodes or iterations than the warm-up takes."""
    tau, played = config["main"]["tau"], config["episodes"]
    collected = config["llms"][config["main"]["llm"]]["source"] == "collect"
    for name in ("random", *(["collected"] if collected else [])):
        if played[name] < tau:
            return f"Configuration at $.episodes.{name}: {played[name]} episodes are fewer than main.tau, {tau}."
    if config["iterations"] is not None and config["iterations"] <= tau:
        return f"Configuration at $.iterations: {config['iterations']} must exceed main.tau, {tau}, which it includes."
    return None


def mistake_in_run(config: dict[str, Any], protocol: str, env: str, name: str) -> str | None:
    """Return why a run cannot be trained, in one sentence, before anything is; None where it can."""
    run = read_name(name)
    parts = parts_of(run.arm) if run else None
    if parts is None:
        differences = ", ".join(f"loro-{difference}" for difference in DIFFERENCES)
        return f"Run {name}: it names no arm; there are {', '.join(PARTS)}, {differences}."
    if any((getattr(run, part) is not None) != (part in parts) for part in FORMS):
        return f"Run {name}: the name of this arm must be {run_name(run.arm, '<llm>', '<T>', '<N>')}."
    difference = difference_of(run.arm)
    if run.arm.startswith("ppo") and protocol != "paper":
        return f"Run {name}: the authors' code has no PPO, so there is none under {protocol}."
    if difference and env not in difference.environments:
        return f"Run {name}: that changes nothing in {env}, only in {', '.join(difference.environments)}."
    iterations = config["iterations"] or envs.get(env).iterations
    if run.tau is not None and not 1 <= run.tau < iterations:
        return f"Run {name}: tau {run.tau} must be at least 1 and below the {iterations} iterations in {env}."
    if (player := run.player) is None:
        return None
    if player != "random" and player not in config["llms"]:
        return f"Run {name}: the configuration has no LLM {player}; it has {', '.join(config['llms'])}."
    episodes = episodes_of(config, env, player)
    if episodes is None:
        return f"Run {name}: the authors released no episodes of {player} in {env} (config/released_files.csv)."
    if run.tau > episodes:
        return f"Run {name}: tau {run.tau} is more than the {episodes} episodes of {player} in {env}."
    return None


def mistake_in_llm(config: dict[str, Any], env: str, llm: str, fetched: Iterable[str]) -> str | None:
    """Return why an LLM cannot play, in one sentence; None where nothing speaks against it. `fetched`: in models/."""
    model, style = config["llms"][llm]["model"], config["llms"][llm].get("style", "verbal")
    if not (prompt := Path("prompts", env, f"{style}.yaml")).is_file():
        return f"LLM {llm}: there is no prompt {prompt} for its style."
    is_folder = model.startswith(("models/", "/", "./", "../", "~"))
    if is_folder and not Path(model).expanduser().exists() and model not in {f"models/{name}" for name in fetched}:
        return f"LLM {llm}: there is no folder {model}."
    return None


def shipped_episodes(config: dict[str, Any], env: str, player: str) -> Path | None:
    """Return the description of shipped episodes that are used as they are; None where they are to be made."""
    meta = Path("results/datasets", env, player, "meta.json")
    return meta if meta.exists() and not config["collect_afresh"] else None


def episodes_of(config: dict[str, Any], env: str, player: str) -> int | None:
    """Return how many episodes of an LLM, or of random play, there are or will be; None where none can be had."""
    if shipped := shipped_episodes(config, env, player):
        return json.loads(shipped.read_text(encoding="utf-8"))["episodes"]
    if player == "random":
        return config["episodes"]["random"]
    if config["llms"][player]["source"] == "collect":
        return config["episodes"]["collected"]
    names = [row["file"] for row in released_files() if (row["env"], row["llm"]) == (env, player)]
    return int(re.search(r"_Neps_(\d+)_", names[0])[1]) if names else None
