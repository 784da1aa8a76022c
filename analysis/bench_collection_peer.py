"""The collection benchmark's peer: one episode at a time, one call of transformers' generate for every step.

    python analysis/bench_collection_peer.py MODEL PROMPT.yaml REPLY NEW_TOKENS STEPS

Plays CartPole as algos/collect.py does, with the same model, prompt and machine, but plainly: nothing is remembered,
batched or shared between steps (generate keeps its own keys and values while it writes one answer, as it does by
default). Prints the decisions per second.
"""

import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import envs
from envs.base import parse_answer
from envs.prompts import load_prompt


def main(model_name: str, prompt_file: str, reply: str, new_tokens: int, steps: int) -> None:
    """Time `steps` decisions, after one that is not timed."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    model = AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32).eval()
    env, words = envs.make("cartpole"), envs.get("cartpole").words
    observation, _ = env.reset(seed=0)
    prompt = load_prompt(Path(prompt_file), env, words(observation))
    torch.manual_seed(0)
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        chat = prompt.chat(words(observation), reply)
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        sampling = {"do_sample": True, "temperature": 0.9, "top_p": 0.6, "top_k": 0}
        written = model.generate(**ids, max_new_tokens=new_tokens, **sampling)
        answer = tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        action = parse_answer(answer, prompt.actions)
        observation, _, termination, truncation, _ = env.step(0 if action is None else action)
        if termination or truncation:
            observation, _ = env.reset()
    print("decisions per second", steps / (time.perf_counter() - began))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]))
