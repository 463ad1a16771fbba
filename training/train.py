"""Trains the router's classifier and writes crates/classifier/model/model.bin.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -r training/requirements.txt
    cargo build -p kairosroute-classifier --example features
    /tmp/venv/bin/python training/train.py

Hyperparameters were chosen by leaving whole MMLU subjects out (difficulty) and by 4-fold cross-validation on prompts
that people wrote (category). The seeds are fixed: the same data and library versions give the same file.
"""

import hashlib
import os
import struct

import lightgbm
import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold

import data

VERSION = 2
TREES, LEAVES, RATE, MIN_LEAF = 100, 15, 0.03, 40
RIDGE_ALPHA, RIDGE_SHARE = 30.0, 0.5
# Weight of each kind of feature in the category's matrix, in the order of the model file; strength of the
# regularization. "vectors" gives words of like meaning like weights: it ends up in the weights of the vocabulary.
BLOCKS = {"words": 2.0, "vectors": 2.5, "edges": 4.0, "starts": 2.0, "shape": 0.3, "layout": 0.3}
C = 0.6
BALANCE = 0.7
# Benchmark prompts that are added to the category's training, with a small weight: task, category.
BENCHMARKS = [("mbpp", "code"), ("math", "reasoning"), ("agentverse-mgsm", "reasoning")]
BENCHMARK_PROMPTS, BENCHMARK_WEIGHT = 60, 0.3
# How many texts each instruction with a text is shown with.
COPIES = 3
MODEL = os.path.join(data.HERE, "..", "crates", "classifier", "model", "model.bin")


def human():
    """Prompts that people wrote, with the category of the source or of human-labels.csv."""
    labels, prompts, categories = data.labels(), [], []
    for row in data.rows("human-prompts.csv"):
        digest = hashlib.sha256(row["prompt"].encode()).hexdigest()[:16]
        category = row["category"] or labels.get(digest)
        if category:
            prompts.append(row["prompt"])
            categories.append(data.CATEGORIES.index(category))
    return prompts, np.array(categories)


def category_matrix(features, vectors):
    blocks = dict(features, vectors=sparse.csr_matrix(features["vocabulary"] @ vectors))
    blocks["shape"] = data.buckets(features["shape"], data.cased())
    blocks["layout"] = data.buckets(features["layout"])
    return sparse.hstack([blocks[name] * weight for name, weight in BLOCKS.items()]).tocsr()


def public():
    """Prompts of public sets with the category that this project gave them."""
    rows = data.rows("public-prompts.csv")
    return [(row["prompt"], data.CATEGORIES.index(row["category"]), 1.0) for row in rows]


def added():
    """Prompts beside human-prompts.csv: public ones, ones written for this project, and a few of benchmarks."""
    found = public() + data.written("phrases.txt", 1) + data.written("written-prompts.txt", COPIES)
    rng = np.random.RandomState(0)
    rows = data.rows("mix-9models-train.csv")
    for task, category in BENCHMARKS:
        prompts = [row["prompt"] for row in rows if row["set"] == task]
        for at in rng.permutation(len(prompts))[:BENCHMARK_PROMPTS]:
            found.append((prompts[at], data.CATEGORIES.index(category), BENCHMARK_WEIGHT))
    texts, categories, weights = zip(*found)
    return list(texts), np.array(categories), np.array(weights)


def fit_category(matrix, categories, more):
    more_matrix, more_categories, more_weights = more
    counts = np.bincount(categories, minlength=len(data.CATEGORIES))
    weights = ((counts.mean() / counts) ** BALANCE)[categories]
    model = LogisticRegression(C=C, max_iter=200, tol=1e-3)
    return model.fit(
        sparse.vstack([matrix, more_matrix]),
        np.concatenate([categories, more_categories]),
        sample_weight=np.concatenate([weights, more_weights]),
    )


def out_of_fold(matrix, categories, more):
    scores = np.zeros((len(categories), len(data.CATEGORIES)))
    for train, test in StratifiedKFold(4, shuffle=True, random_state=3).split(matrix, categories):
        model = fit_category(matrix[train], categories[train], more)
        scores[test] = model.decision_function(matrix[test])
    return scores


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def temperature(scores, categories):
    """The one number that makes out-of-fold confidence fit best."""
    grid = np.arange(0.3, 2.0, 0.02)
    rows = np.arange(len(categories))
    losses = [-np.log(softmax(scores / t)[rows, categories] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def pair(names=("mmlu-train.csv", "gsm8k-train.csv")):
    """Prompts with their set and the target, strong minus weak."""
    rows = [row for name in names for row in data.rows(name)]
    target = np.array([float(row["strong_correct"]) - float(row["weak_correct"]) for row in rows])
    return [row["prompt"] for row in rows], np.array([row["set"] for row in rows]), target


def fit_difficulty(shape, words, target):
    trees = lightgbm.LGBMRegressor(
        n_estimators=TREES, num_leaves=LEAVES, learning_rate=RATE, min_child_samples=MIN_LEAF, reg_lambda=5,
        colsample_bytree=0.3, subsample=0.7, subsample_freq=1, n_jobs=1, verbose=-1, random_state=1,
        deterministic=True, force_row_wise=True,
    ).fit(shape, target)
    return trees, Ridge(alpha=RIDGE_ALPHA).fit(words, target)


def quantized(weights):
    scale = float(np.abs(weights).max()) / 127.0 or 1.0
    return np.round(weights / scale).astype(np.int8), scale


def packed_tree(tree):
    splits, leaves = [], []

    def walk(node):
        if "leaf_value" in node:
            leaves.append(node["leaf_value"])
            return -len(leaves)
        at = len(splits)
        splits.append(None)
        left, right = walk(node["left_child"]), walk(node["right_child"])
        threshold = int(np.floor(min(max(node["threshold"], -(2**31)), 2**31 - 1)))
        splits[at] = struct.pack("<Hihhf", node["split_feature"], threshold, left, right, node["internal_value"])
        return at

    walk(tree["tree_structure"])
    head = struct.pack("<HH", len(splits), len(leaves))
    return head + b"".join(splits) + struct.pack(f"<{len(leaves)}f", *leaves)


def table(weights, last=0):
    """A scale, and for each bucket the weight of the categories and of the difficulty."""
    quantized_weights, scale = quantized(weights)
    rows = np.zeros((weights.shape[1], 8), dtype=np.int8)
    rows[:, :7] = quantized_weights.T
    rows[:, 7] = last
    return struct.pack("<f", scale) + rows.tobytes()


def fit_tables(vectors):
    """The category's model: temperature, bias, and the weights of each kind of feature."""
    prompts, categories = human()
    features = data.features(prompts)
    matrix = category_matrix(features, vectors)
    texts, more_categories, more_weights = added()
    more = (category_matrix(data.features(texts), vectors), more_categories, more_weights)
    heat = temperature(out_of_fold(matrix, categories, more), categories)
    logistic = fit_category(matrix, categories, more)
    widths = {"words": data.WORDS, "vectors": data.VECTOR, "edges": data.EDGES, "starts": data.STARTS}
    widths.update((name, features[name].shape[1] * 10) for name in ("shape", "layout"))
    ends = np.cumsum([widths[name] for name in BLOCKS])[:-1]
    parts = np.split(logistic.coef_, ends, axis=1)
    weights = {name: part * BLOCKS[name] for name, part in zip(BLOCKS, parts)}
    weights["vectors"] = weights["vectors"] @ vectors.T
    return heat, logistic.intercept_, weights, {name: features[name].shape[1] for name in ("shape", "layout")}


def main():
    heat, bias, weights, lengths = fit_tables(data.vectors())

    prompts, _, target = pair()
    features = data.features(prompts)
    shape, words = features["shape"], features["words"]
    trees, ridge = fit_difficulty(shape, words, target)
    ridge_weights, ridge_scale = quantized(ridge.coef_ * RIDGE_SHARE)
    raw = trees.predict(shape) + RIDGE_SHARE * (words @ ridge.coef_)
    knots = np.quantile(raw, np.linspace(0, 1, 101))

    sizes = [data.WORDS, data.VOCABULARY, data.EDGES, data.STARTS, lengths["shape"], lengths["layout"]]
    out = b"KRCLASS2" + struct.pack("<7I", VERSION, *sizes)
    out += struct.pack("<2f", heat, ridge_scale) + struct.pack("<7f", *bias)
    out += table(weights.pop("words"), ridge_weights) + b"".join(map(table, weights.values()))
    dumped = trees.booster_.dump_model()["tree_info"]
    out += struct.pack("<H", len(dumped)) + b"".join(map(packed_tree, dumped))
    out += struct.pack("<101f", *knots)
    os.makedirs(os.path.dirname(MODEL), exist_ok=True)
    with open(MODEL, "wb") as file:
        file.write(out)
    print(f"{len(out)} bytes, temperature {heat:.2f}, SHA-256 {hashlib.sha256(out).hexdigest()}")


if __name__ == "__main__":
    main()
