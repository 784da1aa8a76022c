"""Soft actor-critic, all seeds at once, trained online with or without a warm start from an LLM's episodes.

Paper: "Improving the Data-efficiency of RL by Warm-starting with LLM" (LORO, arXiv 2505.10861), Algorithm 1.
SAC: Haarnoja et al. 2018 (arXiv 1812.05905), two critics, learned temperature. Usage, details and scores: README.md.

    python -m algos.sac --env pendulum --arm online --output rerun/results/runs/paper/pendulum/online.csv

The seed is a batch dimension: weights are [S, in, out], the replay buffer is [S, capacity, ...]. Nothing is shared
between seeds but the offline episodes: every random number of seed i comes from a generator keyed by (i, purpose,
repeat, block), the loss is a sum over seeds and Adam is element-wise, so seed i of a batch is seed i alone, up to
floating-point rounding.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro
from torch.nn.functional import mse_loss, softplus
from tqdm import tqdm

import envs
from envs.datasets import episodes_sha256, load_dataset, read_meta, transitions
from envs.errors import UsageError, run_command_line
from envs.records import Run, check_ranges, keep_freed_memory


@dataclass
class Args:
    """Train SAC agents, several seeds side by side, on one environment by one arm of the experiment."""

    output: Path
    """the CSV to write; beside it go every argument (.json), the final policy, and a checkpoint while it runs"""
    env: str = "pendulum"
    """pendulum, or one of your own (envs/)"""
    arm: Literal["online", "loro", "mix", "pretrain-on-policy", "pretrain-random"] = "online"
    """online: no offline data. loro: pretrain on the LLM's episodes. mix: the LLM's episodes in the buffer, without
    pretraining. pretrain-on-policy: pretrain on the learner's own first tau iterations. pretrain-random: like loro, on
    random episodes"""
    dataset: Path | None = None
    """the folder of recorded episodes; the arms loro, mix and pretrain-random require it"""
    protocol: Literal["paper", "released"] = "paper"
    """the procedure done soundly, or what the authors' code did. It sets every flag from --carry-over on that is not
    given: None there means what the protocol says"""
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

    # Algorithm specific arguments
    tau: int = 10
    """number of offline episodes (the paper's tau), taken from the front of the dataset"""
    pretrain_steps: int = 3000
    """gradient steps on the offline episodes (the paper's N)"""
    iterations: int | None = None
    """total iterations, the tau warm-up episodes counted; the environment's number by default"""
    iteration_steps: int = 200
    """environment steps of training in an iteration, before each evaluation"""
    learning_rate: float = 3e-4
    """the learning rate of Adam, for actor, critics and temperature"""
    batch_size: int = 256
    """transitions per update, drawn with replacement; online, updates start once the buffer holds more"""
    buffer_size: int = 100_000
    """capacity of the replay buffer, first in first out"""
    gamma: float = 0.99
    """the discount factor"""
    smoothing: float = 0.005
    """how far the target critics move to the critics at each update (the tau of SAC)"""
    epsilon: float = 0.1
    """probability of zero action where the exploration is mean-or-zero"""
    hidden_size: int = 256
    """width of the two hidden layers"""

    # Where the protocols differ: each of these can be switched alone
    carry_over: int | None = None
    """repeats that one network is handed through: repeat i starts where i-1 ended (paper 1; released 5 for loro,
    the seeds then count independent chains)"""
    repeat_iterations: int | None = None
    """iterations after which a repeat's network is handed on, where they are more than the recorded ones. Neither
    protocol sets it, for its price: the authors' repeats went on to 6000 in mountain-car and to 600 in pendulum"""
    shifted: bool | None = None
    """store the offline transitions as (s_t+1, a_t, r_t, s_t+2) (paper no, released yes)"""
    cutoff_as_terminal: bool | None = None
    """store the end of a cut-off offline episode as terminal (paper no, released yes)"""
    discard_offline: bool | None = None
    """empty the buffer before the online phase: after pretraining (loro), or without having learnt from it (mix)
    (paper no; released yes, for mix where the authors' own had no data)"""
    warm_up_mean: Literal["used", "dataset"] | None = None
    """the return that stands for each warm-up iteration: the mean over the tau episodes used (paper) or over all that
    were collected (released)"""
    eval_episodes: int | None = None
    """greedy episodes per evaluation (paper 10, released 1)"""
    exploration: Literal["sample", "mean-or-zero"] | None = None
    """sample the policy (paper), or take its mean and, with probability epsilon, zero (released)"""
    unscaled_actions: bool | None = None
    """leave the policy's range at [-1, 1] whatever the environment's bounds are (paper no, released yes)"""


MIX_HAD_DATA = {"pendulum": (30,)}
"""Where the authors' mix had the LLM's episodes, by tau; elsewhere it could not load or convert them, and began with an
empty buffer: online RL (results/audit.md, finding 13)."""


def resolve(args: Args) -> Args:
    """Check `args` and fill in what the protocol decides.

    The authors also evaluate on the training environment. Every iteration starts with a reset, so that this changes
    nothing but the random stream, and has no flag here.
    """
    environment = envs.get(args.env)
    if environment.learner != "sac":
        raise UsageError(f"Environment '{args.env}' has discrete actions: use algos.{environment.learner}.")
    released = args.protocol == "released"
    mix_had_data = args.tau in MIX_HAD_DATA.get(args.env, ())
    protocol = {
        "iterations": environment.iterations,
        "carry_over": 5 if released and args.arm == "loro" else 1,
        "shifted": released,
        "cutoff_as_terminal": released,
        "discard_offline": released and (args.arm == "loro" or (args.arm == "mix" and not mix_had_data)),
        "warm_up_mean": "dataset" if released else "used",
        "eval_episodes": 1 if environment.deterministic or released else 10,
        "exploration": "mean-or-zero" if released else "sample",
        "unscaled_actions": released,
    }
    for name, value in protocol.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_ranges(args)
    if (args.arm in ("loro", "mix", "pretrain-random")) != (args.dataset is not None):
        raise UsageError(f"Arm '{args.arm}': --dataset is for the arms loro, mix and pretrain-random, which need it.")
    if args.arm != "online" and args.iterations <= args.tau:
        raise UsageError(f"--iterations {args.iterations} must exceed --tau {args.tau}, which it includes.")
    if args.repeat_iterations is not None and (args.carry_over == 1 or args.repeat_iterations < args.iterations):
        raise UsageError("--repeat-iterations must be at least --iterations, and is for --carry-over of 2 or more.")
    if args.discard_offline and args.arm not in ("loro", "mix"):
        raise UsageError("--discard-offline is for the arms loro and mix: the others keep what they pretrained on.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no CUDA device here; use --device cpu or auto.")
    return args


INITIAL_WEIGHTS, PRETRAINING, TRAINING, EVALUATION = range(4)


def stream(seed: int, purpose: int, repeat: int = 0, block: int = 0) -> np.random.Generator:
    """Return the random generator of one seed for one purpose: nothing needs saving to resume it."""
    return np.random.default_rng([seed, purpose, repeat, block])


# ALGO LOGIC: initialize agent here
def initial_weights(generators: list, sizes: list[int], device: torch.device) -> list[torch.Tensor]:
    """Return [w1, b1, w2, b2, w3, b3] uniform in +-1/sqrt(in) (torch's default), b [N, 1, out] and w [N, in, out].

    One network per generator. Only w3 is stored as [N, out, in]: products with a handful of columns are five times
    slower on the CPU.
    """
    weights = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = inputs**-0.5
        for shape in ((inputs, outputs) if layer < 2 else (outputs, inputs), (1, outputs)):
            drawn = np.stack([generator.uniform(-bound, bound, shape) for generator in generators])
            weights.append(torch.tensor(drawn, dtype=torch.float32, device=device).requires_grad_())
    return weights


def forward(weights: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return the outputs [N, B, out] of N networks for inputs [N, B, in]."""
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.relu_(torch.baddbmm(b1, inputs, w1))
    x = torch.relu_(torch.baddbmm(b2, x, w2))
    return torch.bmm(x, w3.mT) + b3


def get_action(weights: list[torch.Tensor], observations: torch.Tensor, noise: torch.Tensor) -> tuple:
    """Return the actions tanh(mean + std noise) [S, B, A] in (-1, 1), their log-probability [S, B], and tanh(mean)."""
    mean, log_std = forward(weights, observations).chunk(2, dim=2)
    log_std = log_std.clamp(-20, 2)
    u = mean + log_std.exp() * noise
    log_normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2 * (math.log(2) - u - softplus(-2 * u))  # log(1 - tanh(u)^2), without its cancellation
    return torch.tanh(u), (log_normal - log_slope).sum(2), torch.tanh(mean)


def q_values(weights: list[torch.Tensor], observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return the values [S, 2, B] that the two critics of each seed give to observations and actions [S, B, ...]."""
    x = torch.cat([observations, actions], dim=2).repeat_interleave(2, dim=0)
    return forward(weights, x).reshape(-1, 2, x.shape[1])


class ReplayBuffer:
    """Transitions of all seeds, [S, capacity, ...], first in first out. A reset never enters as a transition."""

    def __init__(self, seeds: int, capacity: int, sizes: tuple[int, int], device: torch.device) -> None:
        observations = torch.zeros((seeds, capacity, sizes[0]), device=device)
        self.fields = {
            "observations": observations,
            "actions": torch.zeros((seeds, capacity, sizes[1]), device=device),
            "rewards": torch.zeros((seeds, capacity), device=device),
            "next_observations": torch.zeros_like(observations),
            # 1 where the episode ended; 0 at a truncation, where the next observation's value still counts
            "terminations": torch.zeros((seeds, capacity), device=device),
        }
        self.capacity, self.added = capacity, 0

    def __len__(self) -> int:
        """Return how many transitions each seed holds."""
        return min(self.added, self.capacity)

    def add(self, *transition: Any) -> None:
        """Add one transition per seed: observation, action, reward, next observation, termination, each [S, ...]."""
        position = self.added % self.capacity
        for field, value in zip(self.fields.values(), transition, strict=True):
            field[:, position] = torch.as_tensor(value).to(field)
        self.added += 1

    def sample(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the transitions `indices` [S, B] of each seed."""
        rows = torch.arange(len(indices), device=indices.device)[:, None]
        return {name: field[rows, indices] for name, field in self.fields.items()}


class Agents:
    """The S learners: actor, two critics and their targets, temperature, optimizers, replay buffer, and the update."""

    def __init__(self, args: Args, env: gymnasium.Env, device: torch.device) -> None:
        self.args, self.device = args, device
        self.seeds = range(args.first_seed, args.first_seed + args.seeds)
        observation_size, self.action_size = env.observation_space.shape[0], env.action_space.shape[0]
        low, high = env.action_space.low, env.action_space.high
        if not np.array_equal(low, -high) or not np.isfinite(high).all():
            raise UsageError(f"Environment '{args.env}' has actions from {low} to {high}; they must be symmetric.")
        self.action_scale = np.ones(self.action_size) if args.unscaled_actions else high
        hidden = [args.hidden_size, args.hidden_size]
        generators = [stream(seed, INITIAL_WEIGHTS) for seed in self.seeds]
        self.actor = initial_weights(generators, [observation_size, *hidden, 2 * self.action_size], device)
        twice = [generator for generator in generators for _ in range(2)]
        self.critics = initial_weights(twice, [observation_size + self.action_size, *hidden, 1], device)
        self.targets = [w.detach().clone() for w in self.critics]
        self.log_temperature = torch.zeros(args.seeds, device=device, requires_grad=True)
        self.networks = {"actor": self.actor, "critics": self.critics, "temperature": [self.log_temperature]}
        on_gpu = device.type == "cuda"
        self.optimizers = {}
        for name, weights in self.networks.items():
            optimizer = torch.optim.Adam(weights, lr=args.learning_rate, fused=True, capturable=on_gpu)
            for weight in weights:  # what Adam would create at its first step: a checkpoint is copied into it
                moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
                optimizer.state[weight] = {"step": torch.zeros((), device=device), **moments}
            self.optimizers[name] = optimizer
        self.buffer = ReplayBuffer(args.seeds, args.buffer_size, (observation_size, self.action_size), device)
        self.indices = torch.zeros((args.seeds, args.batch_size), dtype=torch.int64, device=device)
        self.noise = torch.zeros((2, args.seeds, args.batch_size, self.action_size), device=device)
        self.loss_sum, self.q_sum = torch.zeros((2, args.seeds), device=device)
        self.updates = 0
        self.graph = self.capture() if on_gpu else None

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name everything that training changes; of the buffer, the filled part."""
        named = {"loss_sum": self.loss_sum, "q_sum": self.q_sum}
        named |= {f"targets.{i}": weight for i, weight in enumerate(self.targets)}
        for name, weights in self.networks.items():
            for i, weight in enumerate(weights):
                named[f"{name}.{i}"] = weight.detach()
                state = self.optimizers[name].state[weight]
                named |= {f"adam.{name}.{i}.{key}": value for key, value in state.items()}
        return named | {f"buffer.{name}": field[:, : len(self.buffer)] for name, field in self.buffer.fields.items()}

    def policy(self) -> dict[str, torch.Tensor]:
        """Name the weights of the networks that act."""
        return dict(zip(("w1", "b1", "w2", "b2", "w3", "b3"), self.actor, strict=True))

    @torch.no_grad()
    def act(self, observations: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """Return actions [S, B, A] in [-1, 1] for observations [S, B, size]: the mean, or a sample given noise."""
        x = torch.from_numpy(observations).to(self.device)
        z = torch.zeros((), device=self.device) if noise is None else torch.as_tensor(noise).to(x)
        sample, _, mean = get_action(self.actor, x, z)
        return (mean if noise is None else sample).cpu().numpy()

    def optimize(self, name: str, loss: torch.Tensor) -> None:
        """Take one Adam step on `loss` [S] with the weights of one name, and with no others."""
        weights = self.networks[name]
        for weight, gradient in zip(weights, torch.autograd.grad(loss.sum(), weights), strict=True):
            weight.grad = gradient.contiguous()  # the fused Adam reads gradients in the order of the weights' memory
        self.optimizers[name].step()

    def step(self) -> None:
        """Take one gradient step with every seed on the minibatch `self.indices` and the normal draws `self.noise`."""
        batch = self.buffer.sample(self.indices)
        observations, next_observations = batch["observations"], batch["next_observations"]
        with torch.no_grad():  # y = r + gamma (1 - terminated) (min_i Q_target,i(s', a') - temperature log pi(a'|s'))
            next_actions, log_prob, _ = get_action(self.actor, next_observations, self.noise[0])
            next_q = q_values(self.targets, next_observations, next_actions).amin(1)
            next_values = next_q - self.log_temperature.exp()[:, None] * log_prob
            y = batch["rewards"] + self.args.gamma * (1 - batch["terminations"]) * next_values
        q = q_values(self.critics, observations, batch["actions"])
        critic_loss = mse_loss(q, y[:, None].expand_as(q), reduction="none").mean(2).sum(1)
        self.optimize("critics", critic_loss)

        actions, log_prob, _ = get_action(self.actor, observations, self.noise[1])
        target_entropy = -self.action_size
        self.optimize("temperature", -self.log_temperature.exp() * (log_prob.detach() + target_entropy).mean(1))
        temperature = self.log_temperature.detach().exp()[:, None]
        actor_loss = (temperature * log_prob - q_values(self.critics, observations, actions).amin(1)).mean(1)
        self.optimize("actor", actor_loss)

        with torch.no_grad():
            torch._foreach_lerp_(self.targets, self.critics, self.args.smoothing)
        self.loss_sum += critic_loss.detach()
        self.q_sum += q.detach().mean((1, 2))

    def update(self, indices: torch.Tensor, noise: torch.Tensor) -> None:
        """Train on the transitions `indices` [S, B], with `noise` [2, S, B, A] for the actions at s' and s."""
        self.indices.copy_(indices)
        self.noise.copy_(noise)
        if self.graph is None:
            self.step()
        else:
            self.graph.replay()
        self.updates += 1

    def capture(self) -> torch.cuda.CUDAGraph:
        """Record `step` once as a CUDA graph; what the recording changes is put back."""
        before = {name: tensor.clone() for name, tensor in self.tensors().items()}
        side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            self.step()
        for name, tensor in self.tensors().items():
            tensor.copy_(before[name])
        return graph

    def minibatches(self, generators: list, sizes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw indices [T, S, B] into a buffer that holds `sizes` [T] transitions, and noise [T, 2, S, B, A].

        One generator per seed draws all that belongs to the seed.
        """
        shape = (len(sizes), self.args.batch_size)
        uniforms = np.stack([g.random(shape) for g in generators], axis=1)
        noise = [g.standard_normal((len(sizes), 2, shape[1], self.action_size), dtype=np.float32) for g in generators]
        indices = (uniforms * sizes[:, None, None]).astype(np.int64)
        return torch.from_numpy(indices).to(self.device), torch.from_numpy(np.stack(noise, axis=2)).to(self.device)


def pretrain(agents: Agents, block: int) -> None:
    """Take up to `iteration_steps` gradient steps on the buffer as it is (Algorithm 1, offline phase)."""
    args = agents.args
    steps = min(args.iteration_steps, args.pretrain_steps - block * args.iteration_steps)
    generators = [stream(seed, PRETRAINING, 0, block) for seed in agents.seeds]
    for indices, noise in zip(*agents.minibatches(generators, np.full(steps, len(agents.buffer))), strict=True):
        agents.update(indices, noise)


def train_iteration(agents: Agents, training_envs: list[gymnasium.Env], repeat: int, iteration: int) -> np.ndarray:
    """Take `iteration_steps` exploring steps in each seed's environment, one update a step; return mean returns [S].

    The iteration starts with a reset and cuts its last episode off, as the authors' library does. The cut is a
    truncation: its value is bootstrapped (their library leaves such a last transition out). Its return counts as an
    episode's.
    """
    args, buffer, steps = agents.args, agents.buffer, agents.args.iteration_steps
    generators = [stream(seed, TRAINING, repeat, iteration) for seed in agents.seeds]
    observations = np.stack(
        [env.reset(seed=int(g.integers(2**31)))[0] for env, g in zip(training_envs, generators, strict=True)]
    )
    zero = np.stack([g.random(steps) < args.epsilon for g in generators])
    exploration = np.stack([g.standard_normal((steps, agents.action_size)) for g in generators])
    sizes = np.minimum(buffer.added + 1 + np.arange(steps), buffer.capacity)
    indices, noise = agents.minibatches(generators, sizes)
    total_reward, episodes = np.zeros(len(training_envs)), np.ones(len(training_envs))
    for t in range(steps):
        # ALGO LOGIC: put action logic here
        if args.exploration == "sample":
            actions = agents.act(observations[:, None], exploration[:, t, None])[:, 0]
        else:
            actions = np.where(zero[:, t, None], 0, agents.act(observations[:, None])[:, 0])
        played = (actions * agents.action_scale).astype(np.float32)
        results = [env.step(action) for env, action in zip(training_envs, played, strict=True)]
        columns = list(zip(*results, strict=True))[:4]
        next_observations, rewards, terminations, truncations = (np.array(column) for column in columns)
        buffer.add(observations, actions, rewards, next_observations, terminations)
        total_reward += rewards
        observations = next_observations.copy()
        for i in np.flatnonzero(terminations | truncations):
            observations[i] = training_envs[i].reset()[0]
            episodes[i] += t + 1 < steps
        # ALGO LOGIC: training
        if len(buffer) > args.batch_size:
            agents.update(indices[t], noise[t])
    return total_reward / episodes


def evaluate(agents: Agents, eval_envs: list[list], repeat: int, iteration: int) -> tuple[np.ndarray, np.ndarray]:
    """Play greedy episodes in `eval_envs` [S][E]; return mean return [S] and mean length [S]."""
    shape = (len(eval_envs), len(eval_envs[0]))
    reset_seeds = [stream(seed, EVALUATION, repeat, iteration).integers(2**31, size=shape[1]) for seed in agents.seeds]
    observations = np.stack(
        [
            [env.reset(seed=int(seed))[0] for env, seed in zip(row, seeds, strict=True)]
            for row, seeds in zip(eval_envs, reset_seeds, strict=True)
        ]
    )
    returns, lengths = np.zeros(shape), np.zeros(shape)
    playing = list(np.ndindex(shape))
    while playing:
        actions = agents.act(observations) * agents.action_scale
        finished = []
        for i, j in playing:
            observations[i, j], reward, terminated, truncated, _ = eval_envs[i][j].step(
                actions[i, j].astype(np.float32)
            )
            returns[i, j] += reward
            lengths[i, j] += 1
            if terminated or truncated:
                finished.append((i, j))
        playing = [place for place in playing if place not in finished] if finished else playing
    return returns.mean(1), lengths.mean(1)


def schedule(args: Args) -> list[tuple[str, int, int]]:
    """Return the run as blocks (kind, repeat, number): the lines of Algorithm 1, and of its baselines.

    `offline` fills the buffer with the offline episodes, `pretrain` is some gradient steps, `online` an iteration, and
    `unrecorded` one that a repeat trains for after those.
    """
    blocks = []
    pretraining = [("pretrain", 0, block) for block in range(-(-args.pretrain_steps // args.iteration_steps))]
    for repeat in range(args.carry_over):
        online = [("online", repeat, iteration) for iteration in range(args.iterations)]
        last = args.iterations if repeat == args.carry_over - 1 else args.repeat_iterations or args.iterations
        unrecorded = [("unrecorded", repeat, iteration) for iteration in range(args.iterations, last)]
        if args.arm == "online":
            blocks += online + unrecorded
            continue
        first_phase = online[: args.tau] if args.arm == "pretrain-on-policy" else [("offline", repeat, 0)]
        is_pretrained = repeat == 0 and args.arm != "mix"
        blocks += first_phase + pretraining * is_pretrained + online[args.tau :] + unrecorded
    return blocks


def main() -> None:
    """Run the blocks that no checkpoint holds yet; write the CSV and its .json."""
    args = resolve(tyro.cli(Args))
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # to which Adam's moments decay where a unit is dead; computing with them is slow
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    all_episodes = load_dataset(args.dataset, args.env) if args.dataset else []
    episodes = all_episodes[: args.tau]
    if args.dataset and len(episodes) < args.tau:
        raise UsageError(f"--tau {args.tau}: dataset {args.dataset} holds only {len(episodes)} episodes.")
    meta = read_meta(args.dataset) if args.dataset else {}
    if args.arm == "pretrain-random" and meta.get("policy", "random") != "random":
        raise UsageError(f"Arm 'pretrain-random': {args.dataset} is the play of {meta['policy']}, not random.")
    run = Run(args, dataset_sha256=episodes_sha256(meta))

    # env setup
    training_envs = [envs.make(args.env) for _ in range(args.seeds)]
    eval_envs = [[envs.make(args.env) for _ in range(args.eval_episodes)] for _ in range(args.seeds)]
    agents = Agents(args, training_envs[0], device)
    if counters := run.load():
        agents.updates, agents.buffer.added = counters["updates"], counters["added"]
        run.restore(agents.tensors())

    blocks = schedule(args)
    bar = tqdm(blocks, initial=run.finished_blocks, disable=not args.progress, desc=f"{args.env} {args.arm}")
    for kind, repeat, number in blocks[run.finished_blocks :]:
        if kind == "offline":
            agents.buffer.added = 0
            for observation, action, *rest in transitions(episodes, args.shifted, args.cutoff_as_terminal):
                transition = (observation, action / agents.action_scale, *rest)
                agents.buffer.add(*(np.stack([value] * args.seeds) for value in transition))
            run.set_warm_up(repeat, episodes, mean_over=all_episodes if args.warm_up_mean == "dataset" else episodes)
        elif kind == "pretrain":
            pretrain(agents, number)
        elif kind == "unrecorded":
            train_iteration(agents, training_envs, repeat, number)
        else:
            if (args.discard_offline and number == args.tau) or number == 0:  # 0: a repeat without offline episodes
                agents.buffer.added = 0
            agents.loss_sum.zero_()
            agents.q_sum.zero_()
            updates_before = agents.updates
            train_return = train_iteration(agents, training_envs, repeat, number)
            eval_return, eval_length = evaluate(agents, eval_envs, repeat, number)
            updates = (agents.updates - updates_before) or np.nan
            means = (agents.loss_sum.cpu().numpy() / updates, agents.q_sum.cpu().numpy() / updates)
            online_iterations = number + 1 - len(episodes)  # without offline episodes: all so far
            env_steps = sum(len(episode) for episode in episodes) + online_iterations * args.iteration_steps
            run.set_row(repeat, number, env_steps, train_return, eval_return, eval_length, *means)
            bar.set_postfix(eval_return=f"{eval_return.mean():.1f}", refresh=False)
        run.save(agents.tensors(), updates=agents.updates, added=agents.buffer.added)
        bar.update()
    bar.close()
    run.write("sac", device, agents.policy())


if __name__ == "__main__":
    run_command_line(main)
