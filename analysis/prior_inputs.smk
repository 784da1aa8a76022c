"""What the jobs of analysis/prior.smk need: runs, priors, datasets, arguments."""


def prior_runs(prefix, kind):
    """List the runs that one of the figures shows."""
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
    runs = []
    for game, of_game in arms.items():
        used = [prior for prior in PRIOR["priors"] if any(f"_{prior}" in arm for arm in of_game)]
        used = [prior for prior in used if PRIOR["priors"][prior].get("share") != 0]  # that is random play
        policies = ["random-policy", *(f"llm-policy_{prior}" for prior in used)]
        runs += [f"{prefix}results/runs/prior/{game}/{arm}.csv" for arm in [*of_game, *policies]]
    return runs


def prior_missing(kind):
    """Return the argument that names the runs of a figure that are not shipped."""
    runs = [Path(run) for run in prior_runs("", kind) if not Path(run).exists()]
    return " ".join(["--missing", *(f"{run.parent.name}/{run.stem}" for run in runs)] if runs else [])


def prior_file(game, prior):
    """Name a prior: the one that is shipped, unless it is to be made afresh."""
    shipped = f"results/priors/{game}/{prior}.jsonl"
    return shipped if Path(shipped).exists() and not config["collect_afresh"] else f"{TREE}/{shipped}"


def prior_inputs(wildcards):
    """Name what a run learns from: the encoder, and the prior and the dataset that its arm names."""
    arm, *details = wildcards.arm.split("_")
    inputs = {"encoder": PRIOR_ENCODER}
    if arm.endswith("-prior"):
        inputs["prior"] = prior_file(wildcards.game, details[0])
    if arm.startswith("cql"):
        inputs["dataset"] = f"{TREE}/results/datasets/{wildcards.game}/{PRIOR_DATASET}/meta.json"
    return inputs


def prior_arguments(wildcards, input):
    """Turn the name of a run into the arguments of the program that makes it."""
    arm, *details = wildcards.arm.split("_")
    of_game = PRIOR["environments"][wildcards.game]
    algorithm = arm.removesuffix("-prior")
    iterations = PRIOR["updates"] // 500 if algorithm == "cql" else of_game["online_iterations"]
    arguments = ["--arm", arm, "--gamma", of_game["gamma"], "--iterations", iterations, "--seeds", PRIOR["seeds"]]
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
