"""The second paper's part of the workflow: shipped figures never train, fresh ones train what they show."""

import shutil
from importlib.util import find_spec

import yaml
from test_workflow import clone, jobs, snakemake  # noqa: F401 - a fixture

KINDS = ("online", "offline", "ppo", "ablations")


def test_shipped_figures_never_train(clone):  # noqa: F811
    targets = [f"paper_figs/prior_{kind}.pdf" for kind in KINDS]
    assert jobs(clone, *targets) == {"prior_figure": 4}


def test_fresh_figures_train_what_they_show(clone):  # noqa: F811
    shutil.rmtree(clone / "results/priors", ignore_errors=True)  # as where the LLMs are still to be asked
    config = yaml.safe_load((clone / "config/prior.yaml").read_text())
    part = config["offline"]["overcooked-tomato"]
    config |= {"online": {"frozen-lake-text": ["smollm2-135m", "scripted-50"]}, "offline": {"overcooked-tomato": part}}
    (clone / "config/prior.yaml").write_text(yaml.safe_dump(config))
    online = jobs(clone, "rerun/paper_figs/prior_online.pdf")
    models = {"fetch_llm": online.pop("fetch_llm", 0), "fetch_encoder": online.pop("fetch_encoder", 0)}
    assert models == {"fetch_llm": 1, "fetch_encoder": 1}, "in a clone there are no models"
    policies = {"ask_prior": 1, "script_prior": 1, "play_prior": 2, "play_random": 1}
    assert online == {"train_prior": 3, **policies, "fresh_prior_figure": 1}
    offline = jobs(clone, "rerun/paper_figs/prior_offline.pdf")
    assert offline["train_prior"] == (1 + len(part["priors"])) * len(part["sizes"]) and offline["mixture"] == 1


def test_without_the_optional_extra_its_games_are_left_out(clone):  # noqa: F811
    config = yaml.safe_load((clone / "config/prior.yaml").read_text())
    config["online"] = {"frozen-lake-text": ["uniform"], "alfworld": ["uniform"], "alfworld-unseen": ["uniform"]}
    (clone / "config/prior.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(clone, "--dry-run", "--printshellcmds", "rerun/paper_figs/prior_online.pdf")
    of_games = [line for line in done.stdout.splitlines() if "algos." in line and "--env alfworld" in line]
    unseen = [line for line in of_games if "--env alfworld --" in line and "--eval-env alfworld-unseen" in line]
    if find_spec("textworld"):
        trained = [line for line in of_games if "algos.dqn_prior" in line]
        assert len(trained) == 2 * 2 and len(unseen) == 2
    else:
        assert of_games == [] and "run `make alfworld`" in done.stdout + done.stderr
        assert "--missing alfworld/dqn alfworld/dqn-prior_uniform" in done.stdout + done.stderr


def test_a_mistake_in_its_configuration_is_named(clone):  # noqa: F811
    config = yaml.safe_load((clone / "config/prior.yaml").read_text())
    config["sedes"] = 3
    (clone / "config/prior.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(clone, "--dry-run", "paper_figs/prior_online.pdf")
    output = done.stdout + done.stderr
    assert done.returncode == 1 and "'sedes' was unexpected" in output and "Traceback" not in output


def test_four_ways_side_by_side(clone):  # noqa: F811
    """Shipped, it is drawn alone; afresh, DQN-Prior and LORO learn from one LLM's prior and episodes."""
    config = yaml.safe_load((clone / "config/prior.yaml").read_text())["four_ways"]
    assert jobs(clone, "paper_figs/prior_four_ways.pdf") == {"four_ways": 1}
    fresh = jobs(clone, "rerun/paper_figs/prior_four_ways.pdf")
    places = len(config["environments"])
    assert fresh["train_prior"] == places * (2 + len(config["controls"]))
    assert fresh["train"] == places * (2 + len(config["pretrain_steps"])), "online, mix, and LORO for each N"
    llms = yaml.safe_load((clone / "config/paper.yaml").read_text())["llms"]
    priors = yaml.safe_load((clone / "config/prior.yaml").read_text())["priors"]
    player, prior = llms[config["llm"]], priors[config["llm"]]
    assert (player["model"], player["style"]) == (prior["model"], prior["style"])
    assert player.get("calibrate", False) == prior["calibrated"]
