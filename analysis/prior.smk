# The second paper (arXiv 2410.07927): LLM priors in text games. Included by the Snakefile; its grid is config/prior.yaml.
# As there, what is shipped (results/priors, results/runs/prior, paper_figs/prior_*) is made by no training rule, and
# what this workflow makes goes under the tree of the configuration.

PRIOR = yaml.safe_load(Path("config/prior.yaml").read_text())
prior_mistake = best_match(
    Draft202012Validator(json.loads(Path("config/prior.schema.json").read_text())).iter_errors(PRIOR)
)
if prior_mistake:
    raise WorkflowError(
        f"config/prior.yaml at {prior_mistake.json_path}: {prior_mistake.message}. See config/prior.schema.json."
    )

PRIOR_KINDS = ("online", "offline", "ppo", "ablations")
PRIOR_PRODUCTS = [
    name.format(kind=kind)
    for kind in PRIOR_KINDS
    for name in ("paper_figs/prior_{kind}.pdf", "results/tables/prior_{kind}.md")
]
PRIOR_ENCODER = "models/all-minilm-l6-v2/model.safetensors"
PRIOR_LLMS = [name for name, prior in PRIOR["priors"].items() if "model" in prior]
PRIOR_SCRIPTS = [name for name, prior in PRIOR["priors"].items() if "share" in prior]
PRIOR_GAMES = "|".join(PRIOR["environments"])
PRIOR_DATASET = f"mixture{100 * PRIOR['success']:g}"


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


rule fetch_encoder:
    message:
        "Fetching the sentence encoder"
    output:
        PRIOR_ENCODER,
    log:
        "models/all-minilm-l6-v2.log",
    retries: 2
    shell:
        "python -m algos.encoder > {log} 2>&1"


def prior_model(wildcards):
    """Name the model's file where a rule fetches it; any other model is a folder or a hub id."""
    folder, _, name = PRIOR["priors"][wildcards.prior]["model"].rpartition("/")
    return f"models/{name}/model.safetensors" if folder == "models" and name in FETCHED_LLMS else []


rule ask_prior:
    message:
        "{wildcards.prior} scores the actions in {wildcards.game}"
    input:
        prior_model,
    output:
        f"{TREE}/results/priors/{{game}}/{{prior}}.jsonl",
    log:
        f"{TREE}/logs/priors/{{game}}_{{prior}}.log",
    wildcard_constraints:
        game=PRIOR_GAMES,
        prior="|".join(map(re.escape, PRIOR_LLMS)) or "none",
    params:
        model=lambda wildcards: PRIOR["priors"][wildcards.prior]["model"],
    shell:
        "python -m algos.prior --env {wildcards.game} --model {params.model} --output {output} > {log} 2>&1"


rule script_prior:
    message:
        "A script's prior in {wildcards.game}"
    output:
        f"{TREE}/results/priors/{{game}}/{{prior}}.jsonl",
    log:
        f"{TREE}/logs/priors/{{game}}_{{prior}}.log",
    wildcard_constraints:
        game=PRIOR_GAMES,
        prior="|".join(map(re.escape, PRIOR_SCRIPTS)) or "none",
    params:
        share=lambda wildcards: PRIOR["priors"][wildcards.prior]["share"],
    shell:
        "python -m algos.prior --env {wildcards.game} --way scripted --share {params.share} --output {output} > {log} 2>&1"


rule mixture:
    message:
        "Offline data of {wildcards.game}"
    output:
        f"{TREE}/results/datasets/{{game}}/{PRIOR_DATASET}/meta.json",
    log:
        f"{TREE}/logs/datasets/{{game}}_{PRIOR_DATASET}.log",
    wildcard_constraints:
        game=PRIOR_GAMES,
    params:
        folder=subpath(output[0], parent=True),
        noise=lambda wildcards: PRIOR["environments"][wildcards.game]["noise"],
    shell:
        f"python -m algos.play --env {{wildcards.game}} --success {PRIOR['success']} --transitions {PRIOR['transitions']}"
        " --noise {params.noise} --output {params.folder} > {log} 2>&1"


rule play_prior:
    message:
        "{wildcards.prior} as the policy in {wildcards.game}"
    input:
        lambda wildcards: prior_file(wildcards.game, wildcards.prior),
    output:
        f"{TREE}/results/runs/prior/{{game}}/llm-policy_{{prior}}.csv",
    log:
        f"{TREE}/logs/runs/prior/{{game}}/llm-policy_{{prior}}.log",
    wildcard_constraints:
        game=PRIOR_GAMES,
    params:
        folder=f"{TREE}/results/datasets/{{game}}/policy-{{prior}}",
        how="--player prior --prior",
    shell:
        f"(python -m algos.play --env {{wildcards.game}} {{params.how}} {{input}} --episodes {PRIOR['policy_episodes']}"
        " --output {params.folder} &&"
        " python -m analysis.policy_run --env {wildcards.game} --dataset {params.folder} --output {output}) > {log} 2>&1"


use rule play_prior as play_random with:
    message:
        "Random play in {wildcards.game}"
    input:
        [],
    output:
        f"{TREE}/results/runs/prior/{{game}}/random-policy.csv",
    log:
        f"{TREE}/logs/runs/prior/{{game}}/random-policy.log",
    wildcard_constraints:
        game=PRIOR_GAMES,
    params:
        folder=f"{TREE}/results/datasets/{{game}}/policy-random",
        how="--player random",


rule train_prior:
    message:
        "Training {wildcards.arm} in {wildcards.game}"
    input:
        unpack(prior_inputs),
    output:
        csv=f"{TREE}/results/runs/prior/{{game}}/{{arm}}.csv",
        json=f"{TREE}/results/runs/prior/{{game}}/{{arm}}.json",
    log:
        f"{TREE}/logs/runs/prior/{{game}}/{{arm}}.log",
    benchmark:
        f"{TREE}/benchmarks/runs/prior/{{game}}/{{arm}}.tsv"
    wildcard_constraints:
        game=PRIOR_GAMES,
        arm="(dqn|ppo|cql)(-prior_[a-z0-9.-]+)?(_alpha[0-9.]+)?(_k([0-9]+|all))?(_n[0-9]+)?",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        program=prior_arguments,
    shell:
        "python -m {params.program} --env {wildcards.game} --device cpu --features {TREE}/features"
        " --output {output.csv} > {log} 2>&1"


rule fresh_prior_figure:
    message:
        "Drawing {output.pdf}"
    input:
        lambda wildcards: prior_runs(f"{TREE}/", wildcards.kind),
    output:
        pdf=f"{TREE}/paper_figs/prior_{{kind}}.pdf",
        png=f"{TREE}/paper_figs/prior_{{kind}}.png",
        csv=f"{TREE}/results/tables/prior_{{kind}}.csv",
        md=f"{TREE}/results/tables/prior_{{kind}}.md",
    wildcard_constraints:
        kind="|".join(PRIOR_KINDS),
    params:
        missing="",
    shell:
        "python -m analysis.prior_figures --kind {wildcards.kind} --runs {input} {params.missing} --output {output.pdf}"
        " --table {output.csv}"


use rule fresh_prior_figure as prior_figure with:
    input:
        lambda wildcards: [run for run in prior_runs("", wildcards.kind) if Path(run).exists()],
    output:
        pdf="paper_figs/prior_{kind}.pdf",
        png="paper_figs/prior_{kind}.png",
        csv="results/tables/prior_{kind}.csv",
        md="results/tables/prior_{kind}.md",
    wildcard_constraints:
        kind="|".join(PRIOR_KINDS),
    params:
        missing=lambda wildcards: prior_missing(wildcards.kind),
