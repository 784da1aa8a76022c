"""PPO over texts, all seeds at once, with or without a penalty for leaving an LLM's prior.

Paper: "Efficient Reinforcement Learning with Large Language Model Priors" (Yan et al., arXiv 2410.07927), its
policy-based part: alpha KL(pi || p) is added to PPO's loss, p(a|s) being the LLM's prior over the admissible actions.
The paper tunes an LLM's own weights (GFlan-Prior); here a small network reads the frozen features of sentences, as in
dqn_prior.py. PPO: Schulman et al. 2017 (arXiv 1707.06347), with the details of CleanRL but for three that serve long
runs: rewards are not normalised, the value loss is not clipped, the learning rate is constant.

    python -m algos.ppo_prior --env overcooked-tomato --arm ppo --output .../ppo.csv
    python -m algos.ppo_prior --env overcooked-tomato --arm ppo-prior --prior .../smollm2-135m.jsonl --alpha 0.1 ...

The policy is the softmax over the admissible actions of a network's score of "observation, action", so that any number
of actions will do; the critic reads the observation alone. The divergence is exact, a sum over the actions.

The seed is a batch dimension: weights are [S, in, out], a rollout is some whole episodes of each seed, padded to
[S, N]. Nothing is shared between seeds but the table of features: every random number of seed i comes from a generator
keyed by (i, purpose, iteration, episode), and seed i of a batch is seed i alone, up to rounding.
"""

from collections.abc import Callable, Sequence
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
from envs.errors import Failure, UsageError, run_command_line
from envs.records import COLUMNS, Run, check_ranges, keep_freed_memory
from envs.text import Situation, TextGame


@dataclass
class Args:
    """PPO-Prior, or plain PPO, on one environment in words, many seeds."""

    output: Path
    """the CSV to write; beside it go every argument (.json), the final networks, and a checkpoint while it runs"""
    env: str = "overcooked-tomato"
    """the environment: one in words, or one of LORO's with discrete actions (see envs/text.py)"""
    eval_env: str | None = None
    """evaluate here instead (alfworld-unseen)"""
    arm: Literal["ppo", "ppo-prior"] = "ppo"
    """ppo: without a prior. ppo-prior: with alpha KL(pi || p) in the loss"""
    prior: Path | None = None
    """ppo-prior: the file that algos/prior.py made"""
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

    # What the networks read
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
    floor: float = 0.01
    """share of uniform play that is mixed into the prior: an action of probability 0 would cost infinitely much"""

    # Algorithm specific arguments
    alpha: float = 0.1
    """weight of KL(pi || p) in the loss. This is the alpha of the paper's objective, E[return] - alpha KL; but PPO's
    advantages are normalised to a deviation of 1, so that it is not in units of return. It is not the alpha of
    exp(Q / alpha), which DQN-Prior calls `temperature`, nor the one of the released code, its reciprocal"""
    iterations: int = 40
    """each is some episodes of training, then an update on them, then an evaluation"""
    iteration_episodes: int = 5
    """training episodes in an iteration: PPO's rollout"""
    eval_episodes: int = 10
    """episodes per evaluation: the likeliest action is taken"""
    learning_rate: float = 1e-3
    """the learning rate of Adam"""
    num_minibatches: int = 4
    """minibatches that a rollout is divided into"""
    update_epochs: int = 4
    """passes over each rollout"""
    gamma: float = 0.99
    """the discount factor per action. In Overcooked at 0.99 the best return never serves the dish: chopping and
    spoiling it again pays for ever. At 0.95 serving is best"""
    gae_lambda: float = 0.95
    """the lambda of generalised advantage estimation"""
    clip_coef: float = 0.2
    """how far the probability ratio may leave 1"""
    ent_coef: float = 0.01
    """weight of the entropy bonus"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients of a seed are scaled down to this norm"""
    hidden_size: int = 64
    """width of the two hidden layers"""
    carry_over: Literal[1] = 1
    """no network is handed on; here for the format of runs"""


def resolve(args: Args) -> Args:
    """Check `args` and fill in what they leave open."""
    args.eval_env = args.eval_env or args.env
    check_ranges(args)
    if args.eval_env not in (args.env, f"{args.env}-unseen"):
        places = f"there or in its unseen part, {args.env}-unseen, where it has one"
        raise UsageError(f"--eval-env {args.eval_env}: what learns in {args.env} is evaluated {places}.")
    if (args.arm == "ppo-prior") != (args.prior is not None):
        raise UsageError(f"Arm '{args.arm}': --prior is for the arm ppo-prior, which needs it.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no CUDA device here; use --device cpu or auto.")
    return args


INITIAL_WEIGHTS, TRAINING, MINIBATCHES, EVALUATION = range(4)


def stream(seed: int, purpose: int, iteration: int = 0, episode: int = 0) -> np.random.Generator:
    """Return the random generator of one seed for one purpose: nothing needs saving to resume it."""
    return np.random.default_rng([seed, purpose, iteration, episode])


@dataclass(frozen=True)
class States:
    """What the networks read of some states, [U, most, ...] up to the most actions that one of these has."""

    features: torch.Tensor
    """of the actions [U, most, width]"""
    own: torch.Tensor
    """of the state [U, width]"""
    log_prior: torch.Tensor
    """[U, most]"""
    admissible: torch.Tensor
    """[U, most], False where there is no such action"""


class Table:
    """Every state that was met, by number: features of its actions and of itself, and its prior."""

    def __init__(
        self, encode: Callable[[Situation], tuple[np.ndarray, np.ndarray]], prior: Prior | None, floor: float
    ) -> None:
        """`encode` gives the features of a situation's actions [actions, width] and its own [width]."""
        self.encode, self.prior, self.floor = encode, prior, floor
        self.number: dict[tuple, int] = {}
        self.rows: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def __len__(self) -> int:
        """Return how many states were met."""
        return len(self.rows)

    def __call__(self, situation: Situation) -> int:
        """Return the number of a state; raise Failure where there is no action."""
        key = (situation.text, situation.actions, situation.numbers)
        if key not in self.number:
            if not situation.actions:
                raise Failure(f"There is no admissible action in '{situation.text}'.")
            of_actions, own = self.encode(situation)
            uniform = np.full(len(situation.actions), 1 / len(situation.actions))
            p = uniform if self.prior is None else (1 - self.floor) * self.prior(situation) + self.floor * uniform
            if (p == 0).any():
                raise UsageError(f"The prior excludes an action in '{situation.text}': give a --floor above 0.")
            self.number[key] = len(self.rows)
            self.rows.append(tuple(torch.from_numpy(x.astype(np.float32)) for x in (of_actions, own, np.log(p))))
        return self.number[key]

    def states(self, numbers: Sequence[int], device: torch.device) -> States:
        """Return the states of these numbers. What else the table holds changes nothing: not even the padding."""
        of_actions, own, log_prior = zip(*(self.rows[number] for number in numbers), strict=True)
        features = torch.nn.utils.rnn.pad_sequence(of_actions, batch_first=True)
        log_priors = torch.nn.utils.rnn.pad_sequence(log_prior, batch_first=True)
        counts = torch.tensor([len(rows) for rows in of_actions])
        admissible = torch.arange(features.shape[1]) < counts[:, None]
        return States(*(tensor.to(device) for tensor in (features, torch.stack(own), log_priors, admissible)))


def open_table(args: Args, game: TextGame, prior: Prior | None) -> Table:
    """Return the empty table of the encoder that `args` names."""
    if args.encoder != "numbers":
        encoder = Encoder(args.encoder, args.features / f"{Path(args.encoder).name}.jsonl")

        def texts(situation: Situation) -> tuple[np.ndarray, np.ndarray]:
            features = encoder([situation.text, *(f"{situation.text} Action: {a}." for a in situation.actions)])
            return features[1:], features[0]

        return Table(texts, prior, args.floor)
    most = 0 if args.env.startswith("alfworld") else len(game.read(*game.make().reset(seed=0)).actions)

    def numbers(situation: Situation) -> tuple[np.ndarray, np.ndarray]:
        if not situation.numbers:
            raise UsageError(f"--encoder numbers: the observations of {args.env} are texts alone; take an encoder.")
        rows = [np.concatenate([situation.numbers, np.eye(most)[a]]) for a in range(len(situation.actions))]
        return np.array(rows), np.array(situation.numbers)

    return Table(numbers, prior, args.floor)


# ALGO LOGIC: initialize agent here
def initial_weights(generators: list, sizes: list[int], last_gain: float, device: torch.device) -> list[torch.Tensor]:
    """Return [w1, b1, w2, b2, w3, b3], w [S, in, out] orthogonal with gains sqrt(2), sqrt(2), `last_gain`; b zero."""
    weights = []
    for gain, (inputs, outputs) in zip((2**0.5, 2**0.5, last_gain), pairwise(sizes), strict=True):
        drawn = np.stack([orthogonal(generator, inputs, outputs) * gain for generator in generators])
        weights.append(torch.tensor(drawn, dtype=torch.float32, device=device).requires_grad_())
        weights.append(torch.zeros((len(generators), 1, outputs), device=device, requires_grad=True))
    return weights


def orthogonal(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a uniformly random matrix with orthonormal columns, or rows where there are fewer of them."""
    q, r = np.linalg.qr(generator.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))
    return q if rows >= columns else q.T


def forward(weights: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return the outputs [S, B] of S networks for inputs [S, B, in]."""
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.tanh(torch.baddbmm(b1, inputs, w1))
    x = torch.tanh(torch.baddbmm(b2, x, w2))
    return ((x * w3.mT).sum(2, keepdim=True) + b3).squeeze(2)


def gae(deltas: torch.Tensor, ends: torch.Tensor, decay: float) -> torch.Tensor:
    """Return the advantages A_t = delta_t + decay A_t+1 [S, N], cut off at the `ends` of episodes.

    delta_t = r_t + gamma V(s_t+1) - V(s_t), decay = gamma lambda (Schulman et al. 2016, arXiv 1506.02438).
    """
    advantages, following = torch.zeros_like(deltas), torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        following = advantages[:, t] = deltas[:, t] + decay * (1 - ends[:, t]) * following
    return advantages


def mean_over(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the means [S] of `values` [S, B] where `weights` [S, B] are 1, 0 where they never are."""
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1)


class Agents:
    """The S learners: actor, critic, optimizer, and the update."""

    def __init__(self, args: Args, table: Table, device: torch.device) -> None:
        """`table` must hold a state already: its features have a width."""
        self.args, self.table, self.device = args, table, device
        self.seeds = range(args.first_seed, args.first_seed + args.seeds)
        generators, hidden = [stream(seed, INITIAL_WEIGHTS) for seed in self.seeds], [args.hidden_size] * 2
        of_actions, own, _ = table.rows[0]
        self.actor = initial_weights(generators, [of_actions.shape[1], *hidden, 1], 0.01, device)
        self.critic = initial_weights(generators, [len(own), *hidden, 1], 1.0, device)
        self.weights = [*self.actor, *self.critic]
        self.optimizer = torch.optim.Adam(self.weights, lr=args.learning_rate, eps=1e-5)
        for weight in self.weights:  # what Adam would create at its first step: a checkpoint is copied into it
            moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            self.optimizer.state[weight] = {"step": torch.zeros(()), **moments}
        self.steps = torch.zeros(args.seeds, dtype=torch.int64)
        self.p_of: dict[int, np.ndarray] = {}
        """The policies [S, actions] in the states met since the last update."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name everything that training changes."""
        named = {"steps": self.steps}
        for i, weight in enumerate(self.weights):
            named[f"weights.{i}"] = weight.detach()
            named |= {f"adam.{i}.{key}": value for key, value in self.optimizer.state[weight].items()}
        return {f"agents.{name}": tensor for name, tensor in named.items()}

    def policy(self) -> dict[str, torch.Tensor]:
        """Name the weights of the networks that act."""
        return dict(zip(("w1", "b1", "w2", "b2", "w3", "b3"), self.actor, strict=True))

    def log_policy(self, met: States, states: torch.Tensor) -> torch.Tensor:
        """Return log pi [S, B, most] in `states` [S, B], places in `met`; -inf where there is no such action."""
        features = met.features[states]
        scores = forward(self.actor, features.flatten(1, 2)).view(features.shape[:3])
        return scores.masked_fill(~met.admissible[states], -torch.inf).log_softmax(2)

    def value(self, met: States, states: torch.Tensor) -> torch.Tensor:
        """Return V [S, B] of `states` [S, B], places in `met`."""
        return forward(self.critic, met.own[states])

    @torch.no_grad()
    def p(self, agent: int, state: int) -> np.ndarray:
        """Return the policy [actions] of an agent (counted from 0) in a state; the others' are computed along."""
        if state not in self.p_of:
            first = torch.zeros((self.args.seeds, 1), dtype=torch.int64, device=self.device)
            log_pi = self.log_policy(self.table.states([state], self.device), first)
            self.p_of[state] = log_pi.exp().squeeze(1).double().cpu().numpy()
        return self.p_of[state][agent]

    def loss(self, met: States, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return PPO's loss, with alpha KL(pi || p) for ppo-prior, the mean value and the mean KL, all [S].

        `batch` [S, B]: states (places in `met`), actions, log_probs (of the policy that played), advantages, returns
        and weights, which are 0 for what only fills up the batch.
        """
        args, weights = self.args, batch["weights"]
        log_pi, values = self.log_policy(met, batch["states"]), self.value(met, batch["states"])
        log_probs = log_pi.gather(2, batch["actions"][..., None]).squeeze(2)
        finite = log_pi.masked_fill(log_pi == -torch.inf, 0)
        entropy = -(log_pi.exp() * finite).sum(2)
        divergence = (log_pi.exp() * (finite - met.log_prior[batch["states"]])).sum(2)
        advantages = batch["advantages"] - mean_over(batch["advantages"], weights)[:, None]
        variance = (advantages**2 * weights).sum(1) / (weights.sum(1) - 1).clamp(min=1)
        advantages = advantages / (variance.sqrt() + 1e-8)[:, None]
        ratio = (log_probs - batch["log_probs"]).exp()
        clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
        loss = -mean_over(torch.min(advantages * ratio, advantages * clipped), weights)
        loss = loss - args.ent_coef * mean_over(entropy, weights)
        loss = loss + args.vf_coef * 0.5 * mean_over((values - batch["returns"]) ** 2, weights)
        divergence = mean_over(divergence, weights)
        if args.arm == "ppo-prior":
            loss = loss + args.alpha * divergence
        return loss, mean_over(values, weights).detach(), divergence.detach()

    # ALGO LOGIC: training
    def update(self, rollout: dict[str, torch.Tensor], iteration: int) -> np.ndarray:
        """Train on a rollout [S, N] of whole episodes; return mean loss, value and KL, [3, S]."""
        args, weights = self.args, rollout["weights"]
        both = torch.stack([rollout["states"], rollout["next_states"]])
        numbers, (states, next_states) = both.unique(return_inverse=True)
        met = self.table.states(numbers.tolist(), self.device)
        with torch.no_grad():  # the policy and the critic are still those that the rollout was made with
            log_pi, values = self.log_policy(met, states), self.value(met, states)
            next_values = self.value(met, next_states) * (1 - rollout["terminations"])
            deltas = (rollout["rewards"] + args.gamma * next_values - values) * weights
            advantages = gae(deltas, rollout["ends"], args.gamma * args.gae_lambda)
            old = log_pi.gather(2, rollout["actions"][..., None]).squeeze(2)
        data = {"states": states, "actions": rollout["actions"], "weights": weights}
        data |= {"log_probs": old, "advantages": advantages, "returns": advantages + values}
        generators = [stream(seed, MINIBATCHES, iteration) for seed in self.seeds]
        measured = []
        for _ in range(args.update_epochs):
            for indices in minibatches(generators, weights.sum(1).int().tolist(), args.num_minibatches):
                rows = torch.arange(args.seeds, device=self.device)[:, None]
                indices = indices.to(self.device)
                batch = {name: field[rows, indices.clamp(min=0)] for name, field in data.items()}
                batch["weights"] = (indices >= 0).float()
                loss, *others = self.loss(met, batch)
                self.optimizer.zero_grad()
                loss.sum().backward()
                norms = torch.stack([weight.grad.flatten(1).norm(dim=1) for weight in self.weights]).norm(dim=0)
                scale = (args.max_grad_norm / (norms + 1e-6)).clamp(max=1)
                for weight in self.weights:
                    weight.grad *= scale[:, None, None]
                self.optimizer.step()
                measured.append(torch.stack([loss.detach(), *others]).cpu().numpy())
        self.p_of.clear()
        return np.mean(measured, axis=0)


def minibatches(generators: list[np.random.Generator], steps: list[int], parts: int) -> list[torch.Tensor]:
    """Divide each seed's `steps` at random into `parts`; return the indices [S, longest] of each, filled up with -1."""
    shares = [np.array_split(generator.permutation(n), parts) for generator, n in zip(generators, steps, strict=True)]
    return [
        torch.nn.utils.rnn.pad_sequence([torch.from_numpy(p) for p in part], batch_first=True, padding_value=-1)
        for part in zip(*shares, strict=True)
    ]


def play(
    agents: Agents, agent: int, game: TextGame, env: gymnasium.Env, random: np.random.Generator, sampled: bool
) -> tuple[list[tuple], tuple[float, int, float]]:
    """Let an agent (counted from 0) play an episode; return its steps and its return, length and success (or NaN).

    A step is (state, action, reward, next state, whether the episode is terminated, whether it ends). With `sampled`
    actions are drawn, else the likeliest is taken. The end at the horizon is a truncation.
    """
    situation = game.read(*env.reset(seed=int(random.integers(2**31))))
    steps, ended, info = [], False, {}
    while not ended:
        state = agents.table(situation)
        p = agents.p(agent, state)
        # ALGO LOGIC: put action logic here
        action = int(np.searchsorted(p.cumsum(), random.random() * p.sum(), side="right") if sampled else p.argmax())
        observation, reward, terminated, truncated, info = env.step(game.action(action))
        ended = terminated or truncated or len(steps) + 1 >= game.horizon
        if not terminated:
            situation = game.read(observation, info)
        steps.append((state, action, float(reward), agents.table(situation), float(terminated), float(ended)))
    return steps, (sum(step[2] for step in steps), len(steps), float(info.get("success", np.nan)))


def train_iteration(agents: Agents, game: TextGame, env: gymnasium.Env, iteration: int) -> tuple[np.ndarray, ...]:
    """Let every seed play an iteration's episodes, then update; return return, success, loss, value, KL, each [S]."""
    args = agents.args
    rollouts, returns = [], []
    for agent, seed in enumerate(agents.seeds):
        streams = [stream(seed, TRAINING, iteration, n) for n in range(args.iteration_episodes)]
        played = [play(agents, agent, game, env, random, sampled=True) for random in streams]
        rollouts.append([step for steps, _ in played for step in steps])
        returns.append(np.mean([totals for _, totals in played], axis=0))
        agents.steps[agent] += len(rollouts[-1])
    names = ("states", "actions", "rewards", "next_states", "terminations", "ends")
    columns = [[torch.tensor(column) for column in zip(*steps, strict=True)] for steps in rollouts]
    columns = [[*of_seed, torch.ones(len(of_seed[0]))] for of_seed in columns]
    padded = [torch.nn.utils.rnn.pad_sequence(field, batch_first=True) for field in zip(*columns, strict=True)]
    rollout = {name: field.to(agents.device) for name, field in zip((*names, "weights"), padded, strict=True)}
    mean_return, _, success = np.array(returns).T
    return mean_return, success, *agents.update(rollout, iteration)


def evaluate(agents: Agents, game: TextGame, env: gymnasium.Env, iteration: int) -> np.ndarray:
    """Play the likeliest actions; return mean return, length and success, [3, S]."""
    episodes = range(agents.args.eval_episodes)
    played = [
        [play(agents, agent, game, env, stream(seed, EVALUATION, iteration, n), sampled=False)[1] for n in episodes]
        for agent, seed in enumerate(agents.seeds)
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
    columns = (*COLUMNS, "train_success", "eval_success", "kl")
    run = Run(args, columns=columns, prior_sha256=prior.sha256 if prior else None)

    # env setup: the game in the words in which the prior was asked
    game = prior.game if prior else TextGame(args.env)
    eval_game = game if args.eval_env == args.env else TextGame(args.eval_env)
    env, eval_env = game.make(), eval_game.make()
    table = open_table(args, game, prior)
    table(game.read(*env.reset(seed=0)))
    agents = Agents(args, table, device)
    if run.load() is not None:
        run.restore(agents.tensors())

    bar = tqdm(range(args.iterations), initial=run.finished_blocks, disable=not args.progress)
    bar.set_description(f"{args.env} {args.arm}")
    for iteration in range(run.finished_blocks, args.iterations):
        train_return, train_success, loss, value, kl = train_iteration(agents, game, env, iteration)
        eval_return, eval_length, eval_success = evaluate(agents, eval_game, eval_env, iteration)
        measured = (agents.steps.numpy(), train_return, eval_return, eval_length, loss, value)
        kl = kl if args.arm == "ppo-prior" else np.nan
        run.set_row(0, iteration, *measured, train_success, eval_success, kl)
        bar.set_postfix(eval_return=f"{eval_return.mean():.2f}", success=f"{eval_success.mean():.2f}", refresh=False)
        run.save(agents.tensors())
        bar.update()
    bar.close()
    run.write(args.arm, device, agents.policy())


if __name__ == "__main__":
    run_command_line(main)
