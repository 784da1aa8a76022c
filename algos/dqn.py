"""Double DQN, all seeds at once, trained online with or without a warm start from an LLM's episodes.

Paper: "Improving the Data-efficiency of RL by Warm-starting with LLM" (LORO, arXiv 2505.10861), Algorithm 1.
Double DQN: van Hasselt et al. 2016 (arXiv 1509.06461). Usage, details and scores: README.md.

    python -m algos.dqn --env cartpole --arm online --output rerun/results/runs/paper/cartpole/online.csv

The seed is a batch dimension: weights are [S, in, out], the replay buffer is [S, capacity, ...]. Nothing is shared
between seeds but the offline episodes: every random number of seed i comes from a generator keyed by (i, purpose,
repeat, block), the loss is a sum over seeds and Adam is element-wise, so seed i of a batch is seed i alone, up to
floating-point rounding.
"""

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

import envs
from envs.datasets import episodes_sha256, load_dataset, read_meta, transitions
from envs.errors import UsageError, run_command_line
from envs.records import Run, check_ranges, keep_freed_memory


@dataclass
class Args:
    """Train Double DQN agents, several seeds side by side, on one environment by one arm of the experiment."""

    output: Path
    """the CSV to write; beside it go every argument (.json), the final policy, and a checkpoint while it runs"""
    env: str = "cartpole"
    """cartpole, frozen-lake, cliff-walking, mountain-car, represented-pong, or one of your own (envs/); pendulum is for
    algos.sac"""
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
    learning_rate: float = 5e-5
    """the learning rate of Adam"""
    batch_size: int = 256
    """transitions per update, drawn with replacement; online, updates start once the buffer holds more"""
    buffer_size: int = 100_000
    """capacity of the replay buffer, first in first out"""
    gamma: float = 0.99
    """the discount factor"""
    epsilon: float = 0.1
    """probability of a random action, constant"""
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
    target_update_interval: int | None = None
    """updates between two copies to the target network online (paper 1000; released 200 for loro, else 1000)"""
    offline_target_update_interval: int | None = None
    """the same while pretraining (paper 200; released 200 for loro, else 1000)"""
    eval_episodes: int | None = None
    """greedy episodes per evaluation (paper 10, or 1 where nothing is random; released 1)"""
    eval_horizon: int | None = None
    """steps of an evaluation episode, 0 for no limit (released represented-pong: a whole game)"""
    double_step: bool | None = None
    """represented-pong: play each action twice and lose the first reward (paper no, released yes)"""


MIX_HAD_DATA = {"frozen-lake": (10, 20, 30), "cartpole": (30,), "represented-pong": (30,)}
"""Where the authors' mix had the LLM's episodes, by tau; elsewhere it could not load or convert them, and began with an
empty buffer: online RL (results/audit.md, finding 13)."""


def resolve(args: Args) -> Args:
    """Check `args` and fill in what the protocol decides.

    The authors also evaluate on the training environment. Every iteration starts with a reset, so that this changes
    nothing but the random stream, and has no flag here.
    """
    environment = envs.get(args.env)
    if environment.learner != "dqn":
        raise UsageError(f"Environment '{args.env}' has continuous actions: use algos.{environment.learner}.")
    released, pong = args.protocol == "released", args.env == "represented-pong"
    mix_had_data = args.tau in MIX_HAD_DATA.get(args.env, ())
    protocol = {
        "iterations": environment.iterations,
        "carry_over": 5 if released and args.arm == "loro" else 1,
        "shifted": released,
        "cutoff_as_terminal": released,
        "discard_offline": released and (args.arm == "loro" or (args.arm == "mix" and not mix_had_data)),
        "warm_up_mean": "dataset" if released else "used",
        "target_update_interval": 200 if released and args.arm == "loro" else 1000,
        "offline_target_update_interval": 1000 if released and args.arm != "loro" else 200,
        "eval_episodes": 1 if environment.deterministic or released else 10,
        "eval_horizon": 0 if released and pong else environment.horizon,
        "double_step": released and pong,
    }
    for name, value in protocol.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_ranges(args)
    if (args.arm in ("loro", "mix", "pretrain-random")) != (args.dataset is not None):
        raise UsageError(f"Arm '{args.arm}': --dataset is for the arms loro, mix and pretrain-random, which need it.")
    if args.arm != "online" and args.iterations <= args.tau:
        raise UsageError(f"--iterations {args.iterations} must exceed --tau {args.tau}, which it includes.")
    if args.discard_offline and args.arm not in ("loro", "mix"):
        raise UsageError("--discard-offline is for the arms loro and mix: the others keep what they pretrained on.")
    if args.double_step and not pong:
        raise UsageError("--double-step exists for represented-pong only.")
    if args.eval_horizon == 0 and not pong:
        raise UsageError("--eval-horizon 0 exists for represented-pong only: elsewhere an episode may never end.")
    if args.repeat_iterations is not None and (args.carry_over == 1 or args.repeat_iterations < args.iterations):
        raise UsageError("--repeat-iterations must be at least --iterations, and is for --carry-over of 2 or more.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no CUDA device here; use --device cpu or auto.")
    return args


INITIAL_WEIGHTS, PRETRAINING, TRAINING, EVALUATION = range(4)


def stream(seed: int, purpose: int, repeat: int = 0, block: int = 0) -> np.random.Generator:
    """Return the random generator of one seed for one purpose: nothing needs saving to resume it."""
    return np.random.default_rng([seed, purpose, repeat, block])


# ALGO LOGIC: initialize agent here
def initial_weights(seeds: range, sizes: list[int], device: torch.device) -> list[torch.Tensor]:
    """Return [w1, b1, w2, b2, w3, b3] uniform in +-1/sqrt(in) (torch's default), b [S, 1, out] and w [S, in, out].

    Only w3 is stored as [S, out, in]: products with a handful of columns are five times slower on the CPU.
    """
    generators = [stream(seed, INITIAL_WEIGHTS) for seed in seeds]
    weights = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = inputs**-0.5
        for shape in ((inputs, outputs) if layer < 2 else (outputs, inputs), (1, outputs)):
            drawn = np.stack([generator.uniform(-bound, bound, shape) for generator in generators])
            weights.append(torch.tensor(drawn, dtype=torch.float32, device=device))
    return weights


def q_values(weights: list[torch.Tensor], observations: torch.Tensor | None) -> torch.Tensor:
    """Return Q [S, B, actions] for observations [S, B, size], or for all B one-hot states when there are none.

    The one-hot states are the rows of the identity, and the identity times w1 is w1.
    """
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.relu_(w1 + b1 if observations is None else torch.baddbmm(b1, observations, w1))
    x = torch.relu_(torch.baddbmm(b2, x, w2))
    return torch.bmm(x, w3.mT) + b3


class ReplayBuffer:
    """Transitions of all seeds, [S, capacity, ...], first in first out. A reset never enters as a transition."""

    def __init__(self, seeds: int, capacity: int, observation_shape: tuple[int, ...], device: torch.device) -> None:
        kind = torch.float32 if observation_shape else torch.int64
        observations = torch.zeros((seeds, capacity, *observation_shape), dtype=kind, device=device)
        self.fields = {
            "observations": observations,
            "actions": torch.zeros((seeds, capacity), dtype=torch.int64, device=device),
            "rewards": torch.zeros((seeds, capacity), device=device),
            "next_observations": torch.zeros_like(observations),
            # 1 where the episode ended; 0 at a truncation, where the next observation's value still counts
            "terminations": torch.zeros((seeds, capacity), device=device),
        }
        self.capacity, self.added = capacity, 0

    def __len__(self) -> int:
        """Return how many transitions each seed holds."""
        return min(self.added, self.capacity)

    def add(self, *transition: Any) -> int:
        """Add one transition per seed: observation, action, reward, next observation, termination, each [S, ...].

        Returns its position in the buffer.
        """
        position = self.added % self.capacity
        for field, value in zip(self.fields.values(), transition, strict=True):
            field[:, position] = torch.as_tensor(value).to(field)
        self.added += 1
        return position

    def sample(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the transitions `indices` [S, B] of each seed."""
        rows = torch.arange(len(indices), device=indices.device)[:, None]
        return {name: field[rows, indices] for name, field in self.fields.items()}


class Agents:
    """The S learners: online and target network, optimizer, replay buffer, and the update."""

    def __init__(self, args: Args, env: gymnasium.Env, device: torch.device) -> None:
        self.args, self.device = args, device
        self.seeds = range(args.first_seed, args.first_seed + args.seeds)
        self.tabular = isinstance(env.observation_space, gymnasium.spaces.Discrete)
        inputs = int(env.observation_space.n) if self.tabular else env.observation_space.shape[0]
        sizes = [inputs, args.hidden_size, args.hidden_size, int(env.action_space.n)]
        self.online = [w.requires_grad_() for w in initial_weights(self.seeds, sizes, device)]
        self.target = [w.detach().clone() for w in self.online]
        on_gpu = device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.online, lr=args.learning_rate, fused=True, capturable=on_gpu)
        for weight in self.online:  # what Adam would create at its first step: a checkpoint is copied into it
            moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            self.optimizer.state[weight] = {"step": torch.zeros((), device=device), **moments}
        self.buffer = ReplayBuffer(args.seeds, args.buffer_size, env.observation_space.shape, device)
        # Between two copies the target network's values stay the same and are kept: of all states where these are
        # one-hot, [S, states, actions], else of every next observation in the buffer, [S, capacity, actions].
        rows = inputs if self.tabular else args.buffer_size
        self.target_values = torch.zeros((args.seeds, rows, sizes[-1]), device=device)
        self.update_target()
        self.indices = torch.zeros((args.seeds, args.batch_size), dtype=torch.int64, device=device)
        self.loss_sum, self.q_sum = torch.zeros((2, args.seeds), device=device)
        self.updates = 0
        self.graph = self.capture() if on_gpu else None

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name everything that training changes; of the buffer, the filled part."""
        filled = self.target_values if self.tabular else self.target_values[:, : len(self.buffer)]
        named = {"loss_sum": self.loss_sum, "q_sum": self.q_sum, "target_values": filled}
        for i, weight in enumerate(self.online):
            named |= {f"online.{i}": weight.detach(), f"target.{i}": self.target[i]}
            named |= {f"adam.{i}.{key}": value for key, value in self.optimizer.state[weight].items()}
        return named | {f"buffer.{name}": field[:, : len(self.buffer)] for name, field in self.buffer.fields.items()}

    def policy(self) -> dict[str, torch.Tensor]:
        """Name the weights of the networks that act."""
        return dict(zip(("w1", "b1", "w2", "b2", "w3", "b3"), self.online, strict=True))

    @torch.no_grad()
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return the greedy actions [S, B] for observations [S, B, ...]."""
        if not self.tabular:
            x = torch.from_numpy(observations).to(self.device)
            return q_values(self.online, x).argmax(2).cpu().numpy()
        rows = np.arange(len(observations))[:, None]
        w1, *rest = self.online
        x = w1[rows, observations]  # the first layer of just these states
        return q_values([x, *rest], None).argmax(2).cpu().numpy()

    @torch.no_grad()
    def update_target(self) -> None:
        """Copy the online to the target network."""
        torch._foreach_copy_(self.target, self.online)
        if self.tabular:
            self.target_values.copy_(q_values(self.target, None))
        for first in range(0, 0 if self.tabular else len(self.buffer), 1024):
            self.keep_target_values(first, min(first + 1024, len(self.buffer)))

    @torch.no_grad()
    def keep_target_values(self, first: int, last: int) -> None:
        """Keep the target network's values of the next observations `first` to `last` in the buffer."""
        next_observations = self.buffer.fields["next_observations"][:, first:last]
        self.target_values[:, first:last] = q_values(self.target, next_observations)

    def add(self, *transition: Any) -> None:
        """Add one transition per seed to the buffer."""
        position = self.buffer.add(*transition)
        if not self.tabular:
            self.keep_target_values(position, position + 1)

    def loss(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the Huber loss [S] and the mean Q [S] on the minibatch `self.indices`.

        Double DQN: y = r + gamma (1 - terminated) Q_target(s', argmax_a Q_online(s', a)).
        """
        batch = self.buffer.sample(self.indices)
        observations, next_observations = batch["observations"], batch["next_observations"]
        if self.tabular:  # the same numbers from one evaluation per distinct state instead of one per minibatch row
            q = q_values(self.online, None)
            chosen = q.flatten(1).gather(1, observations * q.shape[2] + batch["actions"])
            values = self.target_values.gather(2, q.argmax(2, keepdim=True)).squeeze(2)
            next_values = values.gather(1, next_observations)
        else:
            chosen = q_values(self.online, observations).gather(2, batch["actions"][..., None]).squeeze(2)
            with torch.no_grad():
                greedy = q_values(self.online, next_observations).argmax(2, keepdim=True)
                kept = self.target_values.take_along_dim(self.indices[..., None], dim=1)
                next_values = kept.gather(2, greedy).squeeze(2)
        y = batch["rewards"] + self.args.gamma * (1 - batch["terminations"]) * next_values
        return huber_loss(chosen, y, reduction="none").mean(1), chosen.detach().mean(1)

    def step(self) -> None:
        """Take one gradient step with every seed on the minibatch `self.indices`."""
        loss, q_mean = self.loss()
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()
        self.q_sum += q_mean

    def update(self, indices: torch.Tensor, target_update_interval: int) -> None:
        """Train on the transitions `indices` [S, B]; copy the online to the target network when it is time."""
        self.indices.copy_(indices)
        if self.graph is None:
            self.step()
        else:
            self.graph.replay()
        self.updates += 1
        if self.updates % target_update_interval == 0:
            self.update_target()

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

    def minibatches(self, uniforms: np.ndarray, sizes: np.ndarray) -> torch.Tensor:
        """Turn uniform numbers [S, T, B] into indices [T, S, B] into a buffer that holds `sizes` [T] transitions."""
        indices = (uniforms * sizes[:, None]).astype(np.int64).swapaxes(0, 1)
        return torch.from_numpy(np.ascontiguousarray(indices)).to(self.device)


def pretrain(agents: Agents, block: int) -> None:
    """Take up to `iteration_steps` gradient steps on the buffer as it is (Algorithm 1, offline phase)."""
    args = agents.args
    steps = min(args.iteration_steps, args.pretrain_steps - block * args.iteration_steps)
    uniforms = [stream(seed, PRETRAINING, 0, block).random((steps, args.batch_size)) for seed in agents.seeds]
    for indices in agents.minibatches(np.stack(uniforms), np.full(steps, len(agents.buffer))):
        agents.update(indices, args.offline_target_update_interval)


def train_iteration(agents: Agents, training_envs: list[gymnasium.Env], repeat: int, iteration: int) -> np.ndarray:
    """Take `iteration_steps` epsilon-greedy steps in each environment, one update a step; return mean returns [S].

    The iteration starts with a reset and cuts its last episode off, as the authors' library does. The cut is a
    truncation: its value is bootstrapped (their library leaves such a last transition out). Its return counts as an
    episode's.
    """
    args, buffer, steps = agents.args, agents.buffer, agents.args.iteration_steps
    generators = [stream(seed, TRAINING, repeat, iteration) for seed in agents.seeds]
    observations = np.stack(
        [env.reset(seed=int(g.integers(2**31)))[0] for env, g in zip(training_envs, generators, strict=True)]
    )
    explore = np.stack([g.random(steps) < args.epsilon for g in generators])
    random_actions = np.stack([g.integers(training_envs[0].action_space.n, size=steps) for g in generators])
    uniforms = np.stack([g.random((steps, args.batch_size)) for g in generators])
    indices = agents.minibatches(uniforms, np.minimum(buffer.added + 1 + np.arange(steps), buffer.capacity))
    total_reward, episodes = np.zeros(len(training_envs)), np.ones(len(training_envs))
    for t in range(steps):
        # ALGO LOGIC: put action logic here
        greedy_actions = agents.act(observations[:, None])[:, 0]
        actions = np.where(explore[:, t], random_actions[:, t], greedy_actions)
        results = [env.step(int(action)) for env, action in zip(training_envs, actions, strict=True)]
        next_observations, rewards, terminations, truncations = (
            np.array(x) for x in list(zip(*results, strict=True))[:4]
        )
        agents.add(observations, actions, rewards, next_observations, terminations)
        total_reward += rewards
        observations = next_observations.copy()
        for i in np.flatnonzero(terminations | truncations):
            observations[i] = training_envs[i].reset()[0]
            episodes[i] += t + 1 < steps
        # ALGO LOGIC: training
        if len(buffer) > args.batch_size:
            agents.update(indices[t], args.target_update_interval)
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
        actions = agents.act(observations)
        finished = []
        for i, j in playing:
            observations[i, j], reward, terminated, truncated, _ = eval_envs[i][j].step(int(actions[i, j]))
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
    options = {"double_step": True} if args.double_step else {}
    training_envs = [envs.make(args.env, **options) for _ in range(args.seeds)]
    eval_envs = [
        [envs.make(args.env, args.eval_horizon, **options) for _ in range(args.eval_episodes)]
        for _ in range(args.seeds)
    ]
    agents = Agents(args, training_envs[0], device)
    if counters := run.load():
        agents.updates, agents.buffer.added = counters["updates"], counters["added"]
        run.restore(agents.tensors())

    blocks = schedule(args)
    bar = tqdm(blocks, initial=run.finished_blocks, disable=not args.progress, desc=f"{args.env} {args.arm}")
    for kind, repeat, number in blocks[run.finished_blocks :]:
        if kind == "offline":
            agents.buffer.added = 0
            for transition in transitions(episodes, args.shifted, args.cutoff_as_terminal):
                agents.add(*(np.stack([value] * args.seeds) for value in transition))
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
    run.write("double-dqn", device, agents.policy())


if __name__ == "__main__":
    run_command_line(main)
