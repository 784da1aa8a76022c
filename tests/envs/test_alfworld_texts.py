"""What makes sense in a household task, from its text alone; with the optional extra, held against the planner."""

from importlib.util import find_spec

import pytest

from envs.alfworld import sensible
from envs.errors import UsageError
from envs.text import TextGame

ROOM = ("close safe 1", "go to desk 1", "go to drawer 1", "go to drawer 2", "look")


@pytest.mark.parametrize(
    ("hand", "more", "expected"),
    [
        ("nothing", ("open box 1", "take cd 2 from safe 1", "take pen 1 from safe 1"), {"take cd 2 from safe 1"}),
        ("nothing", ("open drawer 1", "take cd 1 from drawer 1"), {"open drawer 1"}),  # that one lies where it should
        ("nothing", ("take pen 1 from safe 1",), {"go to desk 1", "go to drawer 1", "go to drawer 2"}),
        ("a cd 1", ("move cd 1 to drawer 1", "close drawer 1"), {"move cd 1 to drawer 1"}),
        ("a cd 1", ("open drawer 1", "open safe 1", "examine cd 1"), {"open drawer 1"}),
        ("a cd 1", ("open safe 1", "move cd 1 to desk 1"), {"go to drawer 1", "go to drawer 2"}),
        ("a pen 1", ("move pen 1 to desk 1", "open drawer 1"), {"move pen 1 to desk 1"}),
        ("a pen 1", ("move pen 1 to drawer 1",), {"go to desk 1", "go to drawer 1", "go to drawer 2"}),
    ],
)
def test_what_makes_sense(hand, more, expected):
    commands = sorted([*ROOM, *more])
    text = f"You arrive. You hold {hand}. Your task is to: put a cd in drawer."
    assert {commands[place] for place in sensible(text, commands)} == expected


def test_without_anything_to_do_all_is_alike():
    assert sensible("You hold nothing. Your task is to: put some pen on desk.", ("help", "look")) == [0, 1]


def test_another_task_is_refused():
    with pytest.raises(UsageError, match="tells no pick-and-place task"):
        sensible("You hold nothing. Your task is to: look at the pen.", ("look",))


@pytest.mark.skipif(not (find_spec("alfworld") and find_spec("fast_downward")), reason="needs the optional extra")
@pytest.mark.parametrize("name", ["alfworld", "alfworld-unseen"])
def test_what_the_planner_does_makes_sense(name):
    game = TextGame(name)
    env = game.make()
    for number in range(0, len(env.games), 3):
        situation = game.read(*env.reset(options={"game": number}))
        ended = False
        while not ended:
            step = env.plan()[0]
            here = [situation.actions[place] for place in sensible(situation.text, situation.actions)]
            assert step in here or (not step.startswith(("take", "move")) and here)
            situation_, reward, ended, _, info = env.step(situation.actions.index(step))
            situation = game.read(situation_, info)
        assert reward == 1
