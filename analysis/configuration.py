"""What a configuration of the workflow must hold: the schema, and what its parts say of each other."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

CONFIG = Path(__file__).parents[1] / "config"


def mistake_in(config: dict[str, Any]) -> str | None:
    """Return what is wrong with a configuration, in one sentence; None where nothing is."""
    checks = (schema_mistake, unknown_names, uncounted_seeds, too_few)
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


def uncounted_seeds(config: dict[str, Any]) -> str | None:
    """Name an environment, or the other settings, whose number of agents the configuration does not say."""
    seeds = config["seeds"]
    for protocol in ("paper", *(["released"] if config["grid"] or "released" in config["arms"] else [])):
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
