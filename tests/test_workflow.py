"""The workflow on a clone: which jobs a target needs, whatever the modification times, and one small run for real."""

import ast
import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def snakemake(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*SNAKEMAKE, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def jobs(folder, *arguments):
    """Return {rule: count} of a dry run."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^([a-z_]+)\s+(\d+)$", table, re.MULTILINE)}


@pytest.fixture
def clone(tmp_path):
    """A copy of what is under version control, with modification times in random order, as a checkout leaves them."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [Path(name.decode()) for name in names if name and (ROOT / name.decode()).exists()]
    generator = random.Random(7)
    for path in paths:
        target = tmp_path / "clone" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
        moment = 1_700_000_000 + generator.randrange(1_000_000)
        os.utime(target, (moment, moment))
    return tmp_path / "clone"


def scramble(folder, seed):
    generator = random.Random(seed)
    for path in folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            moment = 1_700_000_000 + generator.randrange(1_000_000)
            os.utime(path, (moment, moment))


def test_a_shipped_figure_is_one_job_whatever_the_modification_times(clone):
    for seed in range(3):
        scramble(clone, seed)
        assert jobs(clone, "paper_figs/cartpole_main.pdf") == {"main_figure": 1}
    shipped = {path: path.read_bytes() for path in (clone / "results/runs").rglob("*.csv")}
    done = snakemake(clone, "paper_figs/cartpole_main.pdf")
    assert done.returncode == 0, done.stderr
    assert (clone / "paper_figs/cartpole_main.pdf").read_bytes().startswith(b"%PDF")
    assert (clone / "paper_figs/cartpole_main.png").read_bytes().startswith(b"\x89PNG")
    assert not (clone / "rerun/results").exists(), "nothing may be trained"
    assert all(path.read_bytes() == content for path, content in shipped.items())
    scramble(clone, 9)
    assert jobs(clone, "paper_figs/cartpole_main.pdf") == {"main_figure": 1}


def test_a_fresh_figure_trains_what_it_needs_and_only_that(clone):
    needed = jobs(clone, "rerun/paper_figs/cartpole_main.pdf")
    assert needed.pop("train") == 3, "online, LORO, and LORO under the released protocol"
    assert needed == {
        "import_released": 2,  # LORO's LLM, and the other one as a policy
        "llm_policy": 2,
        "random_episodes": 1,
        "random_policy": 1,
        "fresh_main_figure": 1,
    }


@pytest.mark.parametrize(
    ("figure", "trained"),
    [("cartpole_mix", 6), ("pendulum_pretrain", 6), ("frozen-lake_model_size", 24), ("cliff-walking_sft_lcot", 6)],
)
def test_each_other_figure_trains_the_arms_it_shows(clone, figure, trained):
    assert jobs(clone, f"rerun/paper_figs/{figure}.pdf")["train"] == trained
    assert jobs(clone, f"paper_figs/{figure}.pdf") == {"grid_figure": 1}


def test_a_figure_that_the_paper_does_not_have_is_refused_in_a_sentence(clone):
    done = snakemake(clone, "--dry-run", "paper_figs/cartpole_sft_lcot.pdf")
    assert (
        done.returncode == 1 and "The paper has no figure sft_lcot of cartpole, only mix," in done.stdout + done.stderr
    )


def test_the_report_shows_the_data_behind_figures_of_every_kind(clone):
    pages = ("verdict", "data_quality", "defects", "offline_target", "cartpole_main", "cartpole_mix")
    done = snakemake(clone, "--cores", "2", *(f"rerun/report/{page}_data.html" for page in pages))
    assert done.returncode == 0, done.stderr
    content = (clone / "rerun/report/defects_data.html").read_text()
    assert "loro-carry-over" in content and content.count("<table") == 2
    caption = (clone / "analysis/captions/table.rst").read_text()
    tables = {path.stem for path in (clone / "results").glob("**/*.csv") if path.parent.name in ("tables", "results")}
    assert tables and all(f'"{table}": [' in caption for table in tables)


def test_the_report_shows_what_is_shipped_of_what_the_configuration_asks_for(clone):
    asked = {"pendulum": {"first_seed": 90, "seeds": 5, "runs": ["mix_qwen-7b_tau10"]}}  # not shipped
    (clone / "more.json").write_text(json.dumps({"replications": asked}))
    done = snakemake(clone, "--dry-run", "report_pages", "--configfile", "config/paper.yaml", "more.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "replication_frozen-lake_table.html" in done.stdout and "replication_pendulum" not in done.stdout


def test_what_pretrains_on_random_episodes_is_tried_again_on_others(clone):
    run = "paper/cliff-walking/pretrain-random_tau10_n3000.csv"
    targets = [f"rerun/results/{folder}/{run}" for folder in ("runs", "replications", "offline-target")]
    done = snakemake(clone, "--dry-run", "--printshellcmds", *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = dict(re.findall(r"--episodes 100 --seed (\d+) --output (\S+)", done.stdout))
    folder = "rerun/results/datasets/cliff-walking"
    assert collected == {"0": f"{folder}/random", "1": f"{folder}/random-again"}
    trained = {output: data for data, output in re.findall(r"--dataset (\S+) .*?--output (\S+)", done.stdout)}
    assert trained == dict(zip(targets, (f"{folder}/random{which}" for which in ("", "-again", "")), strict=True))


def test_the_target_network_is_copied_seldom_in_the_runs_for_that_and_in_no_others(clone):
    done = snakemake(clone, "--dry-run", "--printshellcmds", "rerun/results/tables/offline_target.md")
    assert done.returncode == 0, done.stdout + done.stderr
    trained = re.findall(r"algos\.(\w+) --env (\S+) (.*) --output (\S+)", done.stdout)
    seldom = [job for job in trained if "/offline-target/" in job[3]]
    assert {job[0] for job in seldom} == {"dqn"} and len(seldom) == 5 * 8
    assert all(("--offline-target-update-interval 1000" in job[2]) == (job in seldom) for job in trained)
    assert {Path(job[3]).parts[-2:] for job in seldom} <= {
        Path(job[3]).parts[-2:] for job in trained if job not in seldom
    }


def test_plain_snakemake_makes_everything_under_rerun(clone):
    everything = jobs(clone)
    main = 6 * (6 + 3)  # six arms, three of which the authors' code has
    settings = 6 * (2 * 3 * 2 - 1) * 2  # LLM, tau and N, under both protocols, without the main one
    sources = 6 * 2 * 2  # pretrained on own and on random episodes, under both protocols
    tuned = (1 + 1 + 3) * 2  # the other LLMs of three environments
    # The datasets collected here: LORO with two N, and mix. Equal episodes are trained on once.
    metas = [json.loads(path.read_text()) for path in (clone / "results/datasets").glob("*/*/meta.json")]
    ours = 3 * len({(meta["environment"], meta["sha256"]) for meta in metas})
    defects = 2 * (6 + 6 + 8) - 3  # from both ends; throwing data away under `paper` is among the arms already
    ways = 3  # in CliffWalking the LLM of the four ways played another's episodes, and trains by its own name
    assert everything["train"] == main + settings + sources + tuned + ours + defects + ways
    assert everything["train_again"] == 3 * (1 + 2) + 2 * (1 + 4)  # online RL and what surprised, with other seeds
    assert everything["train_seldom"] == 5 * 8  # the environments of Double DQN; the runs of `offline_target`
    figures = 1 + 39 + 7  # all six together, the paper's, and the seven main ones over steps
    assert everything["fresh_main_figure"] + everything["fresh_grid_figure"] == figures
    assert everything["comparison"] == 1 and not {"main_figure", "grid_figure", "data_quality"} & set(everything)
    outputs = re.findall(r"--output (\S+)", snakemake(clone, "--dry-run", "--printshellcmds").stdout)
    assert outputs and all(path.startswith(("rerun/", "models/")) for path in outputs)


def test_ones_own_llm_in_a_copy_of_the_configuration_plays_and_is_learnt_from(clone):
    config = yaml.safe_load((clone / "config/paper.yaml").read_text())
    config["tree"] = "rerun/mine"
    config["llms"]["my-llm"] = {"source": "collect", "model": "Qwen/Qwen2.5-7B-Instruct", "style": "verbal"}
    config["main"]["llm"] = "my-llm"
    (clone / "config/mine.yaml").write_text(yaml.safe_dump(config))
    needed = jobs(clone, "rerun/mine/paper_figs/cartpole_main.pdf", "--configfile", "config/mine.yaml")
    assert needed["collect"] == 1 and needed["train"] == 3
    assert jobs(clone, "--configfile", "config/mine.yaml")["collect"] == 6, "it plays every game"

    config["llms"]["my-llm"] |= {
        "decide": "cot",
        "plain": True,
        "dtype": "bfloat16",
        "server": "http://localhost:8000/v1",
    }
    (clone / "config/mine.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(clone, "--dry-run", "--printshellcmds", "--configfile", "config/mine.yaml")
    options = " --decide cot --dtype bfloat16 --server http://localhost:8000/v1 --plain "
    assert f"--model Qwen/Qwen2.5-7B-Instruct --style verbal{options}--episodes" in done.stdout


def test_ones_own_environment_is_learnt_by_its_learner_and_has_every_arm(clone):
    """Pendulum under another name, by the steps that CONTRIBUTING gives."""
    module = (clone / "envs/pendulum.py").read_text().replace('name="pendulum"', 'name="swing"')
    (clone / "envs/swing.py").write_text(module)
    shutil.copytree(clone / "prompts/pendulum", clone / "prompts/swing")
    for file, old, new in (
        ("envs/__init__.py", "pendulum, represented_pong)\n}", "pendulum, represented_pong, swing)\n}"),
        ("envs/__init__.py", "pendulum, represented_pong\n", "pendulum, represented_pong, swing\n"),
        ("config/schema.json", '"represented-pong"', '"represented-pong", "swing"'),
    ):
        content = (clone / file).read_text()
        assert old in content
        (clone / file).write_text(content.replace(old, new))
    config = yaml.safe_load((clone / "config/quick.yaml").read_text())
    arms = yaml.safe_load((clone / "config/paper.yaml").read_text())["arms"]
    config |= {"tree": "rerun/swing", "environments": ["swing"], "arms": arms}
    config["seeds"] = {"paper": {"swing": 2}, "released": {"swing": 1}, "others": {"paper": 2, "released": 1}}
    (clone / "config/swing.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(clone, "--dry-run", "--printshellcmds", "--configfile", "config/swing.yaml")
    assert done.returncode == 1 and "swing has no scale or bounds in analysis/scales.py" in done.stdout + done.stderr
    scales = (clone / "analysis/scales.py").read_text()
    scales = scales.replace(
        '    "pendulum": Scale', '    "swing": Scale(-1180, -150, "as Pendulum"),\n    "pendulum": Scale'
    )
    (clone / "analysis/scales.py").write_text(
        scales.replace('    "pendulum": (', '    "swing": (-3300, 0),\n    "pendulum": (')
    )
    done = snakemake(clone, "--dry-run", "--printshellcmds", "--configfile", "config/swing.yaml")
    assert done.returncode == 0, done.stdout
    learners = re.findall(r"python -m algos\.(\w+) --env swing --arm (\S+)", done.stdout)
    assert {arm for learner, arm in learners if learner == "sac"} == set(arms["paper"]) - {
        "ppo",
        "ppo-bc",
        "loro-discard",
    }
    assert "--discard-offline True" in done.stdout and "algos.dqn" not in done.stdout


def test_jobs_choose_a_gpu_unless_the_configuration_says_cpu(clone):
    run, commands = "results/runs/paper/cartpole/online.csv", {}
    trees = {"rerun": ["--profile", "profiles/gpu"], "rerun/quick": ["--configfile", "config/quick.yaml"]}
    for tree, more in trees.items():
        done = snakemake(clone, "--dry-run", "--printshellcmds", f"{tree}/{run}", *more)
        assert done.returncode == 0, done.stderr
        commands[tree] = re.findall(r"python.* -m algos\.dqn", done.stdout + done.stderr)
    assert commands == {
        "rerun": ["python profiles/one_gpu.py python -m algos.dqn"],
        "rerun/quick": ["python -m algos.dqn"],
    }


def test_a_job_s_time_limit_is_no_shorter_than_shipped_runs_took():
    """The milliseconds per step in analysis/inputs.smk against the whole table of costs."""
    source = (ROOT / "analysis/inputs.smk").read_text(encoding="utf-8")
    allowed = ast.literal_eval(re.search(r"^MILLISECONDS = (\{.*?\})", source, re.MULTILINE | re.DOTALL)[1])
    with (ROOT / "results/tables/cost.csv").open(encoding="utf-8", newline="") as file:
        costs = [(row["env"], float(row["milliseconds_per_seed_step"])) for row in csv.DictReader(file)]
    assert {env for env, _ in costs} == set(allowed)
    assert [(env, cost) for env, cost in costs if cost > allowed[env]] == []


def test_the_cost_of_everything_is_of_exactly_what_would_be_trained(clone):
    """The table's list, counted by a helper of its own, against the jobs of a dry run with their numbers of agents."""
    done = snakemake(clone, "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    command = r" --seeds (\d+) .*?--output rerun/results/runs/(paper|released)/(\S+)\.csv"
    trained = {f"{protocol}/{run}={seeds}" for seeds, protocol, run in re.findall(command, done.stdout + done.stderr)}
    done = snakemake(clone, "--dry-run", "--printshellcmds", "--force", "results/tables/cost.md")
    asked = re.findall(r" --asked (.*?) --output", done.stdout + done.stderr)[0].split()
    assert set(asked) == trained and len(asked) == len(trained) > 300


def test_an_unknown_key_in_the_configuration_is_named(clone):
    config = yaml.safe_load((clone / "config/quick.yaml").read_text())
    config["sedes"] = 3
    (clone / "config/bad.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(clone, "--configfile", "config/bad.yaml", "--dry-run")
    output = done.stdout + done.stderr
    assert done.returncode == 1 and "'sedes' was unexpected" in output and "Traceback" not in output
    assert not (clone / "rerun").exists()


def test_a_run_that_cannot_be_trained_is_refused_before_anything_is(clone):
    done = snakemake(clone, "--dry-run", "rerun/results/runs/paper/cartpole/loro_qwen-7b_tau40_n3000.csv")
    assert done.returncode == 1 and "tau 40 is more than the 30 episodes of qwen-7b in cartpole." in done.stdout


def test_the_whole_chain_runs_for_real(clone):
    """Tiny, and with a random player in the LLM's place, so that no model is needed."""
    config = yaml.safe_load((clone / "config/quick.yaml").read_text())
    config |= {
        "tree": "rerun/tiny",
        "environments": ["frozen-lake"],
        "llms": {"chance": {"source": "collect", "model": "random"}},
        "main": {"llm": "chance", "tau": 2, "pretrain_steps": 200},
        "seeds": {"paper": {"frozen-lake": 2}, "others": {"paper": 2}},
        "episodes": {"collected": 3, "random": 3},
        "iterations": 5,
    }
    (clone / "config/tiny.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(clone, "--configfile", "config/tiny.yaml", "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    tree = clone / "rerun/tiny"
    made = {path.relative_to(tree / "results/runs").as_posix() for path in (tree / "results/runs").rglob("*.csv")}
    arms = ("online", "loro_chance_tau2_n200", "mix_chance_tau2", "llm-policy_chance", "random-policy")
    assert made == {f"paper/frozen-lake/{arm}.csv" for arm in arms}
    rows = (tree / "results/runs/paper/frozen-lake/loro_chance_tau2_n200.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 5
    assert (tree / "paper_figs/main.png").exists() and (tree / "results/tables/main.md").exists()
    again = snakemake(clone, "--configfile", "config/tiny.yaml", "--cores", "2")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
