"""From an LLM's episodes to the paper's figures and tables.

Two trees of the same shape. `results/` and `paper_figs/` at the top are shipped: no rule makes the runs in
`results/runs/`, so nothing there can ever be retrained. What this workflow trains goes under the tree that the
configuration names (`rerun/`); the same commands draw the figures and tables of both.

    snakemake paper_figs/cartpole_main.pdf          one job: drawn anew from the shipped runs
    snakemake rerun/paper_figs/cartpole_main.pdf    trains what this figure needs, and only that
    snakemake                                       everything afresh under rerun/, compared with what is shipped
"""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(workflow.basedir)))

from snakemake.exceptions import WorkflowError

import envs
from analysis.arms import OTHER_RANDOM, parts_of, read_name, run_name
from analysis.bins import countable
from analysis.configuration import (
    episodes_of,
    mistake_in,
    mistake_in_llm,
    mistake_in_run,
    schema_mistake,
    shipped_episodes,
)
from analysis.figure_lines import KINDS, SIZES, figures_of, runs_of
from analysis.protocols import DIFFERENCES, SELDOM, difference_of, repeats_of

if "environments" not in config:  # no --configfile given: the paper

    configfile: "config/paper.yaml"


if mistake := mistake_in(config):
    raise WorkflowError(mistake)

# The commands below say `python`, as a person would type them: they mean the Python that runs Snakemake.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
TREE = config["tree"]
config.setdefault("replications", {})
config.setdefault("offline_target", [])
ENVIRONMENTS = config["environments"]
MAIN_LLM, TAU, PRETRAIN_STEPS = (config["main"][key] for key in ("llm", "tau", "pretrain_steps"))
RELEASED_LLMS = [name for name, llm in config["llms"].items() if llm["source"] == "released"]
COLLECTED_LLMS = [name for name, llm in config["llms"].items() if llm["source"] == "collect"]
# The LLMs that algos/fetch_llm.py fetches without an account, and the digests of their files.
FETCHED_LLMS = {
    "smollm2-135m-instruct": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "qwen2.5-coder-0.5b-instruct": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
}
MAIN_FIGURES = [
    f"{env}{figure}" for env in ("", *(f"{env}_" for env in ENVIRONMENTS)) for figure in ("main", "main_steps")
]
GRID_FIGURES = [f"{env}_{kind}" for env in ENVIRONMENTS for kind in figures_of(env)]
PLAYERS = config["data_quality"]["llms"]
COUNTABLE = [env for env in ENVIRONMENTS if countable(env)]
# What a job takes of a GPU, 1 share or nothing: a profile says how many shares there are, profiles/one_gpu.py which GPU
# a job gets. Without a GPU neither has any effect. Neither is among a job's params: another device is no reason to train
# again.
GPU = int(config["device"] != "cpu")
ON_A_GPU = "python profiles/one_gpu.py " if GPU else ""
WANTED_FIGURES = MAIN_FIGURES + (GRID_FIGURES if config["grid"] else [])


include: "analysis/inputs.smk"


# The software of every job, for `snakemake --software-deployment-method apptainer` on machines without this package's
# Python: the image that `docker build -t loro .` leaves. Without that flag jobs run in the Python that runs Snakemake.
container: "docker-daemon:loro:latest"


report: "analysis/captions/workflow.rst"


# On a cluster these run where Snakemake does: they need the network, or take seconds. All others are sent away.
localrules:
    all,
    figures,
    fetch_llm,
    import_released,
    random_episodes,
    other_random_episodes,
    llm_policy,
    random_policy,
    audit,
    comparison,
    fresh_main_figure,
    main_figure,
    fresh_grid_figure,
    grid_figure,
    fresh_main_table,
    main_table,
    fresh_gain_figure,
    gain_figure,
    fresh_data_quality,
    data_quality,
    fresh_defects,
    defects,
    fresh_coverage_figure,
    coverage_figure,
    fresh_offline_target,
    offline_target,
    fresh_replication,
    replication_of,
    fresh_verdict,
    verdict,
    fresh_scores,
    scores,
    fresh_fidelity,
    fidelity,
    cost,
    fresh_llm_policies,
    llm_policies,
    main_data_page,
    grid_data_page,
    other_data_page,
    table_page,
    report_pages,


wildcard_constraints:
    env="|".join(ENVIRONMENTS),
    protocol="paper|released",
    figure="|".join(MAIN_FIGURES),
    kind="|".join(KINDS),


include: "analysis/prior.smk"


rule all:
    default_target: True
    input:
        expand(f"{TREE}/paper_figs/{{figure}}.pdf", figure=WANTED_FIGURES),
        f"{TREE}/results/tables/main.md",
        f"{TREE}/paper_figs/gains.pdf" if {"online", "loro"} <= set(config["arms"]["paper"]) else [],
        f"{TREE}/results/tables/comparison.md",
        [f"{TREE}/paper_figs/data_quality.pdf", f"{TREE}/results/tables/llm_policies.md"] if PLAYERS else [],
        f"{TREE}/paper_figs/defects.pdf" if config["defects"] else [],
        f"{TREE}/paper_figs/offline_target.pdf" if seldom_runs("") else [],
        expand(f"{TREE}/results/tables/replication_{{env}}.md", env=config["replications"]),
        [f"{TREE}/results/{name}.md" for name in ("claims", "tables/fidelity", "tables/grid") if config["grid"]],
        f"{TREE}/paper_figs/coverage.pdf" if PLAYERS and COUNTABLE else [],
        f"{TREE}/results/tables/scores.md",
        [f"{TREE}/{product}" for product in PRIOR_PRODUCTS] if config["grid"] else [],


# --- The LLM's episodes ----------------------------------------------------------------------------------------------


rule fetch_llm:
    message:
        "Fetching {wildcards.model}"
    output:
        gguf=ensure("models/{model}.gguf", sha256=lambda wildcards: FETCHED_LLMS[wildcards.model]),
        weights="models/{model}/model.safetensors",
    log:
        "models/{model}.log",
    wildcard_constraints:
        model="|".join(map(re.escape, FETCHED_LLMS)),
    retries: 2
    shell:
        "python -m algos.fetch_llm --llm {wildcards.model} > {log} 2>&1"


rule collect:
    message:
        "{wildcards.llm} plays {wildcards.env}"
    input:
        model_files,
    output:
        f"{TREE}/results/datasets/{{env}}/{{llm}}/meta.json",
    log:
        f"{TREE}/logs/datasets/{{env}}_{{llm}}.log",
    benchmark:
        f"{TREE}/benchmarks/datasets/{{env}}_{{llm}}.tsv"
    wildcard_constraints:
        llm="|".join(COLLECTED_LLMS) or "none",
    threads: 1
    resources:
        mem_mb=6000,  # measured: 2,500 with half a billion parameters in float32
        runtime=240,  # minutes; the slowest of the shipped datasets took 63
        gpu=GPU,
    params:
        how=decision_arguments,
        folder=subpath(output[0], parent=True),
        episodes=config["episodes"]["collected"],
    shell:
        f"{ON_A_GPU}python -m algos.collect --env {{wildcards.env}} {{params.how}} --episodes {{params.episodes}}"
        f" --device {config['device']}"
        " --output {params.folder} > {log} 2>&1"


rule import_released:
    message:
        "The authors' episodes of {wildcards.llm} in {wildcards.env}"
    output:
        f"{TREE}/results/datasets/{{env}}/{{llm}}/meta.json",
    log:
        f"{TREE}/logs/datasets/{{env}}_{{llm}}.log",
    wildcard_constraints:
        llm="|".join(RELEASED_LLMS) or "none",
    params:
        folder=subpath(output[0], parent=True),
        source=f"--source {config['authors_data']}" if config.get("authors_data") else "",
    retries: 2
    shell:
        "python -m analysis.import_released --env {wildcards.env} --llm {wildcards.llm} {params.source}"
        " --output {params.folder} > {log} 2>&1"


rule random_episodes:
    message:
        "A random policy plays {wildcards.env}"
    output:
        f"{TREE}/results/datasets/{{env}}/random/meta.json",
    log:
        f"{TREE}/logs/datasets/{{env}}_random.log",
    params:
        folder=subpath(output[0], parent=True),
        episodes=config["episodes"]["random"],
        seed=0,
    shell:
        "python -m algos.collect --env {wildcards.env} --model random --episodes {params.episodes} --seed {params.seed}"
        " --output {params.folder} > {log} 2>&1"


use rule random_episodes as other_random_episodes with:
    message:
        "A random policy plays {wildcards.env} again"
    output:
        f"{TREE}/results/datasets/{{env}}/{OTHER_RANDOM}/meta.json",
    log:
        f"{TREE}/logs/datasets/{{env}}_{OTHER_RANDOM}.log",
    params:
        seed=1,


# --- Runs ------------------------------------------------------------------------------------------------------------


rule llm_policy:
    message:
        "{wildcards.llm} as the policy in {wildcards.env}"
    input:
        lambda wildcards: dataset(wildcards.env, wildcards.llm),
    output:
        f"{TREE}/results/runs/paper/{{env}}/llm-policy_{{llm}}.csv",
    log:
        f"{TREE}/logs/runs/paper/{{env}}/llm-policy_{{llm}}.log",
    params:
        folder=subpath(input[0], parent=True),
    shell:
        "python -m analysis.policy_run --env {wildcards.env} --dataset {params.folder} --output {output} > {log} 2>&1"


use rule llm_policy as random_policy with:
    message:
        "Random play in {wildcards.env}"
    input:
        lambda wildcards: dataset(wildcards.env, "random"),
    output:
        f"{TREE}/results/runs/paper/{{env}}/random-policy.csv",
    log:
        f"{TREE}/logs/runs/paper/{{env}}/random-policy.log",


rule train:
    message:
        "Training {wildcards.arm} in {wildcards.env}, {wildcards.protocol} protocol"
    input:
        offline_data,
    output:
        csv=f"{TREE}/results/runs/{{protocol}}/{{env}}/{{arm}}.csv",
        json=f"{TREE}/results/runs/{{protocol}}/{{env}}/{{arm}}.json",
        policy=f"{TREE}/results/runs/{{protocol}}/{{env}}/{{arm}}.policy.safetensors",
    log:
        f"{TREE}/logs/runs/{{protocol}}/{{env}}/{{arm}}.log",
    benchmark:
        f"{TREE}/benchmarks/runs/{{protocol}}/{{env}}/{{arm}}.tsv"
    wildcard_constraints:
        arm="(?!llm-policy|random-policy)[a-z0-9._-]+",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=training_minutes,
        gpu=GPU,
    params:
        algorithm=algorithm_of,
        arguments=training_arguments,
    shell:
        f"{ON_A_GPU}python -m algos.{{params.algorithm}} --env {{wildcards.env}} {{params.arguments}}"
        f" --device {config['device']}"
        " --output {output.csv} > {log} 2>&1"


# What surprised, once more with other seeds, and other random episodes.
use rule train as train_again with:
    message:
        "Training {wildcards.arm} in {wildcards.env} again, with other seeds"
    output:
        csv=f"{TREE}/results/{{again}}/{{protocol}}/{{env}}/{{arm}}.csv",
        json=f"{TREE}/results/{{again}}/{{protocol}}/{{env}}/{{arm}}.json",
        policy=f"{TREE}/results/{{again}}/{{protocol}}/{{env}}/{{arm}}.policy.safetensors",
    log:
        f"{TREE}/logs/{{again}}/{{protocol}}/{{env}}/{{arm}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{again}}/{{protocol}}/{{env}}/{{arm}}.tsv"
    wildcard_constraints:
        again="replications",
        env="|".join(config["replications"]) or "none",


# Runs that pretrain, with the target network copied as seldom meanwhile as online.
use rule train as train_seldom with:
    message:
        "Training {wildcards.arm} in {wildcards.env}, the target network copied seldom"
    output:
        csv=f"{TREE}/results/offline-target/{{protocol}}/{{env}}/{{arm}}.csv",
        json=f"{TREE}/results/offline-target/{{protocol}}/{{env}}/{{arm}}.json",
        policy=f"{TREE}/results/offline-target/{{protocol}}/{{env}}/{{arm}}.policy.safetensors",
    log:
        f"{TREE}/logs/offline-target/{{protocol}}/{{env}}/{{arm}}.log",
    benchmark:
        f"{TREE}/benchmarks/offline-target/{{protocol}}/{{env}}/{{arm}}.tsv"
    wildcard_constraints:
        protocol="paper",
        arm="|".join(map(re.escape, config["offline_target"])) or "none",
    params:
        arguments=lambda wildcards, input: (
            f"{training_arguments(wildcards, input)} --offline-target-update-interval {SELDOM}"
        ),


# Runs beside the grid that answer one question each. Is our PPO sound? As long as CleanRL and Stable-Baselines3 train it
# (CartPole-v1 490 of 500, Pendulum -250). Is it PPO that solves MountainCar, or what it reads? Without normalisation.
# Is it the LLM, or LORO's own target network? Online RL with it. Is it what the authors' repeats learnt after the 300
# iterations that are plotted? One chain, a core's hour long. Do the learners of d3rlpy, the authors' library, fare better
# where a network is handed on? Twelve chains of ours, of theirs.
REFERENCES = {
    "ppo-cartpole": "ppo --env cartpole --horizon 500 --iteration-steps 10000 --iterations 30 --eval-episodes 20",
    "ppo-pendulum": "ppo --env pendulum --iteration-steps 20000 --iterations 50 --eval-episodes 20",
    "ppo-unnormalized-mountain-car": "ppo --env mountain-car --no-normalize",
    "online-target-cartpole": "dqn --env cartpole --arm online --target-update-interval 200",
    "online-target-cliff-walking": "dqn --env cliff-walking --arm online --target-update-interval 200",
    "long-repeats-mountain-car": "dqn --env mountain-car --arm loro --protocol released --carry-over 2"
    " --repeat-iterations 6000 --seeds 1",
    "two-repeats-cartpole": "dqn --env cartpole --arm loro --protocol released --carry-over 2 --first-seed 20 --seeds 12",
}


rule reference:
    message:
        "Reference run {wildcards.reference}"
    input:
        reference_data,
    output:
        csv=f"{TREE}/results/reference/{{reference}}.csv",
        json=f"{TREE}/results/reference/{{reference}}.json",
    log:
        f"{TREE}/logs/reference/{{reference}}.log",
    wildcard_constraints:
        reference="|".join(REFERENCES),
    resources:
        mem_mb=2000,
        runtime=240,  # minutes; a cluster that ends it sooner goes on where it was
        gpu=GPU,
    params:
        arguments=reference_arguments,
    shell:
        f"{ON_A_GPU}python -m algos.{{params.arguments}} --device {config['device']}"
        " --output {output.csv} > {log} 2>&1"


# --- Figures and tables: one rule for the fresh tree, its twin for the shipped one -----------------------------------


rule fresh_main_figure:
    message:
        "Drawing {output.pdf}"
    input:
        fresh_runs,
        published_runs,
    output:
        pdf=f"{TREE}/paper_figs/{{figure}}.pdf",
        png=f"{TREE}/paper_figs/{{figure}}.png",
    log:
        f"{TREE}/logs/paper_figs/{{figure}}.log",
    params:
        env=lambda wildcards: "all" if wildcards.figure.startswith("main") else environments_of(wildcards)[0],
        over=lambda wildcards: "steps" if wildcards.figure.endswith("_steps") else "iterations",
    shell:
        "python -m analysis.main_figure --env {params.env} --over {params.over} --runs {input} --output {output.pdf}"
        " > {log} 2>&1"


use rule fresh_main_figure as main_figure with:
    input:
        shipped_runs,
    output:
        pdf="paper_figs/{figure}.pdf",
        png=shown("paper_figs/{figure}.png", "main", "2 Main figures"),
    log:
        f"{TREE}/logs/shipped/paper_figs/{{figure}}.log",


rule fresh_grid_figure:
    message:
        "Drawing {output.pdf}"
    input:
        lambda wildcards: grid_runs(f"{TREE}/", wildcards),
        published_grid_runs,
    output:
        pdf=f"{TREE}/paper_figs/{{env}}_{{kind}}{{over}}.pdf",
        png=f"{TREE}/paper_figs/{{env}}_{{kind}}{{over}}.png",
    log:
        f"{TREE}/logs/paper_figs/{{env}}_{{kind}}{{over}}.log",
    wildcard_constraints:
        over="|_steps",
    params:
        over=lambda wildcards: "steps" if wildcards.over else "iterations",
    shell:
        "python -m analysis.grid_figure --env {wildcards.env} --kind {wildcards.kind} --over {params.over} --runs {input}"
        " --output {output.pdf} > {log} 2>&1"


use rule fresh_grid_figure as grid_figure with:
    input:
        shipped_grid_runs,
    output:
        pdf="paper_figs/{env}_{kind}{over}.pdf",
        png=shown("paper_figs/{env}_{kind}{over}.png", "grid", "3 The paper's other figures"),
    log:
        f"{TREE}/logs/shipped/paper_figs/{{env}}_{{kind}}{{over}}.log",


rule fresh_main_table:
    message:
        "Writing {output.md}"
    input:
        lambda wildcards: warm_starts(f"{TREE}/") if wildcards.table == "grid" else fresh_runs(wildcards),
        lambda wildcards: [] if wildcards.table == "grid" else published_runs(wildcards),
    output:
        csv=f"{TREE}/results/tables/{{table}}.csv",
        md=f"{TREE}/results/tables/{{table}}.md",
    log:
        f"{TREE}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table="main|grid",
    params:
        page=lambda wildcards: "--arms loro --title 'LORO with every LLM, N and τ'" if wildcards.table == "grid" else "",
    shell:
        "python -m analysis.main_table {params.page} --runs {input} --output {output.csv} > {log} 2>&1"


use rule fresh_main_table as main_table with:
    input:
        lambda wildcards: there(warm_starts("")) if wildcards.table == "grid" else shipped_runs(wildcards),
    output:
        csv="results/tables/{table}.csv",
        md="results/tables/{table}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{table}}.log",


rule fresh_gain_figure:
    message:
        "Drawing {output.pdf}"
    input:
        f"{TREE}/results/tables/main.csv",
    output:
        pdf=f"{TREE}/paper_figs/gains.pdf",
        png=f"{TREE}/paper_figs/gains.png",
    log:
        f"{TREE}/logs/paper_figs/gains.log",
    shell:
        "python -m analysis.gain_figure --table {input} --output {output.pdf} > {log} 2>&1"


use rule fresh_gain_figure as gain_figure with:
    input:
        "results/tables/main.csv",
    output:
        pdf="paper_figs/{gains}.pdf",
        png=shown("paper_figs/{gains}.png", "gains", "4 Beyond the paper"),
    log:
        f"{TREE}/logs/shipped/paper_figs/{{gains}}.log",
    wildcard_constraints:
        gains="gains",


rule fresh_data_quality:
    message:
        "Drawing {output.pdf}"
    input:
        quality_runs(f"{TREE}/", distinct_players),
    output:
        pdf=f"{TREE}/paper_figs/data_quality.pdf",
        png=f"{TREE}/paper_figs/data_quality.png",
        csv=f"{TREE}/results/tables/data_quality.csv",
        md=f"{TREE}/results/tables/data_quality.md",
    log:
        f"{TREE}/logs/tables/data_quality.log",
    shell:
        "python -m analysis.data_quality --runs {input} --output {output.pdf} --table {output.csv} > {log} 2>&1"


use rule fresh_data_quality as data_quality with:
    input:
        there(quality_runs("", lambda env: PLAYERS)),
    output:
        pdf="paper_figs/{quality}.pdf",
        png=shown("paper_figs/{quality}.png", "data_quality", "4 Beyond the paper"),
        csv="results/tables/{quality}.csv",
        md="results/tables/{quality}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{quality}}.log",
    wildcard_constraints:
        quality="data_quality",


rule fresh_defects:
    message:
        "Drawing {output.pdf}"
    input:
        runs=defect_runs(f"{TREE}/"),
        controls=defect_controls(f"{TREE}/"),
    output:
        pdf=f"{TREE}/paper_figs/defects.pdf",
        png=f"{TREE}/paper_figs/defects.png",
        csv=f"{TREE}/results/tables/defects.csv",
        md=f"{TREE}/results/tables/defects.md",
    log:
        f"{TREE}/logs/tables/defects.log",
    shell:
        "python -m analysis.defects --runs {input.runs} --controls {input.controls} --output {output.pdf}"
        " --table {output.csv} > {log} 2>&1"


use rule fresh_defects as defects with:
    input:
        runs=there(defect_runs("")),
        controls=there(defect_controls("")),
    output:
        pdf="paper_figs/{defects}.pdf",
        png=shown("paper_figs/{defects}.png", "defects", "4 Beyond the paper"),
        csv="results/tables/{defects}.csv",
        md="results/tables/{defects}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{defects}}.log",
    wildcard_constraints:
        defects="defects",


rule fresh_offline_target:
    message:
        "The target network while pretraining"
    input:
        claims="config/claims.yaml",
        runs=often_runs(f"{TREE}/"),
        seldom=seldom_runs(f"{TREE}/"),
    output:
        csv=f"{TREE}/results/tables/offline_target.csv",
        md=f"{TREE}/results/tables/offline_target.md",
        pdf=f"{TREE}/paper_figs/offline_target.pdf",
        png=f"{TREE}/paper_figs/offline_target.png",
    log:
        f"{TREE}/logs/tables/offline_target.log",
    shell:
        "python -m analysis.offline_target --claims {input.claims} --runs {input.runs} --seldom {input.seldom}"
        " --output {output.csv} --figure {output.pdf} > {log} 2>&1"


use rule fresh_offline_target as offline_target with:
    input:
        claims="config/claims.yaml",
        runs=there(often_runs("")),
        seldom=there(seldom_runs("")),
    output:
        csv="results/tables/{offline_target}.csv",
        md="results/tables/{offline_target}.md",
        pdf="paper_figs/{offline_target}.pdf",
        png=shown("paper_figs/{offline_target}.png", "offline_target", "4 Beyond the paper"),
    log:
        f"{TREE}/logs/shipped/tables/{{offline_target}}.log",
    wildcard_constraints:
        offline_target="offline_target",


rule fresh_replication:
    message:
        "What surprised in {wildcards.env}, with other seeds"
    input:
        online=lambda wildcards: replicated_runs(f"{TREE}/", wildcards.env)[0],
        arms=lambda wildcards: replicated_runs(f"{TREE}/", wildcards.env)[1:],
    output:
        f"{TREE}/results/tables/replication_{{env}}.md",
    log:
        f"{TREE}/logs/tables/replication_{{env}}.log",
    wildcard_constraints:
        env="|".join(config["replications"]) or "none",
    shell:
        "python -m analysis.warm_start --runs {input.arms} --against {input.online} --output {output} > {log} 2>&1"


use rule fresh_replication as replication_of with:
    input:
        online=lambda wildcards: replicated_runs("", wildcards.env)[0],
        arms=lambda wildcards: there(replicated_runs("", wildcards.env)[1:]),
    output:
        "results/tables/replication_{env}.md",
    log:
        f"{TREE}/logs/shipped/tables/replication_{{env}}.log",


rule fresh_verdict:
    message:
        "Judging the paper's claims"
    input:
        claims="config/claims.yaml",
        runs=claimed_runs(f"{TREE}/"),
        published=claimed_published_runs,
        priors=claimed_prior_runs(f"{TREE}/") if config["grid"] else [],
        again=all_replicated_runs(f"{TREE}/"),
    output:
        md=f"{TREE}/results/claims.md",
        csv=f"{TREE}/results/claims.csv",
        pdf=f"{TREE}/paper_figs/verdict.pdf",
        png=f"{TREE}/paper_figs/verdict.png",
    log:
        f"{TREE}/logs/claims.log",
    params:
        again=lambda wildcards, input: f"--again {' '.join(input.again)}" if input.again else "",
    shell:
        "python -m analysis.verdict --claims {input.claims} --runs {input.runs} {input.published} {input.priors}"
        " {params.again} --output {output.md} --figure {output.pdf} > {log} 2>&1"


use rule fresh_verdict as verdict with:
    input:
        claims="config/claims.yaml",
        runs=there(claimed_runs("")),
        published=claimed_published_runs,
        priors=there(claimed_prior_runs("")),
        again=there(all_replicated_runs("")),
    output:
        md="results/{shipped}claims.md",
        csv="results/{shipped}claims.csv",
        pdf="paper_figs/{shipped}verdict.pdf",
        png=shown("paper_figs/{shipped}verdict.png", "verdict", "1 Verdict"),
    log:
        f"{TREE}/logs/shipped/{{shipped}}claims.log",
    wildcard_constraints:
        shipped="()",  # an empty wildcard, because snakemake adds a forced rule without one to every target


rule fresh_scores:
    message:
        "Scoring every cell"
    input:
        fresh_runs,
        published_runs,
    output:
        csv=f"{TREE}/results/tables/scores.csv",
        md=f"{TREE}/results/tables/scores.md",
    log:
        f"{TREE}/logs/tables/scores.log",
    shell:
        f"python -m analysis.scores --loro {arm_file('loro')} --mix {arm_file('mix')}"
        " --runs {input} --output {output.csv} > {log} 2>&1"


use rule fresh_scores as scores with:
    input:
        lambda wildcards: all_shipped("paper", "published", "released"),
    output:
        csv="results/tables/{scores}.csv",
        md="results/tables/{scores}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{scores}}.log",
    wildcard_constraints:
        scores="scores",


rule fresh_fidelity:
    message:
        "Comparing with every published number"
    input:
        runs=lambda wildcards: list(
            dict.fromkeys([*all_shipped("published"), *fresh_runs(wildcards), *claimed_runs(f"{TREE}/")])
        ),
        opinions=[],
        pairs=[],
    output:
        csv=f"{TREE}/results/tables/fidelity.csv",
        md=f"{TREE}/results/tables/fidelity.md",
    log:
        f"{TREE}/logs/tables/fidelity.log",
    shell:
        "python -m analysis.fidelity --runs {input.runs} --second-opinions {input.opinions}"
        " --repeat-by-repeat {input.pairs} --output {output.csv} > {log} 2>&1"


use rule fresh_fidelity as fidelity with:
    input:
        runs=lambda wildcards: all_shipped("paper", "published", "released"),
        opinions=sorted(map(str, Path("results/reference").glob("d3rlpy-loro-*.csv"))),
        pairs=[f"results/reference/{whose}two-repeats-cartpole.csv" for whose in ("", "d3rlpy-")],
    output:
        csv="results/tables/{fidelity}.csv",
        md="results/tables/{fidelity}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{fidelity}}.log",
    wildcard_constraints:
        fidelity="fidelity",


# Made from final policies, which are too large to ship: what was measured of them is shipped, by `analysis.promote`.
rule coverage:
    message:
        "What the data covers of what final policies do"
    input:
        runs=covered_policies,
        policies=lambda wildcards: [run.replace(".csv", ".policy.safetensors") for run in covered_policies(wildcards)],
        datasets=[dataset(env, llm) for env in COUNTABLE for llm in [*config["llms"], "random"] if plays(env, llm)],
    output:
        f"{TREE}/results/coverage.csv",
    log:
        f"{TREE}/logs/coverage.log",
    params:
        folders=lambda wildcards, input: [str(Path(meta).parent) for meta in input.datasets],
    shell:
        "python -m analysis.coverage --runs {input.runs} --datasets {params.folders} --output {output} > {log} 2>&1"


rule fresh_coverage_figure:
    message:
        "Drawing {output.pdf}"
    input:
        measured=f"{TREE}/results/coverage.csv",
        runs=covered_runs(f"{TREE}/", distinct_players),
    output:
        pdf=f"{TREE}/paper_figs/coverage.pdf",
        png=f"{TREE}/paper_figs/coverage.png",
        csv=f"{TREE}/results/tables/coverage.csv",
        md=f"{TREE}/results/tables/coverage.md",
    log:
        f"{TREE}/logs/tables/coverage.log",
    shell:
        "python -m analysis.coverage_figure --measured {input.measured} --runs {input.runs} --output {output.pdf}"
        f" --table {{output.csv}} --tau {TAU} > {{log}} 2>&1"


use rule fresh_coverage_figure as coverage_figure with:
    input:
        measured="results/coverage.csv",
        runs=there(covered_runs("", lambda env: PLAYERS)),
    output:
        pdf="paper_figs/{coverage}.pdf",
        png=shown("paper_figs/{coverage}.png", "coverage", "4 Beyond the paper"),
        csv="results/tables/{coverage}.csv",
        md="results/tables/{coverage}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{coverage}}.log",
    wildcard_constraints:
        coverage="coverage",


rule cost:
    message:
        "What training costs"
    input:
        lambda wildcards: all_shipped("paper", "released"),
    output:
        csv="results/tables/{cost}.csv",
        md="results/tables/{cost}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{cost}}.log",
    wildcard_constraints:
        cost="cost",
    params:
        asked=lambda wildcards: asked_runs(),
    shell:
        "python -m analysis.cost --runs {input} --asked {params.asked} --output {output.csv} > {log} 2>&1"


rule fresh_llm_policies:
    message:
        "Writing {output.md}"
    input:
        [dataset(env, llm) for env in ENVIRONMENTS for llm in config["data_quality"]["table"]],
    output:
        csv=f"{TREE}/results/tables/llm_policies.csv",
        md=f"{TREE}/results/tables/llm_policies.md",
    log:
        f"{TREE}/logs/tables/llm_policies.log",
    params:
        folders=lambda wildcards, input: [str(Path(meta).parent) for meta in input],
    shell:
        "python -m analysis.llm_policies --datasets {params.folders} --output {output.csv} > {log} 2>&1"


# The shipped table needs the authors' episodes too, which are not shipped: `snakemake figures` leaves it as it is. Of
# the others it shows those that are shipped.
use rule fresh_llm_policies as llm_policies with:
    input:
        [
            dataset(env, llm)
            for env in ENVIRONMENTS
            for llm in config["data_quality"]["table"]
            if llm in RELEASED_LLMS or Path(f"results/datasets/{env}/{llm}/meta.json").exists()
        ],
    output:
        csv="results/tables/llm_policies.csv",
        md="results/tables/llm_policies.md",
    log:
        f"{TREE}/logs/shipped/tables/llm_policies.log",


rule audit:
    message:
        "Auditing the authors' released files"
    output:
        md=f"{TREE}/results/audit.md",
        csv=f"{TREE}/results/audit.csv",
    log:
        f"{TREE}/logs/audit.log",
    params:
        source=f"--source {config['authors_data']}" if config.get("authors_data") else "",
    shell:
        "python -m analysis.audit {params.source} --output {output.md} > {log} 2>&1"


rule comparison:
    message:
        "Comparing fresh and shipped runs"
    input:
        fresh_runs,
    output:
        f"{TREE}/results/tables/comparison.md",
    log:
        f"{TREE}/logs/tables/comparison.log",
    shell:
        "python -m analysis.compare --runs {input} --shipped results/runs --output {output} > {log} 2>&1"


rule figures:
    message:
        "Figures and tables of the shipped runs"
    input:
        expand("paper_figs/{figure}.pdf", figure=[*MAIN_FIGURES, *GRID_FIGURES]),
        expand("paper_figs/{figure}.pdf", figure=["gains", "data_quality", "defects", "coverage"]),
        "results/tables/main.md",
        "results/tables/grid.md",
        "results/claims.md",
        "results/tables/scores.md",
        "results/tables/fidelity.md",
        "results/tables/cost.md",
        "paper_figs/offline_target.pdf" if there(seldom_runs("")) else [],
        expand("results/tables/replication_{env}.md", env=shipped_replications()),
        PRIOR_PRODUCTS,


# --- The report of what is shipped: `make report` --------------------------------------------------------------------


rule main_data_page:
    message:
        "The data behind {wildcards.figure}"
    input:
        shipped_runs,
    output:
        shown(f"{TREE}/report/{{figure}}_data.html", "data", "6 Data behind the figures"),
    log:
        f"{TREE}/logs/report/{{figure}}_data.log",
    params:
        title=lambda wildcards, output: f"Data behind {Path(output[0]).stem.removesuffix('_data')}",
    shell:
        "python -m analysis.page --title '{params.title}' --runs {input} --output {output} > {log} 2>&1"


use rule main_data_page as grid_data_page with:
    message:
        "The data behind {wildcards.env}_{wildcards.kind}"
    input:
        shipped_grid_runs,
    output:
        shown(f"{TREE}/report/{{env}}_{{kind}}_data.html", "data", "6 Data behind the figures"),
    log:
        f"{TREE}/logs/report/{{env}}_{{kind}}_data.log",


use rule main_data_page as other_data_page with:
    message:
        "The data behind {wildcards.other}"
    input:
        lambda wildcards: {
            "verdict": rules.verdict.input.runs + claimed_published_runs(wildcards),
            "data_quality": rules.data_quality.input,
            "defects": rules.defects.input.runs,
            "offline_target": rules.offline_target.input.runs + rules.offline_target.input.seldom,
        }[wildcards.other],
    output:
        shown(f"{TREE}/report/{{other}}_data.html", "data", "6 Data behind the figures"),
    log:
        f"{TREE}/logs/report/{{other}}_data.log",
    wildcard_constraints:
        other="verdict|data_quality|defects|offline_target",


rule table_page:
    message:
        "The table {wildcards.table}"
    input:
        lambda wildcards: [] if wildcards.table in SHIPPED_TABLES else table_files(wildcards),
    output:
        shown(
            f"{TREE}/report/{{table}}_table.html",
            "table",
            table_category,
            labels={"environment": "several", "figure": "table: {table}", "protocol": ""},
        ),
    log:
        f"{TREE}/logs/report/{{table}}_table.log",
    params:
        files=lambda wildcards: " ".join(
            f"{'--text' if path.endswith('.md') else '--table'} {path}" for path in table_files(wildcards)
        ),
    wildcard_constraints:
        table="|".join(TABLES),
    shell:
        "python -m analysis.page --title 'Table {wildcards.table}' {params.files} --output {output} > {log} 2>&1"


rule report_pages:
    message:
        "Everything that the report shows"
    input:
        rules.figures.input,
        expand(f"{TREE}/report/{{figure}}_data.html", figure=[*MAIN_FIGURES, *GRID_FIGURES]),
        expand(f"{TREE}/report/{{other}}_data.html", other=["verdict", "data_quality", "defects"]),
        f"{TREE}/report/offline_target_data.html" if there(seldom_runs("")) else [],
        expand(f"{TREE}/report/{{table}}_table.html", table=TABLES),
