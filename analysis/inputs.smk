"""What the Snakefile's jobs need: runs, datasets, arguments, minutes; and the labels of what the report shows."""

DRAWN_ARMS = ("online", "loro")
MAIN_ARMS = ("online", "loro", "loro-discard", "mix", "pretrain-on-policy", "pretrain-random", "ppo", "ppo-bc")
# Milliseconds that one environment step of one agent may take with its update, on a CPU: the slowest run in
# results/tables/cost.csv, rounded up.
MILLISECONDS = {
    "cartpole": 13,
    "frozen-lake": 4,
    "cliff-walking": 3,
    "mountain-car": 6,
    "pendulum": 16,
    "represented-pong": 17,
}


def arm_file(arm):
    """Name the run of an arm with the settings of the main figure."""
    return run_name(arm, MAIN_LLM, TAU, PRETRAIN_STEPS)


MAIN_RUNS = [arm_file(arm) for arm in MAIN_ARMS]


def environments_of(wildcards):
    """List the environments that a figure or table shows: the one in its name, else all."""
    env = wildcards.get("figure", "main").removesuffix("_steps").removesuffix("main").removesuffix("_")
    return [env] if env else ENVIRONMENTS


def main_runs(prefix, env, wildcards):
    """List an environment's runs under `prefix`: those that the main figure draws, or all that the table lists."""
    drawn = {"paper": DRAWN_ARMS, "released": ("loro",)}
    trained = [
        (protocol, arm_file(arm))
        for protocol, arms in config["arms"].items()
        for arm in arms
        if arm in drawn[protocol] or "figure" not in wildcards.keys()
    ]
    llms = [MAIN_LLM, *(llm for llm in SIZES if MAIN_LLM in SIZES and llm in config["llms"] and llm != MAIN_LLM)]
    policies = [("paper", f"llm-policy_{llm}") for llm in llms] + [("paper", "random-policy")]
    return [f"{prefix}results/runs/{protocol}/{env}/{run}.csv" for protocol, run in trained + policies]


def fresh_runs(wildcards):
    """List the freshly made runs that a figure or table needs."""
    return [run for env in environments_of(wildcards) for run in main_runs(f"{TREE}/", env, wildcards)]


def shipped_runs(wildcards):
    """List the shipped runs that a figure or table is drawn from: those that are there, and the published curves."""
    runs = [run for env in environments_of(wildcards) for run in main_runs("", env, wildcards)]
    return there(runs) + published_runs(wildcards)


def there(paths):
    """Keep those of `paths` that exist: of what is shipped, what is computed so far."""
    return [path for path in paths if Path(path).exists()]


def all_shipped(*protocols):
    """List all shipped runs of some protocols."""
    return [str(run) for protocol in protocols for run in sorted(Path("results/runs", protocol).glob("*/*.csv"))]


def published_runs(wildcards):
    """List the authors' own curves of the arms that a figure or table shows; they are shipped."""
    arms = DRAWN_ARMS if "figure" in wildcards.keys() else config["arms"]["paper"]
    names = [arm_file(arm) for arm in arms]
    paths = [f"results/runs/published/{env}/{name}.csv" for env in environments_of(wildcards) for name in names]
    return there(paths)


def under_both(prefix, env, runs):
    """List runs under `paper`, and those of them whose arm the configuration has there under `released`."""
    released = [run for run in runs if read_name(run).arm in config["arms"].get("released", [])]
    both = [("paper", run) for run in runs] + [("released", run) for run in released]
    return [f"{prefix}results/runs/{protocol}/{env}/{run}.csv" for protocol, run in both]


def figure_runs(wildcards):
    """Name the runs that one of the paper's other figures shows."""
    kinds = figures_of(wildcards.env)
    if wildcards.kind not in kinds:
        raise WorkflowError(f"The paper has no figure {wildcards.kind} of {wildcards.env}, only {', '.join(kinds)}.")
    return runs_of(wildcards.kind, wildcards.env)


def grid_runs(prefix, wildcards):
    """List the runs that one of the paper's other figures shows, under both protocols."""
    return under_both(prefix, wildcards.env, figure_runs(wildcards))


def published_grid_runs(wildcards):
    """List the authors' own curves of one of the paper's other figures; they are shipped."""
    paths = [f"results/runs/published/{wildcards.env}/{run}.csv" for run in figure_runs(wildcards)]
    return there(paths)


def shipped_grid_runs(wildcards):
    """List the shipped runs of one of the paper's other figures: those that are there, and the published curves."""
    return there(grid_runs("", wildcards)) + published_grid_runs(wildcards)


def warm_starts(prefix):
    """List online RL, and LORO under both protocols from every LLM, with every N and tau, in the paper's figures."""
    runs = [f"{env}/{run}.csv" for env in ENVIRONMENTS for kind in figures_of(env) for run in runs_of(kind, env)]
    runs = [run for run in dict.fromkeys(runs) if Path(run).stem.startswith(("online", "loro_"))]
    released = [f"{prefix}results/runs/released/{run}" for run in runs if "loro_" in run]
    published = there([f"results/runs/published/{run}" for run in runs])
    return [*(f"{prefix}results/runs/paper/{run}" for run in runs), *released, *published]


def dataset(env, llm):
    """Name the episodes of an LLM, or of random play: those that are shipped, unless they are to be made afresh."""
    shipped = shipped_episodes(config, env, llm)
    return str(shipped or f"{TREE}/results/datasets/{env}/{llm}/meta.json")


def plays(env, llm):
    """Return whether an LLM, or random play, has episodes in an environment; the authors' do not have them in all."""
    return episodes_of(config, env, llm) is not None


def episodes_digest(env, llm):
    """Return what tells an LLM's shipped episodes from others', or its name where none are shipped."""
    meta = Path(dataset(env, llm))
    return llm if meta.is_relative_to(TREE) else json.loads(meta.read_text())["sha256"]


def distinct_players(env):
    """List the LLMs of different episodes. Equal episodes train equal agents: the first LLM stands for the others."""
    return {episodes_digest(env, llm): llm for llm in reversed(PLAYERS)}.values()


def quality_runs(prefix, players):
    """List the runs behind the question what the quality of an LLM's play does to a warm start."""
    steps = config["data_quality"]["pretrain_steps"]
    runs = []
    for env in ENVIRONMENTS:
        arms = ["online", "random-policy", *(f"llm-policy_{llm}" for llm in PLAYERS)]
        for llm in players(env):
            arms += [f"mix_{llm}_tau{TAU}", *(f"loro_{llm}_tau{TAU}_n{n}" for n in steps)]
        runs += [f"{prefix}results/runs/paper/{env}/{arm}.csv" for arm in arms]
    return runs


def defect_runs(prefix):
    """List LORO under both protocols, as it is and with each single difference that can matter in an environment."""
    runs = []
    for env in config["defects"]:
        arms = ["loro", *(f"loro-{name}" for name, one in DIFFERENCES.items() if env in one.environments)]
        runs += [f"{prefix}results/runs/{p}/{env}/{arm_file(arm)}.csv" for p in ("paper", "released") for arm in arms]
    return [*runs, *(f"{prefix}results/runs/paper/{env}/online.csv" for env in config["defects"])]


def defect_controls(prefix):
    """List online RL with LORO's target network, in the environments whose learner has one to copy."""
    names = [name for name in REFERENCES if name.removeprefix("online-target-") in config["defects"]]
    return [f"{prefix}results/reference/{name}.csv" for name in names]


def seldom_runs(prefix):
    """List the runs that pretrain, with the target network copied seldom, where the learner has one to copy."""
    there_is_one = [env for env in ENVIRONMENTS if envs.get(env).learner == "dqn"]
    names = config["offline_target"]
    return [f"{prefix}results/offline-target/paper/{env}/{name}.csv" for env in there_is_one for name in names]


def often_runs(prefix):
    """List what these are held against, and what the claims about them need: runs of `paper`."""
    names = [
        f"{prefix}results/runs/paper/{env}/{name}.csv" for env in ENVIRONMENTS for name in config["offline_target"]
    ]
    main = [run for env in ENVIRONMENTS for run in main_runs(prefix, env, {}) if "/runs/paper/" in run]
    return list(dict.fromkeys([*main, *names]))


def claimed_runs(prefix):
    """List the runs that the paper's claims are about, under both protocols."""
    runs = []
    content = yaml.safe_load(Path("config/claims.yaml").read_text())
    for claim in content["claims"]:
        arms = [claim["arm"], *([claim["against"]] if "against" in claim else [])]
        for env in [env for env in claim.get("environments", content["environments"]) if env in ENVIRONMENTS]:
            runs += under_both(prefix, env, arms)
    return list(dict.fromkeys(runs))


def claimed_published_runs(wildcards):
    """List the authors' own curves that the claims are about; they are shipped."""
    published = [run.replace("runs/paper", "runs/published") for run in claimed_runs("") if "runs/paper" in run]
    return there(published)


def labels(wildcards, input, output):
    """Say for the report which environment, figure and protocols a drawing, or the data behind it, shows."""
    runs = [Path(path).parts for path in input if path.startswith("results/runs/")]
    environments, protocols = (list(dict.fromkeys(parts[place] for parts in runs)) for place in (-2, -3))
    env = environments[0] if len(environments) == 1 else "several"
    figure = Path(output.get("png", output[0])).stem.removesuffix("_data").removeprefix(f"{env}_")
    return {"environment": env, "figure": figure, "protocol": ", ".join(protocols)}


def shown(path, caption, category, labels=labels):
    """Mark a file for the report, with a caption from analysis/captions/."""
    # Whole: another is looked for beside the file that the rule is in.
    caption = Path(workflow.basedir, "analysis/captions", f"{caption}.rst")
    return report(path, caption=str(caption), category=category, labels=labels)


def model_files(wildcards):
    """Two LLMs are fetched by a rule; any other model is a folder or a hub id that transformers resolves."""
    if mistake := mistake_in_llm(config, wildcards.env, wildcards.llm, FETCHED_LLMS):
        raise WorkflowError(mistake)
    folder, _, name = config["llms"][wildcards.llm]["model"].rpartition("/")
    return f"models/{name}/model.safetensors" if folder == "models" and name in FETCHED_LLMS else []


def decision_arguments(wildcards):
    """Turn an LLM's entry in the configuration into the arguments that say what it is told and how it decides."""
    llm = config["llms"][wildcards.llm]
    told = {"style": "verbal", **{name: llm[name] for name in ("style", "decide", "dtype", "server") if name in llm}}
    options = [f"--{name} {shlex.quote(value)}" for name, value in told.items()]
    flags = [f"--{name}" for name in ("calibrate", "plain") if llm.get(name)]
    return " ".join([f"--model {shlex.quote(llm['model'])}", *options, *flags])


def offline_data(wildcards):
    """The dataset that an arm learns from, if any; an arm that cannot be trained is refused before anything is."""
    if mistake := mistake_in_run(config, wildcards.protocol, wildcards.env, wildcards.arm):
        raise WorkflowError(mistake)
    player = read_name(wildcards.arm).player
    if player == "random" and wildcards.get("again"):  # agents that share ten episodes share their luck
        player = OTHER_RANDOM
    return dataset(wildcards.env, player) if player else []


def training_arguments(wildcards, input):
    """Turn the name of a run into the arguments of the program that makes it."""
    run = read_name(wildcards.arm)
    difference = difference_of(run.arm)
    arguments = ["--arm", "loro" if difference else run.arm, "--protocol", wildcards.protocol]
    if difference:
        arguments += [difference.flag, difference.other(wildcards.protocol)]
    if run.tau is not None:
        arguments += ["--tau", str(run.tau)]
    if run.pretrain_steps is not None:
        arguments += ["--pretrain-steps", str(run.pretrain_steps)]
    if input:
        arguments += ["--dataset", str(Path(input[0]).parent)]
    if config["iterations"]:
        arguments += ["--iterations", str(config["iterations"])]
    if again := replication(wildcards):
        arguments += ["--first-seed", str(again["first_seed"])]
    arguments += ["--seeds", str(training_seeds(wildcards))]
    return " ".join(arguments)


def algorithm_of(wildcards):
    """PPO where the arm says so, else the paper's learner: SAC for continuous actions, Double DQN for the others."""
    return "ppo" if wildcards.arm.startswith("ppo") else envs.get(wildcards.env).learner


def replication(wildcards):
    """Return which agents try an arm again, where a run is for that; else nothing."""
    return config["replications"][wildcards.env] if wildcards.get("again") else {}


def replicated_runs(prefix, env):
    """List online RL and the runs that are trained again in an environment, with other seeds."""
    names = ["online", *config["replications"][env]["runs"]]
    return [f"{prefix}results/replications/paper/{env}/{name}.csv" for name in names]


def shipped_replications():
    """List the environments where what was trained again is shipped: online RL, and one run at least beside it."""
    runs = {env: replicated_runs("", env) for env in config["replications"]}
    return [env for env, (online, *others) in runs.items() if there([online]) and there(others)]


def all_replicated_runs(prefix):
    """List the runs that are trained again in every environment."""
    return [run for env in config["replications"] for run in replicated_runs(prefix, env)]


def reference_data(wildcards):
    """The episodes that a reference run learns from, if any: those of the main figure's LLM."""
    words = REFERENCES[wildcards.reference].split()
    env = words[words.index("--env") + 1]
    return dataset(env, MAIN_LLM) if "loro" in words else []


def reference_arguments(wildcards, input):
    """The arguments of a reference run; of five agents, unless it says otherwise."""
    arguments = REFERENCES[wildcards.reference]
    seeds = [] if "--seeds" in arguments else ["--seeds 5"]
    data = [f"--dataset {Path(input[0]).parent}"] if input else []
    return " ".join([arguments, *data, *seeds])


def training_seeds(wildcards):
    """Return how many agents a run trains; a chain of repeats counts as one."""
    if again := replication(wildcards):
        return again["seeds"]
    return seeds_of(wildcards.protocol, wildcards.env, wildcards.arm)


def seeds_of(protocol, env, run):
    """Return how many agents a run of the grid trains."""
    seeds = config["seeds"]
    arm = read_name(run).arm
    chains = protocol == "released" and repeats_of(protocol, arm) > 1
    if run in MAIN_RUNS and (chains or protocol == "paper"):
        return seeds[protocol][env]
    return seeds["others"]["released" if chains and not difference_of(arm) else "paper"]


def training_minutes(wildcards):
    """Return twice the minutes that a run is expected to take on a CPU, and ten: where a cluster ends it, it goes on."""
    repeats = repeats_of(wildcards.protocol, read_name(wildcards.arm).arm)
    iterations = config["iterations"] or envs.get(wildcards.env).iterations
    steps = 200 * iterations * repeats * training_seeds(wildcards)
    milliseconds = MILLISECONDS.get(wildcards.env, max(MILLISECONDS.values()))
    return 10 + 2 * steps * milliseconds // 60_000


def covered_runs(prefix, players):
    """List online RL, random play and all warm starts, from our LLMs' episodes and in the paper's figures."""
    paper = [run for run in warm_starts(prefix) if "/runs/paper/" in run]
    return list(dict.fromkeys([*quality_runs(prefix, players), *paper]))


def covered_policies(wildcards):
    """List the runs whose final policies are held against the data."""
    runs = [run for run in covered_runs(f"{TREE}/", distinct_players) if "-policy" not in Path(run).stem]
    return [run for run in runs if Path(run).parent.name in COUNTABLE]


def asked_runs():
    """List every run that the whole configuration trains, as <protocol>/<env>/<run>=<seeds>."""
    runs = [run for env in ENVIRONMENTS for run in main_runs("", env, {})]
    runs += quality_runs("", distinct_players) + defect_runs("")
    if config["grid"]:
        figures = [(env, runs_of(kind, env)) for env in ENVIRONMENTS for kind in figures_of(env)]
        runs += [run for env, names in figures for run in under_both("", env, names)]
        runs += claimed_runs("") + four_ways_runs("")
    parts = [Path(run).with_suffix("").parts[2:] for run in dict.fromkeys(runs)]
    return [
        f"{protocol}/{env}/{run}={seeds_of(protocol, env, run)}"
        for protocol, env, run in parts
        if protocol != "prior" and parts_of(read_name(run).arm) is not None
    ]


# `snakemake figures` makes none of these: what they are made from is not shipped. The report shows them as they are.
SHIPPED_TABLES = {name: f"results/tables/{name}" for name in ("llm_policies", "bench", "faults")}
SHIPPED_TABLES |= {"audit": "results/audit"}
TABLES = {
    name: f"results/tables/{name}"
    for name in ("main", "grid", "scores", "fidelity", "data_quality", "defects", "coverage", "cost")
}
TABLES |= {"offline_target": "results/tables/offline_target"} if there(seldom_runs("")) else {}
TABLES |= {f"replication_{env}": f"results/tables/replication_{env}" for env in shipped_replications()}
TABLES |= {"claims": "results/claims", **SHIPPED_TABLES}


def table_category(wildcards):
    """Return under what heading the report shows a table."""
    of_second_paper = wildcards.table.startswith("prior_")
    return "1 Verdict" if wildcards.table == "claims" else "7 The second paper" if of_second_paper else "5 Tables"


def table_files(wildcards):
    """List the files of a table: for reading, and with all columns; of some there is only one of the two."""
    kind = wildcards.table.split("_")[0]
    endings = {"bench": [".csv"], "faults": [".md"], "replication": [".md"]}.get(kind, [".md", ".csv"])
    return [f"{TABLES[wildcards.table]}{ending}" for ending in endings]
