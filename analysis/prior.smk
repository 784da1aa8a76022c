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
FOUR_WAYS = PRIOR["four_ways"]
if FOUR_WAYS["llm"] in config["llms"] and set(FOUR_WAYS["environments"]) <= set(ENVIRONMENTS):
    PRIOR_PRODUCTS += ["paper_figs/prior_four_ways.pdf", "results/tables/prior_four_ways.md"]
PRIOR_GAMES = "|".join(PRIOR["environments"])
PRIOR_PLACES = "|".join([*PRIOR["environments"], *FOUR_WAYS["environments"]])
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


def claimed_prior_runs(prefix):
    """List the runs that the second paper's claims are about, LLMs' priors and controls, of those in the grid."""
    runs = [run for kind in ("online", "offline", "ppo") for run in prior_runs(prefix, kind)]
    return list(dict.fromkeys(runs)) if config["grid"] else []


def prior_missing(kind):
    """Return the argument that names the runs of a figure that are not shipped."""
    return missing_runs(prior_runs("", kind))


def missing_runs(runs):
    """Return the argument that names those of `runs` that are not there."""
    runs = [Path(run) for run in runs if not Path(run).exists()]
    return " ".join(["--missing", *(f"{run.parent.name}/{run.stem}" for run in runs)] if runs else [])


def prior_file(game, prior):
    """Name a prior: the one that is shipped, unless it is to be made afresh."""
    shipped = f"results/priors/{game}/{prior}.jsonl"
    return shipped if Path(shipped).exists() and not config["collect_afresh"] else f"{TREE}/{shipped}"


def prior_inputs(wildcards):
    """Name what a run learns from: the encoder, and the prior and the dataset that its arm names."""
    arm, *details = wildcards.arm.split("_")
    inputs = {"encoder": PRIOR_ENCODER} if wildcards.game in PRIOR["environments"] else {}
    if arm.endswith("-prior"):
        inputs["prior"] = prior_file(wildcards.game, details[0])
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
    if wildcards.game in PRIOR["environments"]:
        of_game = PRIOR["environments"][wildcards.game]
        iterations = PRIOR["updates"] // 500 if algorithm == "cql" else of_game["online_iterations"]
        settings = {"gamma": of_game["gamma"]}
    else:
        iterations = FOUR_WAYS["environments"][wildcards.game]
        settings = FOUR_WAYS["arguments"] | ({} if "prior" in input.keys() else FOUR_WAYS["without_prior"])
    arguments = ["--arm", arm, "--iterations", iterations, "--seeds", PRIOR["seeds"], *flags_of(settings)]
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
        game=PRIOR_PLACES,
        prior="|".join(map(re.escape, PRIOR_LLMS)) or "none",
    params:
        model=lambda wildcards: PRIOR["priors"][wildcards.prior]["model"],
        style=lambda wildcards: PRIOR["priors"][wildcards.prior].get("style", "verbal"),
    shell:
        "python -m algos.prior --env {wildcards.game} --model {params.model} --style {params.style} --output {output}"
        " > {log} 2>&1"


def script_of(share):
    """Say how a script makes its prior: one that knows nothing needs no plan, which not every environment has."""
    return f"scripted --share {share}" if share else "uniform"


rule script_prior:
    message:
        "A script's prior in {wildcards.game}"
    output:
        f"{TREE}/results/priors/{{game}}/{{prior}}.jsonl",
    log:
        f"{TREE}/logs/priors/{{game}}_{{prior}}.log",
    wildcard_constraints:
        game=PRIOR_PLACES,
        prior="|".join(map(re.escape, PRIOR_SCRIPTS)) or "none",
    params:
        way=lambda wildcards: script_of(PRIOR["priors"][wildcards.prior]["share"]),
    shell:
        "python -m algos.prior --env {wildcards.game} --way {params.way} --output {output} > {log} 2>&1"


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
        game=PRIOR_PLACES,
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


# --- LORO, mix, online RL and DQN-Prior side by side -----------------------------------------------------------------


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


def shipped_four_ways():
    """List the shipped runs of all ways that are there."""
    return [run for run in four_ways_runs("") if Path(run).exists()]


rule fresh_four_ways:
    message:
        "Drawing {output.pdf}"
    input:
        runs=four_ways_runs(f"{TREE}/"),
        datasets=[dataset(env, FOUR_WAYS["llm"]) for env in FOUR_WAYS["environments"]],
        priors=[prior_file(env, FOUR_WAYS["llm"]) for env in FOUR_WAYS["environments"]],
    output:
        pdf=f"{TREE}/paper_figs/prior_four_ways.pdf",
        png=f"{TREE}/paper_figs/prior_four_ways.png",
        csv=f"{TREE}/results/tables/prior_four_ways.csv",
        md=f"{TREE}/results/tables/prior_four_ways.md",
    params:
        missing="",
    shell:
        "python -m analysis.four_ways --runs {input.runs} --datasets {input.datasets} --priors {input.priors}"
        " {params.missing} --output {output.pdf} --table {output.csv}"


use rule fresh_four_ways as four_ways with:
    input:
        runs=shipped_four_ways(),
        datasets=[path for path in rules.fresh_four_ways.input.datasets if Path(path).exists()],
        priors=[path for path in rules.fresh_four_ways.input.priors if Path(path).exists()],
    output:
        pdf="paper_figs/{shown}.pdf",
        png="paper_figs/{shown}.png",
        csv="results/tables/{shown}.csv",
        md="results/tables/{shown}.md",
    wildcard_constraints:
        shown="prior_four_ways",  # a wildcard, because snakemake adds a forced rule without one to every target
    params:
        missing=missing_runs(four_ways_runs("")),
