"""Which lines each of the paper's figures shows: the one place that names them, for the workflow and for the drawing.

The paper has 39 figures: `main` (analysis/main_figure.py), `mix`, `pretrain`, `model_size`, `pretrain_step` and
`pretrain_eps` for each of the six environments, and `sft_lcot` for three (papers' appendix).
"""

from dataclasses import dataclass

from analysis.colours import AMBER, BLUE, GREEN, ORANGE, PURPLE, SKY

TAUS, PRETRAIN_STEPS = (10, 20, 30), (1000, 3000)
SIZES = {"qwen-7b": "Qwen-7B", "qwen-32b": "Qwen-32B"}
KINDS = ("mix", "pretrain", "model_size", "pretrain_step", "pretrain_eps", "sft_lcot")
TUNED = ("frozen-lake", "cliff-walking", "pendulum")
"""Where the authors' LLM was also tuned by PPO while it played."""


@dataclass(frozen=True)
class Line:
    """One line of a figure: the run's name (arm_llm_tau_n), what it is called and its colour."""

    run: str
    label: str
    color: str


@dataclass(frozen=True)
class Panel:
    """One panel: its place in the grid, what it is called, and its lines."""

    row: int
    column: int
    title: str
    lines: tuple[Line, ...]


def loro(llm: str, tau: int, steps: int) -> str:
    """Name the run of LORO with these settings."""
    return f"loro_{llm}_tau{tau}_n{steps}"


def figures_of(env: str) -> tuple[str, ...]:
    """Return the kinds of figures that the paper has of an environment, besides the main one."""
    return KINDS if env in TUNED else KINDS[:-1]


def panels_of(kind: str, env: str) -> tuple[Panel, ...]:
    """Return the panels of one figure; raise KeyError for one that the paper does not have."""
    main = Line(loro("qwen-7b", 10, 3000), "LORO (N=3000)", ORANGE)
    online = Line("online", "online RL", BLUE)
    if kind == "mix":
        mix = Line("mix_qwen-7b_tau10", "LLM's data in the buffer (mix)", GREEN)
        return (Panel(0, 0, "", (online, main, mix)),)
    if kind == "pretrain":
        own = Line("pretrain-on-policy_tau10_n3000", "own episodes, no LLM", SKY)
        chance = Line("pretrain-random_tau10_n3000", "random episodes, no LLM", AMBER)
        return (Panel(0, 0, "", (main, own, chance)),)
    if kind == "model_size":
        colors = dict(zip(SIZES, (ORANGE, BLUE), strict=True))
        return tuple(
            Panel(i, j, f"τ={tau}, N={n}", tuple(Line(loro(llm, tau, n), SIZES[llm], colors[llm]) for llm in SIZES))
            for i, n in enumerate(PRETRAIN_STEPS)
            for j, tau in enumerate(TAUS)
        )
    if kind == "pretrain_step":
        colors = dict(zip(PRETRAIN_STEPS, (BLUE, ORANGE), strict=True))
        return tuple(
            Panel(i, j, f"{SIZES[llm]}, τ={tau}", tuple(Line(loro(llm, tau, n), f"N={n}", colors[n]) for n in colors))
            for i, llm in enumerate(SIZES)
            for j, tau in enumerate(TAUS)
        )
    if kind == "pretrain_eps":
        colors = dict(zip(TAUS, (ORANGE, BLUE, GREEN), strict=True))
        return tuple(
            Panel(i, j, f"{SIZES[llm]}, N={n}", tuple(Line(loro(llm, t, n), f"τ={t}", colors[t]) for t in TAUS))
            for i, n in enumerate(PRETRAIN_STEPS)
            for j, llm in enumerate(SIZES)
        )
    if kind == "sft_lcot" and env in TUNED:
        lines = [online, Line(loro("qwen-7b", 10, 1000), "LORO (N=1000)", ORANGE)]
        lines.append(Line(loro("qwen-7b-sft", 10, 1000), "LORO, LLM tuned by PPO", GREEN))
        if env == "frozen-lake":
            lines.append(Line(loro("deepseek-7b", 10, 1000), "LORO, chain of thought, 7B", PURPLE))
            lines.append(Line(loro("deepseek-14b", 10, 1000), "LORO, chain of thought, 14B", SKY))
        return (Panel(0, 0, "", tuple(lines)),)
    raise KeyError(f"{env}_{kind}")


def runs_of(kind: str, env: str) -> tuple[str, ...]:
    """Return the names of all runs that a figure shows, each once."""
    return tuple(dict.fromkeys(line.run for panel in panels_of(kind, env) for line in panel.lines))
