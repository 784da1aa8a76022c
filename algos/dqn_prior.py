"""DQN over texts, all seeds at once, with or without an LLM's prior that proposes the actions.

Paper: "Efficient Reinforcement Learning with Large Language Model Priors" (Yan et al., arXiv 2410.07927), DQN-Prior.
Usage, details and scores: README.md.

    python -m algos.encoder
    python -m algos.prior --env overcooked-tomato --output rerun/results/priors/overcooked-tomato/smollm2-135m.jsonl
    python -m algos.dqn_prior --env overcooked-tomato --arm dqn-prior --prior ... --output .../dqn-prior.csv

The posterior over actions, p(a|s) exp(Q(s, a) / temperature), is sampled by drawing k proposals from the prior and one
of them by softmax(Q / temperature); the backup is the maximum over the proposals at the next state. Q reads the frozen
features of the sentence "observation, action", so that any number of actions will do.

The seed is a batch dimension: weights are [S, in, out], the replay buffer is [S, capacity, ...]. Nothing is shared
between seeds but the table of features, in which a (state, action) pair is a number: every random number of seed i
comes from a generator keyed by (i, purpose, iteration, episode), and seed i of a batch is seed i alone, up to rounding.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro
from torch.nn.functional import huber_loss
from tqdm import tqdm

from algos.encoder import DEFAULT_ENCODER, Encoder
from algos.prior import Prior, open_prior
from envs.errors import Failure, UsageError, run_command_line
from envs.records import COLUMNS, Run, check_ranges, keep_freed_memory
from envs.text import Situation, TextGame


@dataclass
class Args:
    """DQN-Prior, or plain DQN, on one environment in words, many seeds."""

    output: Path
    """the CSV to write; beside it go every argument (.json), the final networks, and a checkpoint while it runs"""
    env: str = "overcooked-tomato"
    """the environment: one in words, or one of LORO's with discrete actions (see envs/text.py)"""
    eval_env: str | None = None
    """evaluate here instead (alfworld-unseen)"""
    arm: Literal["dqn", "dqn-prior"] = "dqn"
    """dqn: every admissible action is proposed. dqn-prior: k actions drawn from the prior are"""
    prior: Path | None = None
    """dqn-prior: the file that algos/prior.py made"""
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
    encoded: Literal["sentence", "parts"] = "sentence"
    """sentence: the paper's "observation, action" as one text. parts: both for themselves, features side by side, where
    the many sentences of a game with twenty actions a state would take a CPU hours"""
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
    temperature: float | None = None
    """of the softmax over the proposals, 0 for the best of them (dqn-prior 0.1, dqn 0). This is the paper's alpha in
    exp(Q / alpha). `--alpha` of its released code multiplies Q: there 10 stands for 0.1. The alpha that weighs
    KL(pi || p) in the paper's objective is the same number, as p exp(Q / alpha) is what maximises that; in PPO-Prior,
    where it is a coefficient of the loss, returns are of another scale"""
    epsilon: float | None = None
    """probability of one of the proposals whatever its Q (dqn-prior 0, dqn 0.2)"""
    iterations: int = 40
    """each is some episodes of training, then updates, then an evaluation"""
    iteration_episodes: int = 5
    """training episodes in an iteration"""
    iteration_steps: int | None = None
    """training steps in an iteration instead, the last episode cut off (200: as LORO's learners)"""
    updates: int = 40
    """gradient steps in an iteration"""
    eval_episodes: int = 10
    """greedy episodes per evaluation: the best proposal is taken"""
    learning_rate: float = 5e-4
    """the learning rate of AdamW"""
    batch_size: int = 64
    """transitions per update, drawn with replacement"""
    buffer_size: int = 4000
    """capacity of the replay buffer, first in first out"""
    gamma: float = 0.99
    """the discount factor per action. In Overcooked at 0.99 the best return never serves the dish: chopping and
    spoiling it again pays for ever. At 0.95 serving is best"""
    target_rate: float = 0.005
    """share of the online network that the target network takes on at every update"""
    huber: bool = False
    """take the Huber loss, as LORO's learners do, in place of the squared error"""
    max_grad_norm: float = 1.0
    """longest gradient of a seed's weights"""
    hidden_size: int = 64
    """width of the two hidden layers"""
    carry_over: Literal[1] = 1
    """no network is handed on; here for the format of runs"""


def resolve(args: Args) -> Args:
    """Check `args` and fill in what the arm decides."""
    of_arm = {"dqn": (0.0, 0.2), "dqn-prior": (0.1, 0.0)}
    args.temperature = of_arm[args.arm][0] if args.temperature is None else args.temperature
    args.epsilon = of_arm[args.arm][1] if args.epsilon is None else args.epsilon
    args.eval_env = args.eval_env or args.env
    check_ranges(args)
    if args.eval_env not in (args.env, f"{args.env}-unseen"):
        places = f"there or in its unseen part, {args.env}-unseen, where it has one"
        raise UsageError(f"--eval-env {args.eval_env}: what learns in {args.env} is evaluated {places}.")
    if args.k != "all" and args.k < 1:
        raise UsageError(f"--k must be at least 1, or all, not {args.k}: without a proposal there is no action.")
    if (args.arm == "dqn-prior") != (args.prior is not None):
        raise UsageError(f"Arm '{args.arm}': --prior is for the arm dqn-prior, which needs it.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no CUDA device here; use --device cpu or auto.")
    return args


Pair = tuple[Any, tuple[str, ...], int]
"""A state, its text or its numbers, its actions, and the place of one of them."""
INITIAL_WEIGHTS, TRAINING, TRAINING_PROPOSALS, UPDATES, EVALUATION, EVALUATION_PROPOSALS = range(6)


def stream(seed: int, purpose: int, iteration: int = 0, episode: int = 0) -> np.random.Generator:
    """Return the random generator of one seed for one purpose: nothing needs saving to resume it."""
    return np.random.default_rng([seed, purpose, iteration, episode])


def draw(weights: np.ndarray, uniform: np.ndarray | float) -> np.ndarray:
    """Return the place of an entry, drawn in proportion to `weights`, for each number of `uniform` in [0, 1)."""
    cumulated = np.cumsum(weights)
    return np.searchsorted(cumulated, uniform * cumulated[-1], side="right")


class Table:
    """Every (state, action) pair that was met, by number, with its features [pairs, width] from when they are needed.

    Most actions of a state are never proposed, and a pair that nobody asks for is not encoded.
    """

    def __init__(self, encode: Callable[[list[Pair]], np.ndarray], by_numbers: bool) -> None:
        """`encode` gives the features of pairs; `by_numbers`: the numbers are the state."""
        self.encode, self.by_numbers = encode, by_numbers
        self.keys: list[tuple] = []
        self.first: dict[tuple, int] = {}
        self.of_pair: list[tuple[int, int]] = []
        """The state of each pair, by its place in `keys`, and the place of its action."""
        self.features = torch.zeros((0, 0))
        self.encoded = np.zeros(0, dtype=bool)

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.of_pair)

    def key(self, situation: Situation) -> tuple:
        """Return what tells one state from another."""
        return (situation.numbers if self.by_numbers else situation.text), situation.actions

    def __call__(self, situation: Situation) -> int:
        """Return the number of the pair with the first action; those of the other actions follow it."""
        key = self.key(situation)
        if key not in self.first:
            self.add([key])
        return self.first[key]

    def add(self, keys: list[tuple]) -> None:
        """Take up states with their actions, in this order."""
        for key in keys:
            self.first[key] = self.pairs
            self.of_pair += [(len(self.keys), place) for place in range(len(key[1]))]
            self.keys.append(key)

    def need(self, pairs: np.ndarray) -> bool:
        """See to it that the features of `pairs` are there; return whether any were not."""
        if self.pairs > len(self.encoded):
            room = 2 * self.pairs - len(self.encoded)  # twice as much is seldom needed again
            self.encoded = np.concatenate([self.encoded, np.zeros(room, dtype=bool)])
        new = np.unique(pairs[~self.encoded[pairs]])
        if len(new) == 0:
            return False
        met = [self.of_pair[pair] for pair in new]
        features = torch.from_numpy(self.encode([(*self.keys[state], action) for state, action in met]))
        if len(self.encoded) > len(self.features):
            room = torch.zeros((len(self.encoded) - len(self.features), features.shape[1]))
            self.features = torch.cat([self.features, room]) if len(self.features) else room
        self.features[new], self.encoded[new] = features, True
        return True

    def dump(self) -> torch.Tensor:
        """Return all states as bytes, uint8."""
        return torch.frombuffer(bytearray(json.dumps(self.keys).encode()), dtype=torch.uint8)

    def load(self, dumped: torch.Tensor) -> None:
        """Take up what `dump` returned."""
        keys = json.loads(dumped.numpy().tobytes())
        known = [(tuple(state) if self.by_numbers else state, tuple(actions)) for state, actions in keys]
        self.add([key for key in known if key not in self.first])  # the start is there already, and comes first


def open_table(args: Args, game: TextGame) -> Table:
    """Return the empty table of the encoder that `args` names."""
    if args.encoder != "numbers":
        encoder = Encoder(args.encoder, args.features / f"{Path(args.encoder).name}.jsonl")

        def features(met: list[Pair]) -> np.ndarray:
            actions = [f"Action: {words[a]}." for _, words, a in met]
            texts = [text for text, _, _ in met]
            if args.encoded == "parts":
                return np.concatenate([encoder(texts), encoder(actions)], axis=1)
            return encoder([f"{text} {action}" for text, action in zip(texts, actions, strict=True)])

        return Table(features, by_numbers=False)
    most = 0 if args.env.startswith("alfworld") else len(game.read(*game.make().reset(seed=0)).actions)

    def numbers(met: list[Pair]) -> np.ndarray:
        if not all(state for state, _, _ in met):
            raise UsageError(f"--encoder numbers: the observations of {args.env} are texts alone; take an encoder.")
        return np.array([np.concatenate([state, np.eye(most)[a]]) for state, _, a in met], dtype=np.float32)

    return Table(numbers, by_numbers=True)


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
    """The S learners: online and target network, optimizer, replay buffer, proposals, and the update."""

    def __init__(self, args: Args, table: Table, prior: Prior | None, width: int, device: torch.device) -> None:
        self.args, self.table, self.prior, self.device = args, table, prior, device
        self.seeds = range(args.first_seed, args.first_seed + args.seeds)
        self.online = [
            weight.requires_grad_()
            for weight in initial_weights(self.seeds, [width, args.hidden_size, args.hidden_size, 1], device)
        ]
        self.target = [weight.detach().clone() for weight in self.online]
        self.optimizer = torch.optim.AdamW(self.online, lr=args.learning_rate, fused=True)
        for weight in self.online:  # what AdamW would create at its first step: a checkpoint is copied into it
            moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            self.optimizer.state[weight] = {"step": torch.zeros((), device=device), **moments}
        # Transitions: the pair, its reward, whether the episode ended (0 at a truncation, where the next state's value
        # still counts), and the pairs proposed at the next state, -1 where there are fewer.
        self.buffer = {
            "pairs": torch.zeros((args.seeds, args.buffer_size), dtype=torch.int64),
            "rewards": torch.zeros((args.seeds, args.buffer_size)),
            "terminations": torch.zeros((args.seeds, args.buffer_size)),
            "next_pairs": torch.full((args.seeds, args.buffer_size, 1), -1),
        }
        self.added = torch.zeros(args.seeds, dtype=torch.int64)
        self.steps = torch.zeros(args.seeds, dtype=torch.int64)
        self.q_of: dict[int, np.ndarray] = {}
        """Q [S, actions] of the states met since the last update, by the number of their first pair.

        It is meaningless for actions that were not proposed there yet.
        """

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name everything that training changes."""
        named = {"table": self.table.dump(), "added": self.added, "steps": self.steps}
        for i, weight in enumerate(self.online):
            named |= {f"online.{i}": weight.detach(), f"target.{i}": self.target[i]}
            named |= {f"adam.{i}.{key}": value for key, value in self.optimizer.state[weight].items()}
        return {f"agents.{name}": tensor for name, tensor in (named | self.buffer).items()}

    def restore(self, run: Run, counters: dict[str, int]) -> None:
        """Take up what the checkpoint holds."""
        self.widen(counters["most_proposals"])
        tensors = self.tensors() | {"agents.table": torch.zeros(counters["table_bytes"], dtype=torch.uint8)}
        run.restore(tensors)
        self.table.load(tensors["agents.table"])
        kept = torch.cat([self.buffer["pairs"].flatten(), self.buffer["next_pairs"].flatten()]).numpy()
        self.table.need(np.unique(kept[kept >= 0]))

    def counters(self) -> dict[str, int]:
        """Return what `restore` must know before it reads tensors."""
        return {"most_proposals": self.buffer["next_pairs"].shape[2], "table_bytes": len(self.table.dump())}

    def policy(self) -> dict[str, torch.Tensor]:
        """Name the weights of the networks that act."""
        return dict(zip(("w1", "b1", "w2", "b2", "w3", "b3"), self.online, strict=True))

    def widen(self, proposals: int) -> None:
        """Make room for so many proposals per transition."""
        missing = proposals - self.buffer["next_pairs"].shape[2]
        if missing > 0:
            self.buffer["next_pairs"] = torch.nn.functional.pad(self.buffer["next_pairs"], (0, missing), value=-1)

    def add(self, agent: int, pair: int, reward: float, terminated: bool, next_pairs: np.ndarray) -> None:
        """Add a transition of an agent (counted from 0) to its buffer."""
        self.widen(len(next_pairs))
        position = int(self.added[agent]) % self.args.buffer_size
        self.buffer["pairs"][agent, position] = pair
        self.buffer["rewards"][agent, position] = reward
        self.buffer["terminations"][agent, position] = float(terminated)
        self.buffer["next_pairs"][agent, position] = -1
        self.buffer["next_pairs"][agent, position, : len(next_pairs)] = torch.from_numpy(next_pairs)
        self.added[agent] += 1

    def propose(self, situation: Situation, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the proposed actions, repetitions kept, and the weight of each.

        Raises Failure where nothing can be proposed.
        """
        if not situation.actions:
            raise Failure(f"There is no admissible action to propose in '{situation.text}'.")
        if self.prior is None:
            return np.arange(len(situation.actions)), np.ones(len(situation.actions))
        p = self.prior(situation)
        if self.args.k == "all":
            return np.flatnonzero(p), p[p > 0]
        return draw(p, random.random(self.args.k)), np.ones(self.args.k)

    def meet(
        self, situation: Situation, random: np.random.Generator, learn: bool
    ) -> tuple[int | None, np.ndarray, np.ndarray]:
        """Return the number of a state's first pair, the places of the proposed actions and the weight of each.

        A state in numbers that only an evaluation meets has none: there may be no end of them, and nobody learns there.
        """
        places, weights = self.propose(situation, random)
        if self.table.by_numbers and not learn and self.table.key(situation) not in self.table.first:
            return None, places, weights
        first = self.table(situation)
        if self.table.need(first + places):
            self.q_of.pop(first, None)
        return first, places, weights

    @torch.no_grad()
    def q(self, agent: int, situation: Situation, first: int | None, places: np.ndarray) -> np.ndarray:
        """Return an agent's Q [places] of proposed actions; in a state that is kept the others' are computed along."""
        if first is None:
            features = torch.from_numpy(self.table.encode([(*self.table.key(situation), place) for place in places]))
            alone = [weight[agent : agent + 1] for weight in self.online]
            return q_values(alone, features[None].to(self.device))[0].cpu().numpy()
        if first not in self.q_of:
            features = self.table.features[first : first + len(situation.actions)].to(self.device)
            self.q_of[first] = q_values(self.online, features.expand(self.args.seeds, -1, -1)).cpu().numpy()
        return self.q_of[first][agent][places]

    # ALGO LOGIC: put action logic here
    def choose(self, q: np.ndarray, weights: np.ndarray, uniforms: np.ndarray) -> int:
        """Return which proposal is taken: weights exp(Q / temperature), or with probability epsilon the weights alone.

        With k draws from the prior, all of weight 1, this is importance resampling of the posterior p exp(Q / alpha).
        """
        if uniforms[0] < self.args.epsilon:
            return int(draw(weights, uniforms[1]))
        if self.args.temperature == 0:
            return int(q.argmax())
        return int(draw(weights * np.exp((q - q.max()).astype(float) / self.args.temperature), uniforms[1]))

    def loss(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the squared error or Huber loss [S, B] and Q [S, B] on the transitions `indices` [S, B].

        y = r + gamma (1 - terminated) max over the proposals a' at s' of Q_target(s', a').
        """
        rows = torch.arange(len(indices))[:, None]
        batch = {name: field[rows, indices] for name, field in self.buffer.items()}
        with torch.no_grad():
            shape = batch["next_pairs"].shape
            none = (batch["next_pairs"] < 0).to(self.device)
            proposed = self.q_of_pairs(self.target, batch["next_pairs"].clamp(min=0).flatten(1))
            values = proposed.view(shape).masked_fill(none, -torch.inf).amax(2)
            ended = batch["terminations"].to(self.device) > 0
            y = batch["rewards"].to(self.device) + self.args.gamma * torch.where(ended, 0.0, values)
        chosen = self.q_of_pairs(self.online, batch["pairs"])
        errors = huber_loss(chosen, y, reduction="none") if self.args.huber else (chosen - y) ** 2
        return errors, chosen.detach()

    def q_of_pairs(self, weights: list[torch.Tensor], pairs: torch.Tensor) -> torch.Tensor:
        """Return Q [S, B] of `pairs` [S, B]; where the table has fewer, each of its pairs is evaluated once."""
        known = min(self.table.pairs, len(self.table.features))
        if known > pairs.shape[1]:
            return q_values(weights, self.table.features[pairs].to(self.device))
        features = self.table.features[:known].to(self.device)
        return q_values(weights, features.expand(len(pairs), -1, -1)).gather(1, pairs.to(self.device))

    # ALGO LOGIC: training
    def update(self, indices: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Take a gradient step on the transitions `indices` [S, B]; return the mean loss [S] and the mean Q [S].

        As in the released code: the errors' sum, the gradient cut to `max_grad_norm` (here for each seed by itself).
        """
        errors, q = self.loss(indices)
        self.optimizer.zero_grad()
        errors.sum().backward()
        norms = torch.stack([weight.grad.flatten(1).norm(dim=1) for weight in self.online]).norm(dim=0)
        scale = (self.args.max_grad_norm / (norms + 1e-6)).clamp(max=1)
        for weight in self.online:
            weight.grad *= scale[:, None, None]
        self.optimizer.step()
        torch._foreach_lerp_(self.target, [weight.detach() for weight in self.online], self.args.target_rate)
        self.q_of.clear()
        return errors.detach().mean(1).cpu().numpy(), q.mean(1).cpu().numpy()


def play(
    agents: Agents, agent: int, game: TextGame, env: gymnasium.Env, key: tuple[int, int], learn: bool, most: int
) -> tuple[float, int, float]:
    """Let an agent (counted from 0) play at most `most` steps; return return, length, and success (NaN: not defined).

    With `learn` it explores and its transitions go to the buffer, else the best proposals are taken. The end at `most`
    steps is a truncation.
    """
    purposes = (TRAINING, TRAINING_PROPOSALS) if learn else (EVALUATION, EVALUATION_PROPOSALS)
    random, proposing = (stream(agents.seeds[agent], purpose, *key) for purpose in purposes)
    situation = game.read(*env.reset(seed=int(random.integers(2**31))))
    first, places, weights = agents.meet(situation, proposing, learn)
    total, length, ended, info = 0.0, 0, False, {}
    while not ended and length < most:
        q = agents.q(agent, situation, first, places)
        action = int(places[agents.choose(q, weights, random.random(2)) if learn else q.argmax()])
        pair = first + action if learn else None
        observation, reward, terminated, truncated, info = env.step(game.action(action))
        total, length, ended = total + float(reward), length + 1, terminated or truncated
        if not terminated:  # at a truncation too: the value of what would have come next counts
            situation = game.read(observation, info)
            first, places, weights = agents.meet(situation, proposing, learn)
        if learn:  # of proposals that are alike one will do for a maximum
            next_pairs = np.zeros(0, int) if terminated else first + np.unique(places)
            agents.add(agent, pair, float(reward), terminated, next_pairs)
    return total, length, float(info.get("success", np.nan))


def train_iteration(agents: Agents, game: TextGame, env: gymnasium.Env, iteration: int) -> tuple[np.ndarray, ...]:
    """Let every seed play an iteration's episodes, then update; return mean return, success, loss and Q, each [S]."""
    args = agents.args
    returns, successes = np.zeros((2, args.seeds))
    for agent in range(args.seeds):
        played: list[tuple[float, int, float]] = []
        left = args.iteration_steps
        while len(played) < args.iteration_episodes if left is None else left > 0:
            most = game.horizon if left is None else min(game.horizon, left)
            played.append(play(agents, agent, game, env, (iteration, len(played)), learn=True, most=most))
            left = None if left is None else left - played[-1][1]
        returns[agent], length, successes[agent] = np.mean(played, axis=0)
        agents.steps[agent] += round(length * len(played))
    uniforms = [stream(seed, UPDATES, iteration).random((args.updates, args.batch_size)) for seed in agents.seeds]
    sizes = np.minimum(agents.added.numpy(), args.buffer_size)[:, None, None]
    indices = torch.from_numpy((np.stack(uniforms) * sizes).astype(np.int64))
    measured = [agents.update(indices[:, step]) for step in range(args.updates)]
    loss, q_mean = np.mean(measured, axis=0) if measured else np.full((2, args.seeds), np.nan)
    return returns, successes, loss, q_mean


def evaluate(agents: Agents, game: TextGame, env: gymnasium.Env, iteration: int) -> np.ndarray:
    """Play greedy episodes; return mean return, length and success, [3, S]."""
    played = [
        [play(agents, agent, game, env, (iteration, n), learn=False, most=game.horizon) for n in range(count)]
        for agent, count in enumerate([agents.args.eval_episodes] * agents.args.seeds)
    ]
    return np.mean(played, axis=1).T


def main() -> None:
    """Run the iterations that no checkpoint holds yet; write the CSV and its .json."""
    args = resolve(tyro.cli(Args))
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # to which Adam's moments decay where a unit is dead; computing with them is slow
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    reading = {"length_normalised": args.length_normalised, "calibrated": args.calibrated, "on_zeros": args.on_zeros}
    prior = open_prior(args.prior, args.env, temperature=args.prior_temperature, **reading) if args.prior else None
    columns = (*COLUMNS, "train_success", "eval_success")
    run = Run(args, columns=columns, prior_sha256=prior.sha256 if prior else None)

    # env setup: the game in the words in which the prior was asked
    game = prior.game if prior else TextGame(args.env)
    eval_game = game if args.eval_env == args.env else TextGame(args.eval_env)
    env, eval_env = game.make(), eval_game.make()
    table = open_table(args, game)
    table.need(np.array([table(game.read(*env.reset(seed=0)))]))
    agents = Agents(args, table, prior, table.features.shape[1], device)
    if counters := run.load():
        agents.restore(run, counters)

    bar = tqdm(range(args.iterations), initial=run.finished_blocks, disable=not args.progress)
    bar.set_description(f"{args.env} {args.arm}")
    for iteration in range(run.finished_blocks, args.iterations):
        train_return, train_success, loss, q_mean = train_iteration(agents, game, env, iteration)
        eval_return, eval_length, eval_success = evaluate(agents, eval_game, eval_env, iteration)
        measured = (agents.steps.numpy(), train_return, eval_return, eval_length, loss, q_mean)
        run.set_row(0, iteration, *measured, train_success, eval_success)
        bar.set_postfix(eval_return=f"{eval_return.mean():.2f}", success=f"{eval_success.mean():.2f}", refresh=False)
        run.save(agents.tensors(), **agents.counters())
        bar.update()
    bar.close()
    run.write(args.arm, device, agents.policy())


if __name__ == "__main__":
    run_command_line(main)
