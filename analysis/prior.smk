# The second paper (arXiv 2410.07927): LLM priors in text games. Included by the Snakefile; its grid is config/prior.yaml.
# As there, what is shipped (results/priors, results/runs/prior, paper_figs/prior_*) is made by no training rule, and
# what this workflow makes goes under the tree of the configuration.

PRIOR = yaml.safe_load(Path("config/prior.yaml").read_text())
if mistake := schema_mistake(PRIOR, "prior.schema.json", "config/prior.yaml"):
    raise WorkflowError(mistake)

PRIOR_KINDS = ("online", "offline", "ppo", "ablations")
PRIOR_PRODUCTS = [
    name.format(kind=kind)
    for kind in PRIOR_KINDS
    for name in ("paper_figs/prior_{kind}.pdf", "results/tables/prior_{kind}.md")
]
PRIOR_PRODUCTS.append("results/tables/prior_quality.md")
PRIOR_ENCODER = "models/all-minilm-l6-v2/model.safetensors"
PRIOR_LLMS = [name for name, prior in PRIOR["priors"].items() if "model" in prior]
PRIOR_SCRIPTS = [name for name, prior in PRIOR["priors"].items() if "share" in prior]
FOUR_WAYS = PRIOR["four_ways"]
if FOUR_WAYS["llm"] in config["llms"] and set(FOUR_WAYS["environments"]) <= set(ENVIRONMENTS):
    PRIOR_PRODUCTS += ["paper_figs/prior_four_ways.pdf", "results/tables/prior_four_ways.md"]
TABLES |= {Path(path).stem: path.removesuffix(".md") for path in PRIOR_PRODUCTS if path.endswith(".md")}
PRIOR_GAMES = "|".join(PRIOR["environments"])
PRIOR_PLACES = "|".join([*PRIOR["environments"], *FOUR_WAYS["environments"]])
PRIOR_DATASET = f"mixture{100 * PRIOR['success']:g}"


include: "prior_inputs.smk"


localrules:
    fetch_encoder,
    script_prior,
    fresh_prior_figure,
    prior_figure,
    fresh_prior_quality,
    prior_quality,
    fresh_four_ways,
    four_ways,


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
        start=gone_on_with,
        model=lambda wildcards: PRIOR["priors"][wildcards.prior]["model"],
        style=lambda wildcards: PRIOR["priors"][wildcards.prior].get("style", "verbal"),
    shell:
        "{params.start}python -m algos.prior --env {wildcards.game} --model {params.model} --style {params.style}"
        " --output {output} > {log} 2>&1"


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
        lambda wildcards: ancient(prior_file(wildcards.game, wildcards.prior)),
    output:
        f"{TREE}/results/runs/prior/{{game}}/llm-policy_{{prior}}.csv",
    log:
        f"{TREE}/logs/runs/prior/{{game}}/llm-policy_{{prior}}.log",
    wildcard_constraints:
        game=PRIOR_GAMES,
    params:
        folder=f"{TREE}/results/datasets/{{game}}/policy-{{prior}}",
        how="--player prior --prior",
        episodes=lambda wildcards: policy_episodes(wildcards.game, wildcards.prior),
    shell:
        "(python -m algos.play --env {wildcards.game} {params.how} {input} --episodes {params.episodes}"
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
        episodes=PRIOR["policy_episodes"],


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
        f"python -m {{params.program}} --device cpu --features {TREE}/features --output {{output.csv}} > {{log}} 2>&1"


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
    log:
        f"{TREE}/logs/tables/prior_{{kind}}.log",
    wildcard_constraints:
        kind="|".join(PRIOR_KINDS),
    params:
        missing=lambda wildcards: prior_missing(wildcards.kind, f"{TREE}/"),
    shell:
        "python -m analysis.prior_figures --kind {wildcards.kind} --runs {input} {params.missing} --output {output.pdf}"
        " --table {output.csv} > {log} 2>&1"


use rule fresh_prior_figure as prior_figure with:
    input:
        lambda wildcards: there(prior_runs("", wildcards.kind)),
    output:
        pdf="paper_figs/prior_{kind}.pdf",
        png=shown("paper_figs/prior_{kind}.png", "prior", "7 The second paper"),
        csv="results/tables/prior_{kind}.csv",
        md="results/tables/prior_{kind}.md",
    log:
        f"{TREE}/logs/shipped/tables/prior_{{kind}}.log",
    wildcard_constraints:
        kind="|".join(PRIOR_KINDS),
    params:
        missing=lambda wildcards: prior_missing(wildcards.kind),


rule fresh_prior_quality:
    message:
        "What the priors are worth before any learning"
    input:
        listed_priors(prior_file),
    output:
        csv=f"{TREE}/results/tables/prior_quality.csv",
        md=f"{TREE}/results/tables/prior_quality.md",
    log:
        f"{TREE}/logs/tables/prior_quality.log",
    shell:
        "python -m analysis.prior_quality --priors {input} --output {output.csv} > {log} 2>&1"


use rule fresh_prior_quality as prior_quality with:
    input:
        there(listed_priors(shipped_prior)),
    output:
        csv="results/tables/{quality}.csv",
        md="results/tables/{quality}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{quality}}.log",
    wildcard_constraints:
        quality="prior_quality",  # a wildcard, because snakemake adds a forced rule without one to every target


# --- LORO, mix, online RL and DQN-Prior side by side -----------------------------------------------------------------


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
    log:
        f"{TREE}/logs/tables/prior_four_ways.log",
    params:
        missing="",
    shell:
        "python -m analysis.four_ways --runs {input.runs} --datasets {input.datasets} --priors {input.priors}"
        " {params.missing} --output {output.pdf} --table {output.csv} > {log} 2>&1"


use rule fresh_four_ways as four_ways with:
    input:
        runs=there(four_ways_runs("")),
        datasets=there(rules.fresh_four_ways.input.datasets),
        priors=there([shipped_prior(env, FOUR_WAYS["llm"]) for env in FOUR_WAYS["environments"]]),
    output:
        pdf="paper_figs/{ways}.pdf",
        png=shown("paper_figs/{ways}.png", "prior", "7 The second paper"),
        csv="results/tables/{ways}.csv",
        md="results/tables/{ways}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{ways}}.log",
    wildcard_constraints:
        ways="prior_four_ways",  # a wildcard, because snakemake adds a forced rule without one to every target
    params:
        missing=missing_runs(four_ways_runs("")),
