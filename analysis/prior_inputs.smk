"""What the jobs of analysis/prior.smk need: runs, priors, datasets, arguments."""

from importlib.util import find_spec

# Where the texts of a game cannot be listed, play asks the LLM, text by text.
PRIOR_UNLISTED = [game for game in PRIOR["environments"] if game.startswith("alfworld")]
# ALFWorld needs an optional extra: without it fresh figures are drawn of the other games.
PRIOR_PLAYABLE = [game for game in PRIOR["environments"] if find_spec("textworld") or game not in PRIOR_UNLISTED]


def learns_in(game):
    """Name the game that is learnt: another one where it is only evaluated here (unseen tasks)."""
    return PRIOR["environments"].get(game, {}).get("learns_in", game)


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


def claimed_prior_runs(prefix):
    """List the runs that the second paper's claims are about, LLMs' priors and controls, of those in the grid."""
    runs = [run for kind in ("online", "offline", "ppo") for run in prior_runs(prefix, kind)]
    return list(dict.fromkeys(runs))


def prior_missing(kind, prefix=""):
    """Return the argument that names the runs of a figure that are not shipped or, under `prefix`, cannot be made here."""
    runs = prior_runs(prefix, kind, playable=not prefix)
    if prefix and runs:
        print("ALFWorld is left out: its optional extra is not installed, run `make alfworld`.", file=sys.stderr)
    return missing_runs(runs)


def missing_runs(runs):
    """Return the argument that names those of `runs` that are not there."""
    runs = [Path(run) for run in runs if not Path(run).exists()]
    return " ".join(["--missing", *(f"{run.parent.name}/{run.stem}" for run in runs)] if runs else [])


def shipped_prior(game, prior):
    """Name a prior as it is shipped."""
    return f"results/priors/{learns_in(game)}/{prior}.jsonl"


def prior_file(game, prior):
    """Name a prior: the one that is shipped, unless it is to be made afresh."""
    shipped = shipped_prior(game, prior)
    return shipped if prior_start(shipped) and game not in PRIOR_UNLISTED else f"{TREE}/{shipped}"


def listed_priors(named):
    """List the priors of the games whose texts can be listed, which hold them all, as `named` names them."""
    return [
        named(game, prior) for game, priors in PRIOR["online"].items() for prior in priors if game not in PRIOR_UNLISTED
    ]


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
    inputs = {"encoder": PRIOR_ENCODER} if wildcards.game in PRIOR["environments"] else {}
    if arm.endswith("-prior"):
        inputs["prior"] = ancient(prior_file(wildcards.game, details[0]))  # play adds texts
    if arm.startswith("cql"):
        inputs["dataset"] = f"{TREE}/results/datasets/{wildcards.game}/{PRIOR_DATASET}/meta.json"
    return inputs


def flags_of(settings):
    """Turn settings into arguments: what is true is a flag alone, what is false or null is none."""
    known = {f"--{name.replace('_', '-')}": value for name, value in settings.items() if value not in (None, False)}
    return [part for flag, value in known.items() for part in ([flag] if value is True else [flag, value])]


def prior_arguments(wildcards, input):
    """Turn the name of a run into the arguments of the program that makes it."""
    arm, *details = wildcards.arm.split("_")
    algorithm = arm.removesuffix("-prior")
    arguments = ["--env", learns_in(wildcards.game), "--arm", arm, "--seeds", PRIOR["seeds"]]
    if wildcards.game in PRIOR["environments"]:
        of_game = PRIOR["environments"][wildcards.game]
        iterations = PRIOR["updates"] // 500 if algorithm == "cql" else of_game["online_iterations"]
        settings = {"gamma": of_game["gamma"]}
        if algorithm == "dqn":
            settings |= {"updates": of_game.get("online_updates"), "encoded": of_game.get("encoded")}
        if learns_in(wildcards.game) != wildcards.game:
            settings["eval_env"] = wildcards.game
    else:
        iterations = FOUR_WAYS["environments"][wildcards.game]
        settings = FOUR_WAYS["arguments"] | ({} if "prior" in input.keys() else FOUR_WAYS["without_prior"])
    arguments += ["--iterations", iterations, *flags_of(settings)]
    if "prior" in input.keys():
        read = PRIOR["priors"][details[0]]
        reading = {"prior_temperature": read.get("temperature"), "calibrated": read.get("calibrated")}
        arguments += ["--prior", input.prior, *flags_of(reading)]
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


def script_of(share):
    """Say how a script makes its prior: one that knows nothing needs no plan, which not every environment has."""
    return f"scripted --share {share}" if share else "uniform"


def four_ways_runs(prefix):
    """List the runs of all ways, of both papers' programs."""
    llm, tau = FOUR_WAYS["llm"], FOUR_WAYS["tau"]
    warm = [f"mix_{llm}_tau{tau}", *(f"loro_{llm}_tau{tau}_n{steps}" for steps in FOUR_WAYS["pretrain_steps"])]
    arms = {
        "paper": ["online", *warm, f"llm-policy_{llm}"],
        "prior": ["dqn", *(f"dqn-prior_{prior}" for prior in [llm, *FOUR_WAYS["controls"]])],
    }
    return [
        f"{prefix}results/runs/{kind}/{env}/{arm}.csv"
        for env in FOUR_WAYS["environments"]
        for kind, of_kind in arms.items()
        for arm in of_kind
    ]
