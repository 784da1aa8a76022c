"""ALFWorld's own engine, made fast enough to learn in: TextWorld's PDDL games with ALFWorld's domain and grammar.

Importing this module needs the optional extra (`make alfworld`); without it, UsageError says so. TextWorld translates
the problem anew at every reset and parses its grammar anew at every step. Here a game is translated once, rewound
instead of loaded again, and what has been parsed is kept: the same texts, commands and outcomes, many times faster.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from envs.errors import Failure, UsageError


@contextmanager
def _kept(variable: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while. ALFWorld creates the folder ALFWORLD_DATA, else one in the home."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


_found = find_spec("alfworld")
if _found is None or _found.origin is None or find_spec("textworld") is None or find_spec("fast_downward") is None:
    raise UsageError("The ALFWorld environments need an optional extra that is not installed: run `make alfworld`.")
_DATA = Path(_found.origin).parent / "data"
with _kept("ALFWORLD_DATA", str(_DATA)):
    from alfworld.agents.utils.misc import Demangler
    from alfworld.gen import constants, goal_library
    from textworld.core import EnvInfos, GameState
    from textworld.envs.pddl import logic, textgen
    from textworld.envs.pddl.pddl import PddlEnv
    from textworld.logic import Rule, Signature

DOMAIN: str = (_DATA / "alfred.pddl").read_text(encoding="utf-8")
"""ALFWorld's PDDL domain, unmodified."""
GRAMMAR: str = (_DATA / "alfred.twl2").read_text(encoding="utf-8")
"""ALFWorld's grammar, in which `UNKNOWN_GOAL` stands where a game's goal belongs."""
UNKNOWN_GOAL = "UNKNOWN GOAL"
HOLDERS: Mapping[str, set[str]] = constants.VAL_RECEPTACLE_OBJECTS
"""Which objects each receptacle can hold."""
OPENABLE: set[str] = constants.OPENABLE_CLASS_SET
"""The receptacles that open and close."""
PROPERTIES: Mapping[str, set[str]] = constants.VAL_ACTION_OBJECTS
"""Which objects are "Heatable", "Coolable", "Cleanable", "Sliceable", "Toggleable"."""
PICK_AND_PLACE: Mapping[str, Any] = goal_library.gdict["pick_and_place_simple"]
"""The task type: its goal in PDDL ("pddl") and in words ("templates")."""

HOLDS = Signature("holds", ("agent", "object"))

# What is parsed depends on the parsed string alone: grammars, templates, queries. Symbols that come out are given
# their context anew whenever they are used, so one parse serves all. And what a context holds is never changed, only
# added to, so that copies need not be deep.
textgen._parse_and_convert = lru_cache(maxsize=None)(textgen._parse_and_convert)
logic._parse_and_convert = lru_cache(maxsize=None)(logic._parse_and_convert)
Rule.parse_conjunctive_query = lru_cache(maxsize=None)(Rule.parse_conjunctive_query)
textgen.copy_context = lambda context: {
    **context,
    "variables": dict(context["variables"]),
    "mapping": dict(context["mapping"]),
}


class Situation(NamedTuple):
    """What a player is told after each command."""

    feedback: str
    """The engine's words, as they come."""
    commands: tuple[str, ...]
    """The commands that do something now, sorted."""
    held: str | None
    """What is in the player's hand: what the command "inventory" would tell."""
    won: bool


class Engine(PddlEnv):
    """One game, translated when loaded, then played as often as one likes.

    Not thread-safe, as the translator is not: one process for each worker.
    """

    def __init__(self, game: Mapping[str, Any]) -> None:
        super().__init__(EnvInfos(won=True, admissible_commands=True))
        arguments = sys.argv
        try:
            self.load(game)
        except KeyError as error:
            reason = "a type is used but not declared, or the goal is out of reach"
            raise Failure(f"The engine cannot load the game, for want of {error}: {reason}.") from error
        finally:
            sys.argv = arguments  # the translator leaves its own there
        demangler = Demangler(game_infos=self._entity_infos)
        for info in self._entity_infos.values():
            info.name = demangler.demangle_alfred_name(info.id)
        self._names = {key: info.name for key, info in self._entity_infos.items()}
        self._beginning = list(self._pddl_state.facts)
        self._commands: dict[str, str] = {}
        self._begun = False

    def begin(self) -> Situation:
        """Start the game over."""
        return self._situation(self.reset())

    def play(self, command: str) -> Situation:
        """Give a command; one that does nothing now is answered with "Nothing happens."."""
        return self._situation(self.step(command)[0])

    def plan(self) -> list[str]:
        """Return the planner's commands from here to the goal, none where it is out of reach (or reached).

        An oracle, and the slowest thing here: to check games and for scripted play, never for a player.
        """
        return self._pddl_state.replan(self._entity_infos)

    def reset(self) -> GameState:
        """Rewind to the beginning: TextWorld would translate the problem again."""
        state = self._pddl_state
        self.downward_lib.load_sas(state.sas.encode("utf-8"))
        self.downward_lib.load_sas_replan(state.sas_replan.encode("utf-8"))
        state.remove_facts(list(state.facts))
        state.add_facts(self._beginning)
        self.prev_state, self.state, self._last_action, self._moves = None, GameState(), None, 0
        context = {
            "state": state,
            "facts": self._beginning,
            "variables": {},
            "mapping": {},
            "entity_infos": self._entity_infos,
        }
        self.state.feedback = self._logic.grammar.derive("#intro#", context)
        self._gather_infos()
        return self.state

    def _gather_infos(self) -> None:
        """Find what can be done now; the words for an action are derived once, for they never change in a game."""
        actions = self._pddl_state.all_applicable_actions()
        self.state["won"] = self._pddl_state.check_goal()
        self.state["lost"] = False
        self.state["_valid_actions"] = actions
        self.state["_valid_commands"] = [self._command(action) for action in actions]

    def _command(self, action: Any) -> str:
        key = (action.name, *action.mapping.values())
        if key not in self._commands:
            context = {
                "state": self._pddl_state,
                "facts": (),
                "variables": {part.name: self._entity_infos[thing.name] for part, thing in action.mapping.items()},
                "mapping": action.mapping,
                "entity_infos": self._entity_infos,
            }
            action.command_template = self._logic.grammar.derive(action.command_template, context)
            self._commands[key] = action.format_command(self._names)
        return self._commands[key]

    def _situation(self, state: GameState) -> Situation:
        held = [fact.arguments[1].name for fact in self._pddl_state.facts_with_signature(HOLDS)]
        return Situation(
            feedback=state.feedback,
            commands=tuple(sorted(set(state["_valid_commands"]))),
            held=self._names[held[0]] if held else None,
            won=state["won"],
        )
