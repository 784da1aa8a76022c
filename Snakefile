"""From an LLM's episodes to the paper's figures and tables.

Two trees of the same shape. `results/` and `paper_figs/` at the top are shipped: no rule makes the runs in
`results/runs/`, so nothing there can ever be retrained. What this workflow trains goes under the tree that the
configuration names (`rerun/`); the same commands draw the figures and tables of both. Here are the rules that collect
episodes and train; those of figures and tables are in `analysis/figures.smk`, those of the second paper in
`analysis/prior.smk`, those of the report in `analysis/report.smk`, and what each job needs in `analysis/inputs.smk`.

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
    fetch_llm,
    import_released,
    random_episodes,
    other_random_episodes,
    llm_policy,
    random_policy,


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


include: "analysis/figures.smk"
include: "analysis/report.smk"
