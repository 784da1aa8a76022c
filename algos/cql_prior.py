"""CQL over texts, all seeds at once, from a recorded dataset alone, with or without an LLM's prior over the actions.

Paper: "Efficient Reinforcement Learning with Large Language Model Priors" (Yan et al., arXiv 2410.07927), CQL-Prior.
CQL: Kumar et al. 2020 (arXiv 2006.04779).

    python -m algos.play --env overcooked-tomato --success 0.75 --transitions 8000 --output .../mixture75
    python -m algos.cql_prior --env overcooked-tomato --arm cql --dataset .../mixture75 --transitions 500 --output ...
    python -m algos.cql_prior ... --arm cql-prior --prior .../smollm2-135m.jsonl

Both the backup's maximum and the actions whose values are pressed down are over k proposals of the prior at a state,
over every admissible action in plain CQL. Proposals are drawn once for every transition and kept, as in the released
code; in the evaluation they are drawn anew at every step and the best one is taken.

The seed is a batch dimension: weights are [S, in, out], data are [S, N, ...]. Nothing is shared between seeds but the
table of features: every random number of seed i comes from a generator keyed by (i, purpose, iteration, episode), and
seed i of a batch is seed i alone, up to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch
import tyro
from tqdm import tqdm

from algos.encoder import DEFAULT_ENCODER, Encoder
from algos.prior import Prior, open_prior
from envs.datasets import Episode, episodes_sha256, load_dataset, read_meta
from envs.errors import Failure, UsageError, run_command_line
from envs.records import COLUMNS, Run, check_ranges, keep_freed_memory
from envs.text import Situation, TextGame


@dataclass
class Args:
    """CQL-Prior, or plain CQL, on the recorded episodes of one environment in words, many seeds."""

    output: Path
    """the CSV to write; beside it go every argument (.json), the final networks, and a checkpoint while it runs"""
    dataset: Path
    """the folder of recorded episodes (algos/play.py, or for LORO's environments algos/collect.py)"""
    env: str = "overcooked-tomato"
    """the environment: one in words, or one of LORO's with discrete actions (see envs/text.py)"""
    arm: Literal["cql", "cql-prior"] = "cql"
    """cql: every admissible action is proposed. cql-prior: k actions drawn from the prior are"""
    prior: Path | None = None
    """cql-prior: the file that algos/prior.py made"""
    transitions: int | None = None
    """learn from so many: each seed takes whole episodes in an order of its own, the last one cut off, so that seeds
    differ in their data too and more is always the same and more. None: from all"""
    seeds: int = 5
    """number of agents trained side by side"""
    first_seed: int = 0
    """number of the first agent's seed; the others count on from it"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPU when there is one"""
    threads: int = 1
    """CPU threads; more than one is slower on networks this small"""
    track: Path | None = None
    """folder for TensorBoard logs; none by default"""
    progress: bool = True
    """show a progress bar"""

    # What the Q-network reads
    encoder: str = DEFAULT_ENCODER
    """a folder or Hugging Face id of a frozen sentence encoder (the paper's: bert-base-uncased), or "numbers": the
    observation's numbers and the action one-hot, for environments that have numbers"""
    features: Path = Path("rerun/features")
    """folder in which the features of texts are kept, a file per encoder"""

    # How the prior is read (see algos/prior.py)
    prior_temperature: float = 1.0
    """divides the LLM's log-probabilities of the actions"""
    length_normalised: bool = False
    """divide them by the number of tokens first"""
    calibrated: bool = False
    """subtract those that the same words have where nothing is told"""
    on_zeros: Literal["error", "uniform"] = "error"
    """where none of the LLM's replies named an action: stop, or take every action as equally likely"""

    # Algorithm specific arguments
    k: int | Literal["all"] = 5
    """actions drawn from the prior, with replacement, at every state. all: every action that the prior does not
    exclude, once, weighed by its probability: the limit of many draws"""
    cql_coef: float = 5.0
    """weight of the conservative term. As in the released code it is a mean over the minibatch, while the squared
    errors are summed and halved: per transition it weighs cql_coef / batch_size"""
    iterations: int = 20
    """each is some updates, then an evaluation"""
    updates: int = 500
    """gradient steps in an iteration"""
    eval_episodes: int = 10
    """greedy episodes per evaluation: the best proposal is taken"""
    learning_rate: float = 5e-4
    """the learning rate of AdamW"""
    batch_size: int = 128
    """transitions per update, drawn with replacement"""
    gamma: float = 0.99
    """the discount factor per action. In Overcooked at 0.99 the best return never serves the dish: chopping and
    spoiling it again pays for ever. At 0.95 serving is best"""
    target_rate: float = 0.005
    """share of the online network that the target network takes on at every update"""
    max_grad_norm: float = 1.0
    """longest gradient of a seed's weights"""
    hidden_size: int = 64
    """width of the two hidden layers"""
    carry_over: Literal[1] = 1
    """no network is handed on; here for the format of runs"""


def resolve(args: Args) -> Args:
    """Check `args`."""
    check_ranges(args)
    if args.updates < 1:
        raise UsageError(f"--updates must be at least 1, not {args.updates}: offline nothing else is learnt from.")
    if args.k != "all" and args.k < 1:
        raise UsageError(f"--k must be at least 1, or all, not {args.k}: without a proposal there is no action.")
    if (args.arm == "cql-prior") != (args.prior is not None):
        raise UsageError(f"Arm '{args.arm}': --prior is for the arm cql-prior, which needs it.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no CUDA device here; use --device cpu or auto.")
    return args


INITIAL_WEIGHTS, EPISODES, PROPOSALS, UPDATES, EVALUATION, EVALUATION_PROPOSALS = range(6)


def stream(seed: int, purpose: int, iteration: int = 0, episode: int = 0) -> np.random.Generator:
    """Return the random generator of one seed for one purpose: nothing needs saving to resume it."""
    return np.random.default_rng([seed, purpose, iteration, episode])


def draw(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return the place of an entry, drawn in proportion to `weights`, for each number of `uniform` in [0, 1)."""
    cumulated = np.cumsum(weights)
    return np.searchsorted(cumulated, uniform * cumulated[-1], side="right")


class Table:
    """Every (state, action) pair that was met, by number, with its features [pairs, width]."""

    def __init__(self, encode: Callable[[Situation], np.ndarray]) -> None:
        """`encode` gives the features of every action of a situation."""
        self.encode = encode
        self.first: dict[Situation, int] = {}
        self.features = torch.zeros((0, 0))

    def __call__(self, situation: Situation) -> int:
        """Return the number of the pair with the first action; those of the other actions follow it.

        Raises Failure where there is no action.
        """
        if not situation.actions:
            raise Failure(f"There is no admissible action to propose in '{situation.text}'.")
        if situation not in self.first:
            new = torch.from_numpy(self.encode(situation))
            self.first[situation] = len(self.features)
            self.features = torch.cat([self.features, new]) if len(self.features) else new
        return self.first[situation]


def open_table(args: Args, game: TextGame) -> Table:
    """Return the empty table of the encoder that `args` names."""
    if args.encoder != "numbers":
        encoder = Encoder(args.encoder, args.features / f"{Path(args.encoder).name}.jsonl")
        return Table(lambda situation: encoder([f"{situation.text} Action: {a}." for a in situation.actions]))
    most = len(game.recall(game.make().reset(seed=0)[0]).actions)

    def numbers(situation: Situation) -> np.ndarray:
        rows = [np.concatenate([situation.numbers, np.eye(most)[a]]) for a in range(len(situation.actions))]
        return np.array(rows, dtype=np.float32)

    return Table(numbers)


def propose(
    prior: Prior | None, k: int | Literal["all"], situation: Situation, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the proposed actions, repetitions kept, and the logarithm of each one's weight."""
    if prior is None:
        return np.arange(len(situation.actions)), np.zeros(len(situation.actions))
    p = prior(situation)
    if k == "all":
        return np.flatnonzero(p), np.log(p[p > 0])
    return draw(p, random.random(k)), np.zeros(k)


# --- Offline data ----------------------------------------------------------------------------------------------------


def take(episodes: list[Episode], transitions: int | None, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return (episode, step) of so many transitions: whole episodes in random order, the last one cut off."""
    if transitions is None:
        return [(i, t) for i, episode in enumerate(episodes) for t in range(len(episode))]
    steps = [(int(i), t) for i in random.permutation(len(episodes)) for t in range(len(episodes[i]))]
    return steps[:transitions]


def read_data(args: Args, game: TextGame, table: Table, prior: Prior | None, episodes: list[Episode]) -> dict:
    """Return what each seed learns from, tensors [S, N] and, of proposals, [S, N, most].

    `pairs` are the numbers in the table of what was done, `rewards` and `terminations` what came of it. `proposals` at
    the state and `next_proposals` at the one after it are pairs too, -1 where there are fewer (after a termination,
    none); `log_weights` are those of `proposals`.
    Raises Failure where an action is not admissible.
    """
    told = [[game.recall(observation) for observation in episode.observations] for episode in episodes]
    for i, episode in enumerate(episodes):
        for t, action in enumerate(episode.actions):
            if not 0 <= game.place(int(action)) < len(told[i][t].actions):
                raise Failure(
                    f"Dataset {args.dataset}: episode {i}, step {t} has action {action}, which is not admissible."
                )
            table(told[i][t])
        if not episode.terminations[-1]:
            table(told[i][-1])
    if prior is not None:
        prior.fill(list(table.first))  # all at once, where the LLM has to be asked
    rows: list[list[tuple]] = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        random, taken = stream(seed, PROPOSALS), []
        for i, t in take(episodes, args.transitions, stream(seed, EPISODES)):
            episode, here, after = episodes[i], told[i][t], told[i][t + 1]
            first, (places, log_weights) = table(here), propose(prior, args.k, here, random)
            next_pairs = np.zeros(0, int)
            if not episode.terminations[t]:
                next_pairs = table(after) + propose(prior, args.k, after, random)[0]
            done = (first + game.place(int(episode.actions[t])), episode.rewards[t], episode.terminations[t])
            taken.append((*done, first + places, log_weights, next_pairs))
        rows.append(taken)
    shape = (args.seeds, len(rows[0]), max(len(row[3 + j]) for taken in rows for row in taken for j in (0, 2)))
    data = {
        "pairs": torch.tensor([[row[0] for row in taken] for taken in rows]),
        "rewards": torch.tensor([[row[1] for row in taken] for taken in rows], dtype=torch.float32),
        "terminations": torch.tensor([[float(row[2]) for row in taken] for taken in rows]),
        "proposals": torch.full(shape, -1),
        "log_weights": torch.full(shape, -torch.inf),
        "next_proposals": torch.full(shape, -1),
    }
    for seed, taken in enumerate(rows):
        for n, row in enumerate(taken):
            for name, values in zip(("proposals", "log_weights", "next_proposals"), row[3:], strict=True):
                data[name][seed, n, : len(values)] = torch.from_numpy(values)
    return data


# ALGO LOGIC: initialize agent here
def initial_weights(seeds: range, sizes: list[int], device: torch.device) -> list[torch.Tensor]:
    """Return [w1, b1, w2, b2, w3, b3] uniform in +-1/sqrt(in) (torch's default), w [S, in, out] and b [S, 1, out]."""
    generators = [stream(seed, INITIAL_WEIGHTS) for seed in seeds]
    weights = []
    for inputs, outputs in pairwise(sizes):
        for shape in ((inputs, outputs), (1, outputs)):
            drawn = np.stack([generator.uniform(-(inputs**-0.5), inputs**-0.5, shape) for generator in generators])
            weights.append(torch.tensor(drawn, dtype=torch.float32, device=device))
    return weights


def q_values(weights: list[torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    """Return Q [S, B] for the features [S, B, width] of pairs of state and action."""
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.relu_(torch.baddbmm(b1, features, w1))
    x = torch.relu_(torch.baddbmm(b2, x, w2))
    return ((x * w3.mT).sum(2, keepdim=True) + b3).squeeze(2)


class Agents:
    """The S learners: online and target network, optimizer, their data, and the update."""

    def __init__(self, args: Args, table: Table, data: dict[str, torch.Tensor], device: torch.device) -> None:
        self.args, self.table, self.device = args, table, device
        self.data = {name: tensor.to(device) for name, tensor in data.items()}
        self.features = table.features.to(device)  # of all that the data speaks of; evaluation may meet more
        self.seeds = range(args.first_seed, args.first_seed + args.seeds)
        sizes = [self.features.shape[1], args.hidden_size, args.hidden_size, 1]
        self.online = [weight.requires_grad_() for weight in initial_weights(self.seeds, sizes, device)]
        self.target = [weight.detach().clone() for weight in self.online]
        self.optimizer = torch.optim.AdamW(self.online, lr=args.learning_rate)
        for weight in self.online:  # what AdamW would create at its first step: a checkpoint is copied into it
            moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            self.optimizer.state[weight] = {"step": torch.zeros(()), **moments}
        self.q_of: dict[int, np.ndarray] = {}
        """Q [S, actions] of the states met since the last update, by the number of their first pair."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name everything that training changes."""
        named = {}
        for i, weight in enumerate(self.online):
            named |= {f"online.{i}": weight.detach(), f"target.{i}": self.target[i]}
            named |= {f"adam.{i}.{key}": value for key, value in self.optimizer.state[weight].items()}
        return {f"agents.{name}": tensor for name, tensor in named.items()}

    def policy(self) -> dict[str, torch.Tensor]:
        """Name the weights of the networks that act."""
        return dict(zip(("w1", "b1", "w2", "b2", "w3", "b3"), self.online, strict=True))

    def q_at(self, weights: list[torch.Tensor], pairs: torch.Tensor) -> torch.Tensor:
        """Return Q of `pairs` [S, ...], whatever where they are -1.

        A network reads every pair once or, where there are fewer of these, every entry of `pairs`.
        """
        places = pairs.clamp(min=0).flatten(1)
        if len(self.features) <= places.shape[1]:
            q = q_values(weights, self.features.expand(len(pairs), -1, -1)).gather(1, places)
        else:
            q = q_values(weights, self.features[places])
        return q.view(pairs.shape)

    def loss(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the squared errors, the conservative gaps and Q, all [S, B], on the transitions `indices` [S, B].

        y = r + gamma (1 - terminated) max over the proposals a' at s' of Q_target(s', a'); the gap is
        log sum over the proposals a' at s of w(a') exp Q(s, a') - Q(s, a), with a what was done, proposed or not.
        """
        rows = torch.arange(len(indices), device=indices.device)[:, None]
        batch = {name: field[rows, indices] for name, field in self.data.items()}
        with torch.no_grad():
            values = self.q_at(self.target, batch["next_proposals"])
            values = values.masked_fill(batch["next_proposals"] < 0, -torch.inf).amax(2)
            y = batch["rewards"] + self.args.gamma * torch.where(batch["terminations"] > 0, 0.0, values)
        q = self.q_at(self.online, torch.cat([batch["pairs"][..., None], batch["proposals"]], 2))
        chosen, proposed = q[..., 0], q[..., 1:]
        gaps = (proposed + batch["log_weights"]).logsumexp(2) - chosen
        return (chosen - y) ** 2, gaps, chosen.detach()

    # ALGO LOGIC: training
    def update(self, indices: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Take a gradient step on the transitions `indices` [S, B]; return the mean squared error and mean Q, [S].

        As in the released code: half the errors' sum and `cql_coef` times the gaps' mean, the gradient cut to
        `max_grad_norm` (here for each seed by itself).
        """
        errors, gaps, q = self.loss(indices)
        self.optimizer.zero_grad()
        (0.5 * errors.sum(1) + self.args.cql_coef * gaps.mean(1)).sum().backward()
        norms = torch.stack([weight.grad.flatten(1).norm(dim=1) for weight in self.online]).norm(dim=0)
        scale = (self.args.max_grad_norm / (norms + 1e-6)).clamp(max=1)
        for weight in self.online:
            weight.grad *= scale[:, None, None]
        self.optimizer.step()
        torch._foreach_lerp_(self.target, [weight.detach() for weight in self.online], self.args.target_rate)
        self.q_of.clear()
        return errors.detach().mean(1).cpu().numpy(), q.mean(1).cpu().numpy()

    @torch.no_grad()
    def q(self, agent: int, situation: Situation) -> np.ndarray:
        """Return the Q [actions] of an agent (counted from 0) in a situation; the others' are computed along."""
        first = self.table(situation)
        if first not in self.q_of:
            features = self.table.features[first : first + len(situation.actions)].to(self.device)
            self.q_of[first] = q_values(self.online, features.expand(self.args.seeds, -1, -1)).cpu().numpy()
        return self.q_of[first][agent]


def play(agents: Agents, agent: int, prior: Prior | None, game: TextGame, env: gymnasium.Env, key: tuple) -> tuple:
    """Let an agent (counted from 0) play a greedy episode; return return, length, and success (NaN: not defined)."""
    random, proposing = (stream(agents.seeds[agent], purpose, *key) for purpose in (EVALUATION, EVALUATION_PROPOSALS))
    observation, info = env.reset(seed=int(random.integers(2**31)))
    total, length, ended = 0.0, 0, False
    while not ended and length < game.horizon:
        situation = game.read(observation, info)
        # ALGO LOGIC: put action logic here
        places, _ = propose(prior, agents.args.k, situation, proposing)
        best = places[agents.q(agent, situation)[places].argmax()]
        observation, reward, terminated, truncated, info = env.step(game.action(int(best)))
        total, length, ended = total + float(reward), length + 1, terminated or truncated
    return total, length, float(info.get("success", np.nan))


def train_iteration(agents: Agents, iteration: int) -> np.ndarray:
    """Take an iteration's gradient steps; return the mean squared error and mean Q, [2, S]."""
    args, transitions = agents.args, agents.data["pairs"].shape[1]
    uniforms = [stream(seed, UPDATES, iteration).random((args.updates, args.batch_size)) for seed in agents.seeds]
    indices = torch.from_numpy((np.stack(uniforms) * transitions).astype(np.int64)).to(agents.device)
    return np.mean([agents.update(indices[:, step]) for step in range(args.updates)], axis=0)


def main() -> None:
    """Run the iterations that no checkpoint holds yet; write the CSV and its .json."""
    args = resolve(tyro.cli(Args))
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # to which Adam's moments decay where a unit is dead; computing with them is slow
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    reading = {"length_normalised": args.length_normalised, "calibrated": args.calibrated, "on_zeros": args.on_zeros}
    prior = open_prior(args.prior, args.env, temperature=args.prior_temperature, **reading) if args.prior else None
    game = prior.game if prior else TextGame(args.env)
    episodes = load_dataset(args.dataset, args.env)
    recorded = sum(map(len, episodes))
    if recorded < (args.transitions or 1):
        raise UsageError(f"--transitions {args.transitions or 1}: dataset {args.dataset} holds only {recorded}.")
    digests = {
        "dataset_sha256": episodes_sha256(read_meta(args.dataset)),
        "prior_sha256": prior.sha256 if prior else None,
    }
    run = Run(args, columns=(*COLUMNS, "train_success", "eval_success"), **digests)

    env, table = game.make(), open_table(args, game)
    data = read_data(args, game, table, prior, episodes)
    agents = Agents(args, table, data, device)
    if run.load() is not None:
        run.restore(agents.tensors())

    used = data["pairs"].shape[1]
    mean_return = np.mean([episode.total_reward for episode in episodes])
    bar = tqdm(range(args.iterations), initial=run.finished_blocks, disable=not args.progress)
    bar.set_description(f"{args.env} {args.arm}")
    for iteration in range(run.finished_blocks, args.iterations):
        loss, q_mean = train_iteration(agents, iteration)
        keys = [(iteration, n) for n in range(args.eval_episodes)]
        played = [[play(agents, agent, prior, game, env, key) for key in keys] for agent in range(args.seeds)]
        eval_return, eval_length, eval_success = np.mean(played, axis=1).T
        measured = (used, mean_return, eval_return, eval_length, loss, q_mean, np.nan, eval_success)
        run.set_row(0, iteration, *measured)
        bar.set_postfix(eval_return=f"{eval_return.mean():.2f}", success=f"{eval_success.mean():.2f}", refresh=False)
        run.save(agents.tensors())
        bar.update()
    bar.close()
    run.write(args.arm, device, agents.policy())


if __name__ == "__main__":
    run_command_line(main)
