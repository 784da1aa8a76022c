"""What the jobs of analysis/prior.smk need: runs, priors, datasets, arguments."""

from importlib.util import find_spec

# Where the texts of a game cannot be listed, play asks the LLM, text by text.
PRIOR_UNLISTED = [game for game in PRIOR["environments"] if game.startswith("alfworld")]
# ALFWorld needs an optional extra: without it fresh figures are drawn of the other games.
PRIOR_PLAYABLE = [game for game in PRIOR["environments"] if find_spec("textworld") or game not in PRIOR_UNLISTED]


def learns_in(game):
    """Name the game that is learnt: another one where it is only evaluated here (unseen tasks)."""
    return PRIOR["environments"][game].get("learns_in", game)


def prior_runs(prefix, kind, playable=True):
    """List the runs that one of the figures shows: to train, those of the games that can be played here, or the others."""
    if kind == "online":
        arms = {game: ["dqn", *(f"dqn-prior_{prior}" for prior in priors)] for game, priors in PRIOR["online"].items()}
    elif kind == "ppo":
        arms = {game: ["ppo", *(f"ppo-prior_{prior}" for prior in priors)] for game, priors in PRIOR["ppo"].items()}
    elif kind == "offline":
        arms = {
            game: [
                f"{arm}_n{size}"
                for arm in ["cql", *(f"cql-prior_{prior}" for prior in part["priors"])]
                for size in part["sizes"]
            ]
            for game, part in PRIOR["offline"].items()
        }
    else:
        part = PRIOR["ablations"]
        settings = [f"dqn-prior_{{}}_k{k}" for k in part["k"]]
        settings += [f"dqn-prior_{{}}_alpha{alpha}" for alpha in part["dqn_alpha"]]
        settings += [f"ppo-prior_{{}}_alpha{alpha}" for alpha in part["ppo_alpha"]]
        settings += ["dqn-prior_{}", "ppo-prior_{}"]
        varied = [setting.format(prior) for setting in settings for prior in part["priors"]]
        arms = {part["environment"]: ["dqn", "ppo", *varied]}
    if prefix:
        arms = {game: of_game for game, of_game in arms.items() if (game in PRIOR_PLAYABLE) == playable}
    runs = []
    for game, of_game in arms.items():
        alone = PRIOR["environments"][game].get("alone", [])
        used = [prior for prior in PRIOR["priors"] if prior in alone or any(f"_{prior}" in arm for arm in of_game)]
        used = [prior for prior in used if PRIOR["priors"][prior].get("share") != 0]  # that is random play
        policies = ["random-policy", *(f"llm-policy_{prior}" for prior in used)]
        runs += [f"{prefix}results/runs/prior/{game}/{arm}.csv" for arm in [*of_game, *policies]]
    return runs


def prior_missing(kind, prefix=""):
    """Return the argument that names the runs of a figure that are not shipped or, under `prefix`, cannot be made here."""
    if prefix:
        runs = [Path(run) for run in prior_runs(prefix, kind, playable=False)]
    else:
        runs = [Path(run) for run in prior_runs("", kind) if not Path(run).exists()]
    if prefix and runs:
        print("ALFWorld is left out: its optional extra is not installed, run `make alfworld`.", file=sys.stderr)
    return " ".join(["--missing", *(f"{run.parent.name}/{run.stem}" for run in runs)] if runs else [])


def prior_file(game, prior):
    """Name a prior: the one that is shipped, unless it is to be made afresh."""
    shipped = f"results/priors/{learns_in(game)}/{prior}.jsonl"
    return shipped if prior_start(shipped) and game not in PRIOR_UNLISTED else f"{TREE}/{shipped}"


def prior_start(prior):
    """Return a shipped prior, to be used or gone on with; nothing where there is none or it is to be made afresh."""
    return prior if Path(prior).exists() and not config["collect_afresh"] else ""


def gone_on_with(wildcards, output):
    """Return the command that takes over what is shipped of a prior."""
    shipped = prior_start(output[0].removeprefix(f"{TREE}/"))
    return f"cp {shipped} {output[0]} && " if shipped else ""


def policy_episodes(game, prior):
    """Return how many episodes a prior plays: fewer where an LLM is asked for every text that it meets."""
    asked = prior in PRIOR_LLMS and game in PRIOR_UNLISTED
    return PRIOR["environments"][game]["asked_episodes"] if asked else PRIOR["policy_episodes"]


def prior_inputs(wildcards):
    """Name what a run learns from: the encoder, and the prior and the dataset that its arm names."""
    arm, *details = wildcards.arm.split("_")
    inputs = {"encoder": PRIOR_ENCODER}
    if arm.endswith("-prior"):
        inputs["prior"] = ancient(prior_file(wildcards.game, details[0]))  # play adds texts
    if arm.startswith("cql"):
        inputs["dataset"] = f"{TREE}/results/datasets/{wildcards.game}/{PRIOR_DATASET}/meta.json"
    return inputs


def prior_arguments(wildcards, input):
    """Turn the name of a run into the arguments of the program that makes it."""
    arm, *details = wildcards.arm.split("_")
    of_game = PRIOR["environments"][wildcards.game]
    algorithm = arm.removesuffix("-prior")
    iterations = PRIOR["updates"] // 500 if algorithm == "cql" else of_game["online_iterations"]
    arguments = ["--env", learns_in(wildcards.game), "--arm", arm, "--gamma", of_game["gamma"]]
    arguments += ["--iterations", iterations, "--seeds", PRIOR["seeds"]]
    if algorithm == "dqn":
        of_games = {"online_updates": "--updates", "encoded": "--encoded"}
        arguments += [part for name, flag in of_games.items() if name in of_game for part in (flag, of_game[name])]
    if learns_in(wildcards.game) != wildcards.game:
        arguments += ["--eval-env", wildcards.game]
    if "prior" in input.keys():
        arguments += ["--prior", input.prior]
    if "dataset" in input.keys():
        arguments += ["--dataset", Path(input.dataset).parent]
    flags = {"k": "--k", "n": "--transitions", "alpha": "--alpha" if algorithm == "ppo" else "--temperature"}
    for detail in details:
        setting = re.fullmatch(r"(k|n|alpha)([0-9.]+|all)", detail)
        if setting:
            arguments += [flags[setting[1]], setting[2]]
    return f"algos.{algorithm}_prior " + " ".join(map(str, arguments))


def prior_model(wildcards):
    """Name the model's file where a rule fetches it; any other model is a folder or a hub id."""
    folder, _, name = PRIOR["priors"][wildcards.prior]["model"].rpartition("/")
    return f"models/{name}/model.safetensors" if folder == "models" and name in FETCHED_LLMS else []
