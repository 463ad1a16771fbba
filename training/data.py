"""Reads the training data, checks its hashes, and gets features from the Rust code, so that there is no skew."""

import csv
import hashlib
import json
import os
import subprocess

import numpy as np
from scipy import sparse

HERE = os.path.dirname(os.path.abspath(__file__))
SHA256 = {
    "gsm8k-train.csv": "b2aae8ad09f7863c10292fb6e1b6289203a2287d4371adae7f961d947a5cd6b3",
    "human-prompts.csv": "b6a568015b1f90980ad3f095501b8c72c4c63ce46fec8fcf95c88206a6384537",
    "mix-9models-train.csv": "75abb5386112d475e954babdb5eae51396211e81a1ad195e7a5c0c98d845c060",
    "mmlu-pro-12models-train.csv": "488397d5070b55af4670595a5a4b56e6c0bec43dcd5fceb43f033054b159721f",
    "mmlu-train.csv": "314834fc5a7a455195cda09b7e95c29ce3337f704bb6cd16ae94b7afbb49c622",
}
CATEGORIES = ["code", "reasoning", "analysis", "extraction", "summarization", "creative", "chat"]
WORDS, EDGES = 1 << 13, 1 << 12


def rows(name):
    path = os.path.join(HERE, "data", name)
    with open(path, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != SHA256[name]:
        raise SystemExit(f"{name}: SHA-256 is {found}, expected {SHA256[name]}")
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels():
    path = os.path.join(HERE, "human-labels.csv")
    with open(path, newline="", encoding="utf-8") as file:
        return {row["prompt_sha256_16"]: row["category"] for row in csv.DictReader(file)}


def normalized(prompt):
    return " ".join(prompt.lower().split())


def features(prompts):
    """Shape numbers, and word and edge counts divided by the square root of their number."""
    program = os.environ.get("FEATURES", os.path.join(HERE, "..", "target", "debug", "examples", "features"))
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    shape, words, edges = zip(*(json.loads(line) for line in done.stdout.splitlines()))
    return np.array(shape, dtype=np.int64), counted(words, WORDS), counted(edges, EDGES)


def counted(lists, width):
    data, columns, ends = [], [], [0]
    for found in lists:
        weight = 1.0 / np.sqrt(max(len(found), 1))
        columns.extend(found)
        data.extend([weight] * len(found))
        ends.append(len(columns))
    matrix = sparse.csr_matrix((data, columns, ends), shape=(len(lists), width))
    matrix.sum_duplicates()
    return matrix


def buckets(shape):
    """One-hot columns: the bit length of each number, at most 9."""
    bits = np.zeros(shape.shape, dtype=np.int64)
    for bound in range(9):
        bits += shape >= (1 << bound)
    count, width = shape.shape
    columns = (np.arange(width) * 10 + bits).ravel()
    ends = np.arange(count + 1) * width
    return sparse.csr_matrix((np.ones(count * width), columns, ends), shape=(count, width * 10))


def phrases(fillers):
    """Instructions of phrases.txt with their category; `{}` is filled from `fillers` in turn."""
    found, category, filled = [], None, 0
    with open(os.path.join(HERE, "phrases.txt"), encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.startswith("["):
                category = CATEGORIES.index(line.strip("[]"))
            elif line and not line.startswith("#"):
                text = line
                if "{}" in line:
                    text = line.replace("{}", "\n" + fillers[filled % len(fillers)][:600])
                    filled += 1
                found.append((text, category))
    return found
