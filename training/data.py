"""Reads the training data, checks its hashes, and gets features from the Rust code, so that there is no skew."""

import base64
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
    "public-prompts.csv": "a2d4e80964d011b605a619c4eadd82909a00419fa61bad62a9e6d3898c2e2fb2",
    "word-vectors.csv": "340fcace86c57dcb97926554b607e61cb032fbd73d8f5587674e0cdfa9ebf7d3",
}
CATEGORIES = ["code", "reasoning", "analysis", "extraction", "summarization", "creative", "chat"]
WORDS, VOCABULARY, EDGES, STARTS = 1 << 13, 1 << 14, 1 << 13, 1 << 12
VECTOR = 64


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


PROGRAM = os.environ.get("FEATURES", os.path.join(HERE, "..", "target", "debug", "examples", "features"))


def cased():
    """Places of the shape numbers that depend on upper and lower case."""
    return json.loads(subprocess.run([PROGRAM, "cased"], capture_output=True, text=True, check=True).stdout)


def raw_features(prompts):
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    done = subprocess.run([PROGRAM], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def features(prompts):
    """By name: shape and layout numbers; and counts of hashed words divided by the square root of their number."""
    numbers, hashed = zip(*raw_features(prompts))
    shape, layout = (np.array(rows, dtype=np.int64) for rows in zip(*numbers))
    words, vocabulary, edges, starts = zip(*hashed)
    return {
        "shape": shape, "layout": layout, "words": counted(words, WORDS),
        "vocabulary": counted(vocabulary, VOCABULARY), "edges": counted(edges, EDGES),
        "starts": counted(starts, STARTS),
    }


def vectors():
    """The vector of each bucket of the vocabulary: the mean of its words', where frequent words count more."""
    found = rows("word-vectors.csv")
    sums, totals = np.zeros((VOCABULARY, VECTOR)), np.zeros(VOCABULARY)
    for rank, (row, (_, hashed)) in enumerate(zip(found, raw_features([row["word"] for row in found]))):
        weight, bucket = 1.0 / (rank + 500), hashed[1][0]
        sums[bucket] += weight * np.frombuffer(base64.b64decode(row["vector"]), dtype=np.int8)
        totals[bucket] += weight
    taken = totals > 0
    sums[taken] /= totals[taken][:, None]
    return sums / np.sqrt((sums[taken] ** 2).sum(axis=1).mean())


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


def buckets(shape, without=()):
    """One-hot columns: the bit length of each number, at most 9. Those of the places in `without` are empty."""
    bits = np.zeros(shape.shape, dtype=np.int64)
    for bound in range(9):
        bits += shape >= (1 << bound)
    count, width = shape.shape
    columns = (np.arange(width) * 10 + bits).ravel()
    ends = np.arange(count + 1) * width
    weights = np.ones((count, width))
    weights[:, list(without)] = 0
    return sparse.csr_matrix((weights.ravel(), columns, ends), shape=(count, width * 10))


def lines(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return [line.replace("\\n", "\n") for line in file.read().splitlines() if line and not line.startswith("#")]


def written(name, copies):
    """Instructions of a file with their category and weight; `{}` is filled with `copies` texts of passages.txt."""
    passages, rng, found, category = lines("passages.txt"), np.random.RandomState(0), [], None
    for line in lines(name):
        if line.startswith("["):
            category = CATEGORIES.index(line.strip("[]"))
            continue
        count = copies if "{}" in line else 1
        for _ in range(count):
            text = line.replace("{}", passage(passages, rng, line.endswith("{}"))) if "{}" in line else line
            found.append((text.strip(), category, 1.0 / count))
    return found


def passage(passages, rng, is_last):
    """One or two texts, plain or quoted, on the line of the instruction or below it."""
    text = passages[rng.randint(len(passages))]
    kind = rng.rand()
    if kind < 0.25:
        text += "\n\n" + passages[rng.randint(len(passages))]
    elif kind < 0.4:
        text = '"' + text + '"'
    return ["", "\n", "\n\n"][rng.randint(3)] + text if is_last else text
