"""PPO, all seeds at once, from scratch or with an actor that first imitates an LLM's episodes.

PPO: Schulman et al. 2017 (arXiv 1707.06347), with the details of Huang et al. 2022, "The 37 Implementation Details of
Proximal Policy Optimization", as CleanRL has them. A baseline for LORO (arXiv 2505.10861): the arm `ppo-bc` uses the
same episodes by behaviour cloning.

    python -m algos.ppo --env cartpole --arm ppo --output rerun/results/runs/paper/cartpole/ppo.csv

The seed is a batch dimension: weights are [S, in, out], rollouts are [S, steps, environments, ...]. Nothing is shared
between seeds: every random number of seed i comes from a generator keyed by (i, purpose, repeat, block), the loss is a
sum over seeds, gradients are clipped and advantages normalised seed by seed, and Adam is element-wise, so seed i of a
batch is seed i alone, up to floating-point rounding.

An iteration is `iteration_steps` environment steps, then an evaluation of the policy as the last update left it. An
update is made whenever a rollout is full, in the middle of an iteration or not; episodes go on across both. The
checkpoint after each iteration holds the rollout so far and the actions of each episode under way: replayed, they bring
its environment back to where it was.
"""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch
import tyro
from tqdm import tqdm

import envs
from envs.datasets import Episode, episodes_sha256, load_dataset, read_meta
from envs.errors import UsageError, run_command_line
from envs.records import Run, check_ranges, keep_freed_memory


@dataclass
class Args:
    """PPO on one environment, from scratch or after behaviour cloning, many seeds."""

    output: Path
    """the CSV to write; beside it go every argument (.json), the final policy, and a checkpoint while it runs"""
    env: str = "cartpole"
    """cartpole, frozen-lake, cliff-walking, mountain-car, pendulum, represented-pong, or one of your own (envs/)"""
    arm: Literal["ppo", "ppo-bc"] = "ppo"
    """ppo: from scratch. ppo-bc: clone the behaviour of the dataset's first tau episodes, then go on with PPO"""
    dataset: Path | None = None
    """the folder of recorded episodes for the arm ppo-bc"""
    protocol: Literal["paper"] = "paper"
    """evaluation and warm-up rows as in the paper protocol of the other learners; the authors' code has no PPO"""
    carry_over: Literal[1] = 1
    """repeats that one network is handed through: every seed starts from its own"""
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
    """gradient steps of behaviour cloning (the paper's N)"""
    pretrain_batch_size: int = 256
    """offline transitions per step of behaviour cloning"""
    pretrain_value: bool = True
    """fit the critic too, on the episodes' discounted returns: advantages from an ignorant critic would unlearn what
    was cloned. Nothing is added for what a cut-off episode might still have earned"""
    iterations: int | None = None
    """total iterations, the tau warm-up episodes counted; the environment's number by default"""
    iteration_steps: int = 200
    """environment steps of training in an iteration, over all environments of an agent, before each evaluation"""
    eval_episodes: int | None = None
    """greedy episodes per evaluation (10, or 1 where nothing is random)"""
    horizon: int | None = None
    """steps after which an episode is cut off, in training and evaluation; the environment's by default"""
    normalize: bool = True
    """normalise rewards by the running deviation of the discounted return, which clipping the value loss presumes, and
    observations that are not one-hot by their running moments; both are clipped to +-10. CleanRL does both for
    continuous actions only; without, no agent reaches MountainCar's flag"""
    anneal_lr: bool = True
    """let the learning rate fall linearly to zero over the run"""
    gamma: float = 0.99
    """the discount factor"""
    gae_lambda: float = 0.95
    """the lambda of generalised advantage estimation"""
    clip_coef: float = 0.2
    """how far the probability ratio may leave 1, and a value its old one"""
    clip_vloss: bool = True
    """clip the value loss"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients of a seed are scaled down to this norm"""
    hidden_size: int = 64
    """width of the two hidden layers"""

    # By the kind of actions, CleanRL's for either: discrete, continuous
    num_envs: int | None = None
    """environments of each agent, stepped in turn (4, 1)"""
    num_steps: int | None = None
    """steps in each environment between two updates (128, 2048)"""
    num_minibatches: int | None = None
    """minibatches that a rollout is divided into (4, 32)"""
    update_epochs: int | None = None
    """passes over each rollout (4, 10)"""
    learning_rate: float | None = None
    """the learning rate of Adam, at its start (2.5e-4, 3e-4)"""
    ent_coef: float | None = None
    """weight of the entropy bonus (0.01, 0)"""


CHOICES = {  # discrete, continuous
    "num_envs": (4, 1),
    "num_steps": (128, 2048),
    "num_minibatches": (4, 32),
    "update_epochs": (4, 10),
    "learning_rate": (2.5e-4, 3e-4),
    "ent_coef": (0.01, 0.0),
}


def resolve(args: Args) -> Args:
    """Check `args` and fill in what depends on the environment."""
    environment = envs.get(args.env)
    continuous = environment.learner == "sac"
    defaults = {name: values[continuous] for name, values in CHOICES.items()}
    defaults |= {"iterations": environment.iterations, "horizon": environment.horizon}
    defaults["eval_episodes"] = 1 if environment.deterministic else 10
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_ranges(args)
    if (args.arm == "ppo-bc") != (args.dataset is not None):
        raise UsageError(f"Arm '{args.arm}': --dataset is for the arm ppo-bc, which needs it.")
    if args.arm == "ppo-bc" and args.iterations <= args.tau:
        raise UsageError(f"--iterations {args.iterations} must exceed --tau {args.tau}, which it includes.")
    if args.iteration_steps % args.num_envs:
        raise UsageError(f"--iteration-steps {args.iteration_steps} must be a multiple of --num-envs {args.num_envs}.")
    rollout = f"a rollout of --num-envs {args.num_envs} x --num-steps {args.num_steps}"
    minibatch_size, remainder = divmod(args.num_envs * args.num_steps, args.num_minibatches)
    if remainder or minibatch_size < 2:
        raise UsageError(
            f"--num-minibatches {args.num_minibatches}: {rollout} has no such parts of equal size above 1."
        )
    if total_updates(args) == 0:
        raise UsageError(f"--iterations {args.iterations} are too few for {rollout}: nothing would be learnt.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no CUDA device here; use --device cpu or auto.")
    return args


def total_updates(args: Args) -> int:
    """Return how many rollouts the online iterations fill; steps after the last of them are not trained on."""
    online = args.iterations - (args.tau if args.arm == "ppo-bc" else 0)
    return online * args.iteration_steps // (args.num_envs * args.num_steps)


INITIAL_WEIGHTS, PRETRAINING, TRAINING, EVALUATION, EPISODES, MINIBATCHES = range(6)


def stream(seed: int, purpose: int, repeat: int = 0, block: int = 0) -> np.random.Generator:
    """Return the random generator of one seed for one purpose: nothing needs saving to resume it."""
    return np.random.default_rng([seed, purpose, repeat, block])


def update_moments(moments: np.ndarray, batch: np.ndarray) -> None:
    """Take `batch` [S, B, size] into running `moments` [S, 3, size]: mean, variance and count (Chan et al.)."""
    mean, var, count = moments.swapaxes(0, 1)
    new = batch.shape[1]
    total, delta = count + new, batch.mean(1, dtype=np.float64) - mean
    squares = var * count + batch.var(1, dtype=np.float64) * new + delta**2 * count * new / total
    moments[:] = np.stack([mean + delta * new / total, squares / total, total], axis=1)


class Environments:
    """The environments [S][E] of all agents, one by one: no wrapper resets behind our back or hides a last observation.

    Every episode has its own reset seed, so that an environment can be brought back by the actions of its episode.
    """

    def __init__(self, args: Args) -> None:
        self.shape, self.first_seed = (args.seeds, args.num_envs), args.first_seed
        self.envs = [[envs.make(args.env, args.horizon) for _ in range(args.num_envs)] for _ in range(args.seeds)]
        observation_space, action_space = self.envs[0][0].observation_space, self.envs[0][0].action_space
        self.observations = np.zeros((*self.shape, *observation_space.shape), observation_space.dtype)
        self.actions = np.zeros((*self.shape, args.horizon, *action_space.shape), action_space.dtype)
        self.returns, self.discounted = np.zeros((2, *self.shape))  # of the episodes under way
        self.episodes, self.lengths = np.zeros((2, *self.shape), np.int64)

    def reset(self, i: int, j: int) -> np.ndarray:
        """Begin the next episode of one environment."""
        seed = stream(self.first_seed + i, EPISODES, j, int(self.episodes[i, j])).integers(2**31)
        return self.envs[i][j].reset(seed=int(seed))[0]

    def replay(self) -> None:
        """Bring every environment to where the actions of its episode lead: at the very start, to its reset."""
        for i, j in np.ndindex(self.shape):
            self.observations[i, j] = self.reset(i, j)
            for action in self.actions[i, j, : self.lengths[i, j]]:
                self.observations[i, j] = self.envs[i][j].step(playable(action))[0]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Take actions [S, E, ...]; return rewards, next observations, terminations, ends of either kind [S, E, ...].

        The observations that are returned are the ones before a reset, `self.observations` those after it.
        """
        rewards, (terminations, ends) = np.zeros(self.shape), np.zeros((2, *self.shape), bool)
        for i, j in np.ndindex(self.shape):
            self.actions[i, j, self.lengths[i, j]] = actions[i, j]
            self.lengths[i, j] += 1
            result = self.envs[i][j].step(playable(actions[i, j]))
            self.observations[i, j], rewards[i, j], terminations[i, j], truncated, _ = result
            ends[i, j] = terminations[i, j] or truncated
        next_observations = self.observations.copy()
        for i, j in np.argwhere(ends):
            self.episodes[i, j] += 1
            self.lengths[i, j] = 0
            self.observations[i, j] = self.reset(i, j)
        return rewards, next_observations, terminations, ends

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name what `replay` needs, and the returns so far; the tensors share their memory."""
        names = ("actions", "episodes", "lengths", "returns", "discounted")
        return {f"environments.{name}": torch.from_numpy(getattr(self, name)) for name in names}


def playable(action: np.ndarray) -> int | np.ndarray:
    """Return an action as an environment takes it: a discrete one as int."""
    return action if np.ndim(action) else int(action)


# ALGO LOGIC: initialize agent here
def initial_weights(generators: list, sizes: list[int], last_gain: float, device: torch.device) -> list[torch.Tensor]:
    """Return [w1, b1, w2, b2, w3, b3], orthogonal with gains sqrt(2), sqrt(2) and `last_gain`; biases zero.

    b [S, 1, out] and w [S, in, out]; only w3 is stored as [S, out, in]: products with a handful of columns are five
    times slower on the CPU.
    """
    weights = []
    for gain, (inputs, outputs) in zip((2**0.5, 2**0.5, last_gain), pairwise(sizes), strict=True):
        drawn = [orthogonal(generator, inputs, outputs) * gain for generator in generators]
        drawn = [matrix.T for matrix in drawn] if len(weights) == 4 else drawn
        weights.append(torch.tensor(np.stack(drawn), dtype=torch.float32, device=device).requires_grad_())
        weights.append(torch.zeros((len(generators), 1, outputs), device=device, requires_grad=True))
    return weights


def orthogonal(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a uniformly random matrix with orthonormal columns, or rows where there are fewer of them."""
    q, r = np.linalg.qr(generator.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))
    return q if rows >= columns else q.T


def forward(weights: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return the outputs [S, B, out] of S networks for inputs [S, B, in]."""
    w1, b1, w2, b2, w3, b3 = weights
    x = torch.tanh(torch.baddbmm(b1, inputs, w1))
    x = torch.tanh(torch.baddbmm(b2, x, w2))
    return torch.bmm(x, w3.mT) + b3


def gae(deltas: torch.Tensor, ends: torch.Tensor, decay: float) -> torch.Tensor:
    """Return the advantages A_t = delta_t + decay A_t+1 [S, T, E], cut off at the `ends` of episodes.

    delta_t = r_t + gamma V(s_t+1) - V(s_t), decay = gamma lambda (Schulman et al. 2016, arXiv 1506.02438).
    """
    advantages, following = torch.zeros_like(deltas), torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        following = advantages[:, t] = deltas[:, t] + decay * (1 - ends[:, t]) * following
    return advantages


def discounted_sums(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """Return x_t = r_t + gamma x_t-1 [T]; of reversed rewards, and reversed again, the discounted returns."""
    return np.array(list(accumulate(rewards.tolist(), lambda x, reward: reward + gamma * x)))


class Agents:
    """The S learners: actor, critic, optimizer, running moments, the rollout, and the update."""

    def __init__(self, args: Args, env: gymnasium.Env, device: torch.device) -> None:
        self.args, self.device = args, device
        self.seeds = range(args.first_seed, args.first_seed + args.seeds)
        self.tabular = isinstance(env.observation_space, gymnasium.spaces.Discrete)
        self.discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
        self.inputs = int(env.observation_space.n) if self.tabular else env.observation_space.shape[0]
        self.outputs = int(env.action_space.n) if self.discrete else env.action_space.shape[0]
        self.action_bounds = None if self.discrete else (env.action_space.low, env.action_space.high)
        generators, hidden = [stream(seed, INITIAL_WEIGHTS) for seed in self.seeds], [args.hidden_size] * 2
        self.actor = initial_weights(generators, [self.inputs, *hidden, self.outputs], 0.01, device)
        self.critic = initial_weights(generators, [self.inputs, *hidden, 1], 1.0, device)
        self.log_std = torch.zeros((args.seeds, 1, self.outputs), device=device, requires_grad=True)  # in all states
        self.weights = [*self.actor, *self.critic, *([] if self.discrete else [self.log_std])]
        self.optimizer = torch.optim.Adam(self.weights, lr=args.learning_rate, eps=1e-5, fused=True)
        for weight in self.weights:  # what Adam would create at its first step: a checkpoint is copied into it
            moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            self.optimizer.state[weight] = {"step": torch.zeros((), device=device), **moments}
        self.observation_moments = np.tile([[0.0], [1.0], [1e-4]], (args.seeds, 1, self.inputs))
        self.return_moments = np.tile([[0.0], [1.0], [1e-4]], (args.seeds, 1, 1))
        shape = (args.seeds, args.num_steps, args.num_envs)
        observations = torch.zeros((*shape, self.inputs), device=device)
        actions = torch.zeros((*shape, *env.action_space.shape), device=device)
        self.rollout = {
            "observations": observations,
            "actions": actions.long() if self.discrete else actions,
            "rewards": torch.zeros(shape, device=device),
            "next_observations": torch.zeros_like(observations),  # the last of an episode, never a reset
            # 1 where the episode ended; at a truncation the next observation's value still counts
            "terminations": torch.zeros(shape, device=device),
            "ends": torch.zeros(shape, device=device),  # of either kind
        }
        self.filled, self.updates, self.gradient_steps = 0, 0, 0
        self.loss_sum, self.value_sum = torch.zeros((2, args.seeds), device=device)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name everything that training changes; of the rollout, the filled part."""
        names = ("observation_moments", "return_moments")
        named = {name: torch.from_numpy(getattr(self, name)) for name in names}  # they share the arrays' memory
        for i, weight in enumerate(self.weights):
            named[f"weights.{i}"] = weight.detach()
            named |= {f"adam.{i}.{key}": value for key, value in self.optimizer.state[weight].items()}
        return named | {f"rollout.{name}": field[:, : self.filled] for name, field in self.rollout.items()}

    def policy(self) -> dict[str, torch.Tensor]:
        """Name the weights of the networks that act, and the moments that normalise what they see."""
        names = ("w1", "b1", "w2", "b2", "w3", "b3")
        moments = {"observation_moments": torch.from_numpy(self.observation_moments)}
        return dict(zip(names, self.actor, strict=True)) | moments

    def encode(self, observations: np.ndarray) -> torch.Tensor:
        """Return observations [S, B, ...] as the networks' inputs [S, B, size]: one-hot, or normalised."""
        if self.tabular:
            return torch.from_numpy(np.eye(self.inputs, dtype=np.float32)[observations]).to(self.device)
        if self.args.normalize:
            mean, var, _ = self.observation_moments[:, :, None].swapaxes(0, 1)
            observations = ((observations - mean) / np.sqrt(var + 1e-8)).clip(-10, 10)
        return torch.from_numpy(observations.astype(np.float32)).to(self.device)

    def scale(self, rewards: np.ndarray, bound: float = 10) -> np.ndarray:
        """Divide rewards [S, B] by the deviation of the discounted return seen so far, and clip them to +-`bound`."""
        if not self.args.normalize:
            return rewards
        return (rewards / np.sqrt(self.return_moments[:, 1] + 1e-8)).clip(-bound, bound)

    def log_prob(self, inputs: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of actions [S, B, ...] and the policy's entropy, both [S, B]."""
        outputs = forward(self.actor, inputs)
        if self.discrete:
            log_probs = outputs.log_softmax(2)
            return log_probs.gather(2, actions[..., None]).squeeze(2), -(log_probs.exp() * log_probs).sum(2)
        z, half_log_2pi = (actions - outputs) / self.log_std.exp(), 0.5 * math.log(2 * math.pi)
        entropy = (self.log_std + 0.5 + half_log_2pi).sum(2).expand(z.shape[:2])
        return (-0.5 * z**2 - self.log_std - half_log_2pi).sum(2), entropy

    @torch.no_grad()
    def act(self, inputs: torch.Tensor, noise: np.ndarray | None = None) -> torch.Tensor:
        """Return actions [S, B, ...]: a sample, given Gumbel or normal noise [S, B, outputs], or else the mode."""
        outputs = forward(self.actor, inputs)
        if noise is not None:
            outputs += torch.from_numpy(noise).to(outputs) * (1 if self.discrete else self.log_std.exp())
        return outputs.argmax(2) if self.discrete else outputs

    def played(self, actions: torch.Tensor) -> np.ndarray:
        """Return actions as the environments take them, continuous ones clipped to their bounds."""
        actions = actions.cpu().numpy()
        return actions if self.discrete else actions.clip(*self.action_bounds)

    def add(self, *step: np.ndarray | torch.Tensor) -> None:
        """Append one step of every environment, each field [S, E, ...], to the rollout."""
        for field, value in zip(self.rollout.values(), step, strict=True):
            field[:, self.filled] = torch.as_tensor(value).to(field)
        self.filled += 1

    def optimize(self, loss: torch.Tensor, learning_rate: float) -> None:
        """Take one Adam step on `loss` [S], each seed's gradient clipped to its own norm."""
        self.optimizer.zero_grad()
        loss.sum().backward()
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        scales = (self.args.max_grad_norm / (norms + 1e-6)).clamp(max=1)
        torch._foreach_mul_(gradients, [scales[:, None, None]] * len(gradients))
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return PPO's loss [S] and the mean value [S] on a minibatch [S, B, ...]."""
        args, advantages = self.args, batch["advantages"]
        log_probs, entropy = self.log_prob(batch["observations"], batch["actions"])
        values = forward(self.critic, batch["observations"]).squeeze(2)
        advantages = (advantages - advantages.mean(1, keepdim=True)) / (advantages.std(1, keepdim=True) + 1e-8)
        ratio = (log_probs - batch["log_probs"]).exp()
        clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
        policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean(1)
        errors = (values - batch["returns"]) ** 2
        if args.clip_vloss:
            near = batch["values"] + (values - batch["values"]).clamp(-args.clip_coef, args.clip_coef)
            errors = torch.max(errors, (near - batch["returns"]) ** 2)
        loss = policy_loss - args.ent_coef * entropy.mean(1) + args.vf_coef * 0.5 * errors.mean(1)
        return loss, values.detach().mean(1)

    def update(self) -> None:
        """Train on the full rollout and empty it."""
        args, data = self.args, {name: field.flatten(1, 2) for name, field in self.rollout.items()}
        with torch.no_grad():  # the policy and the critic are still those that the rollout was made with
            data["log_probs"], _ = self.log_prob(data["observations"], data["actions"])
            data["values"] = forward(self.critic, data["observations"]).squeeze(2)
            next_values = forward(self.critic, data["next_observations"]).squeeze(2) * (1 - data["terminations"])
            deltas = data["rewards"] + args.gamma * next_values - data["values"]
            ends = self.rollout["ends"]
            data["advantages"] = gae(deltas.view_as(ends), ends, args.gamma * args.gae_lambda).flatten(1, 2)
            data["returns"] = data["advantages"] + data["values"]
        generators = [stream(seed, MINIBATCHES, 0, self.updates) for seed in self.seeds]
        learning_rate = args.learning_rate * (1 - args.anneal_lr * self.updates / total_updates(args))
        for _ in range(args.update_epochs):
            order = np.stack([generator.permutation(args.num_steps * args.num_envs) for generator in generators])
            for indices in torch.from_numpy(order).to(self.device).chunk(args.num_minibatches, dim=1):
                loss, value_mean = self.loss(rows(data, indices))
                self.optimize(loss, learning_rate)
                self.loss_sum += loss.detach()
                self.value_sum += value_mean
                self.gradient_steps += 1
        self.updates += 1
        self.filled = 0

    def see(self, episodes: list[Episode]) -> None:
        """Start the running moments with offline episodes."""
        sums = np.concatenate([discounted_sums(e.rewards, self.args.gamma) for e in episodes])
        update_moments(self.return_moments, np.stack([sums[:, None]] * len(self.seeds)))
        if not self.tabular:
            observations = np.concatenate([e.observations[:-1] for e in episodes])
            update_moments(self.observation_moments, np.stack([observations] * len(self.seeds)))

    def restart_optimizer(self) -> None:
        """Forget Adam's moments: those of behaviour cloning would hold PPO's steps back for thousands of steps."""
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()


def rows(data: dict[str, torch.Tensor], indices: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the rows `indices` [S, B] of each seed of every field [S, N, ...]."""
    seeds = torch.arange(len(indices), device=indices.device)[:, None]
    return {name: field[seeds, indices] for name, field in data.items()}


def pretrain(agents: Agents, episodes: list[Episode], block: int) -> None:
    """Take up to `iteration_steps` steps of behaviour cloning: the actions' likelihood, and the values' error."""
    args = agents.args
    steps = min(args.iteration_steps, args.pretrain_steps - block * args.iteration_steps)
    observations = np.concatenate([episode.observations[:-1] for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    returns = np.concatenate([discounted_sums(episode.rewards[::-1], args.gamma)[::-1] for episode in episodes])
    returns = agents.scale(np.stack([returns] * args.seeds), bound=np.inf)
    data = {
        "observations": agents.encode(np.stack([observations] * args.seeds)),
        "actions": torch.from_numpy(np.stack([actions] * args.seeds)).to(agents.rollout["actions"]),
        "returns": torch.from_numpy(returns.astype(np.float32)).to(agents.device),
    }
    shape = (steps, args.pretrain_batch_size)
    drawn = np.stack([stream(s, PRETRAINING, 0, block).integers(len(actions), size=shape) for s in agents.seeds], 1)
    for indices in torch.from_numpy(drawn).to(agents.device):
        batch = rows(data, indices)
        loss = -agents.log_prob(batch["observations"], batch["actions"])[0].mean(1)
        if args.pretrain_value:
            values = forward(agents.critic, batch["observations"]).squeeze(2)
            loss = loss + args.vf_coef * 0.5 * ((values - batch["returns"]) ** 2).mean(1)
        agents.optimize(loss, args.learning_rate)


def train_iteration(agents: Agents, environments: Environments, iteration: int) -> np.ndarray:
    """Take `iteration_steps` steps with each agent, shared out over its environments; return the mean return [S].

    It is the mean over the episodes that ended in this iteration, NaN where none did.
    """
    args, steps = agents.args, agents.args.iteration_steps // agents.args.num_envs
    generators = [stream(seed, TRAINING, 0, iteration) for seed in agents.seeds]
    shape = (steps, args.num_envs, agents.outputs)
    noise = np.stack([g.gumbel(size=shape) if agents.discrete else g.standard_normal(shape) for g in generators])
    total, ended = np.zeros((2, args.seeds))
    for t in range(steps):
        # ALGO LOGIC: put action logic here
        if not agents.tabular:
            update_moments(agents.observation_moments, environments.observations)
        inputs = agents.encode(environments.observations)
        actions = agents.act(inputs, noise[:, t])
        rewards, next_observations, terminations, ends = environments.step(agents.played(actions))
        environments.returns += rewards
        environments.discounted *= args.gamma
        environments.discounted += rewards
        update_moments(agents.return_moments, environments.discounted[..., None])
        total += (environments.returns * ends).sum(1)
        ended += ends.sum(1)
        environments.returns[ends] = environments.discounted[ends] = 0
        scaled, next_inputs = agents.scale(rewards), agents.encode(next_observations)
        agents.add(inputs, actions, scaled, next_inputs, terminations, ends)
        # ALGO LOGIC: training
        if agents.filled == args.num_steps:
            agents.update()
    return np.divide(total, ended, out=np.full_like(total, np.nan), where=ended > 0)


def evaluate(agents: Agents, eval_envs: list[list], iteration: int) -> tuple[np.ndarray, np.ndarray]:
    """Play greedy episodes in `eval_envs` [S][E]; return mean return [S] and mean length [S]."""
    shape = (len(eval_envs), len(eval_envs[0]))
    reset_seeds = [stream(seed, EVALUATION, 0, iteration).integers(2**31, size=shape[1]) for seed in agents.seeds]
    observations = np.stack(
        [
            [env.reset(seed=int(seed))[0] for env, seed in zip(row, seeds, strict=True)]
            for row, seeds in zip(eval_envs, reset_seeds, strict=True)
        ]
    )
    returns, lengths = np.zeros(shape), np.zeros(shape)
    playing = list(np.ndindex(shape))
    while playing:
        actions = agents.played(agents.act(agents.encode(observations)))
        finished = []
        for i, j in playing:
            observations[i, j], reward, terminated, truncated, _ = eval_envs[i][j].step(playable(actions[i, j]))
            returns[i, j] += reward
            lengths[i, j] += 1
            if terminated or truncated:
                finished.append((i, j))
        playing = [place for place in playing if place not in finished] if finished else playing
    return returns.mean(1), lengths.mean(1)


def schedule(args: Args) -> list[tuple[str, int]]:
    """Return the run as blocks (kind, number).

    `offline` looks at the offline episodes, `pretrain` is some gradient steps, `online` an iteration.
    """
    online = [("online", iteration) for iteration in range(args.iterations)]
    if args.arm == "ppo":
        return online
    pretraining = [("pretrain", block) for block in range(-(-args.pretrain_steps // args.iteration_steps))]
    return [("offline", 0), *pretraining, *online[args.tau :]]


def main() -> None:
    """Run the blocks that no checkpoint holds yet; write the CSV and its .json."""
    args = resolve(tyro.cli(Args))
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # to which Adam's moments decay where a unit is dead; computing with them is slow
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    episodes = load_dataset(args.dataset, args.env)[: args.tau] if args.dataset else []
    if args.dataset and len(episodes) < args.tau:
        raise UsageError(f"--tau {args.tau}: dataset {args.dataset} holds only {len(episodes)} episodes.")
    run = Run(args, dataset_sha256=episodes_sha256(read_meta(args.dataset)) if args.dataset else None)

    # env setup
    environments = Environments(args)
    eval_envs = [[envs.make(args.env, args.horizon) for _ in range(args.eval_episodes)] for _ in range(args.seeds)]
    agents = Agents(args, eval_envs[0][0], device)
    if counters := run.load():
        agents.updates, agents.filled = counters["updates"], counters["filled"]
        run.restore(agents.tensors() | environments.tensors())
    environments.replay()

    blocks = schedule(args)
    bar = tqdm(blocks, initial=run.finished_blocks, disable=not args.progress, desc=f"{args.env} {args.arm}")
    for kind, number in blocks[run.finished_blocks :]:
        if kind == "offline":
            agents.see(episodes)
            run.set_warm_up(0, episodes, mean_over=episodes)
        elif kind == "pretrain":
            pretrain(agents, episodes, number)
        else:
            if args.arm == "ppo-bc" and number == args.tau:
                agents.restart_optimizer()
            agents.loss_sum.zero_()
            agents.value_sum.zero_()
            agents.gradient_steps = 0
            train_return = train_iteration(agents, environments, number)
            eval_return, eval_length = evaluate(agents, eval_envs, number)
            steps = agents.gradient_steps or np.nan
            means = (agents.loss_sum.cpu().numpy() / steps, agents.value_sum.cpu().numpy() / steps)
            online_iterations = number + 1 - len(episodes)
            env_steps = sum(len(episode) for episode in episodes) + online_iterations * args.iteration_steps
            run.set_row(0, number, env_steps, train_return, eval_return, eval_length, *means)
            bar.set_postfix(eval_return=f"{eval_return.mean():.1f}", refresh=False)
        run.save(agents.tensors() | environments.tensors(), updates=agents.updates, filled=agents.filled)
        bar.update()
    bar.close()
    run.write("ppo", device, agents.policy())


if __name__ == "__main__":
    run_command_line(main)
