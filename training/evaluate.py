"""Measures the classifier on parts of the training data that each model did not see, and writes card-measures.json.

Difficulty: 5 folds by prompt, and 10 folds by whole subject; against prompt length, with paired bootstrap intervals.
Category: 4 folds of the prompts that people wrote, and each public set by a model that did not see it. The model file
itself is trained on everything.
"""

import json
import os
import sys

import numpy as np
from sklearn.model_selection import GroupKFold

import data
import train

ROUNDS = 400


def apgr(score, gain):
    """Mean share of the strong model's gain over all shares of strong calls (RouteLLM)."""
    order = np.argsort(-score, kind="stable")
    reached = np.concatenate([[0], np.cumsum(gain[order])]) / gain.sum()
    return float(reached.mean())


def interval(score, gain, other=None):
    rng, values = np.random.RandomState(0), []
    for _ in range(ROUNDS):
        rows = rng.randint(0, len(gain), len(gain))
        value = apgr(score[rows], gain[rows])
        values.append(value - apgr(other[rows], gain[rows]) if other is not None else value)
    return [round(float(q), 4) for q in np.quantile(values, [0.025, 0.975])]


def out_of_fold(shape, words, target, groups, folds):
    score = np.zeros(len(target))
    for fit, test in GroupKFold(folds).split(shape, groups=groups):
        trees, ridge = train.fit_difficulty(shape[fit], words[fit], target[fit])
        score[test] = trees.predict(shape[test]) + train.RIDGE_SHARE * (words[test] @ ridge.coef_)
    return score


def difficulty(found):
    prompts, sets, target = train.pair()
    features = data.features(prompts)
    shape, words = features["shape"], features["words"]
    length = shape[:, 0].astype(float)
    keys = [data.normalized(prompt) for prompt in prompts]
    rng = np.random.RandomState(0)
    shuffled = {key: rng.randint(1 << 30) for key in sorted(set(keys))}
    by_prompt = np.array([shuffled[key] for key in keys])
    is_mmlu = sets != "gsm8k"
    seen = out_of_fold(shape, words, target, by_prompt, 5)
    unseen = out_of_fold(shape, words, target, sets, 10)
    for name, rows, score in [("mmlu", is_mmlu, seen), ("gsm8k", ~is_mmlu, seen),
                              ("mmlu_unseen_subject", is_mmlu, unseen), ("gsm8k_unseen_set", ~is_mmlu, unseen)]:
        gain = target[rows]
        found[name] = {
            "rows": int(rows.sum()), "apgr": round(apgr(score[rows], gain), 4),
            "interval_95": interval(score[rows], gain),
            "apgr_of_length": round(apgr(length[rows], gain), 4),
            "over_length_95": interval(score[rows], gain, length[rows]),
        }


def category_measures(scores, categories, heat):
    probable = train.softmax(scores / heat)
    choice, confidence = probable.argmax(axis=1), probable.max(axis=1)
    right, sure = choice == categories, confidence >= 0.7
    present = [one for one in range(len(data.CATEGORIES)) if (categories == one).any()]
    recalls = {one: float(right[categories == one].mean()) for one in present}
    edges = np.linspace(0, 1, 11)
    bins = [(confidence > low) & (confidence <= high) for low, high in zip(edges, edges[1:])]
    error = sum(rows.mean() * abs(right[rows].mean() - confidence[rows].mean()) for rows in bins if rows.any())
    return {
        "prompts": len(categories), "right": round(float(right.mean()), 3),
        "right_interval_95": shares_interval(right),
        "macro_recall": round(float(np.mean(list(recalls.values()))), 3),
        "recall": {data.CATEGORIES[one]: round(value, 2) for one, value in recalls.items()},
        "confident_share": round(float(sure.mean()), 3),
        "confident_right": round(float(right[sure].mean()), 3) if sure.any() else None,
        "confident_right_interval_95": shares_interval(right[sure]),
        "calibration_error": round(float(error), 3),
    }


def shares_interval(right):
    rng = np.random.RandomState(0)
    means = [right[rng.randint(0, len(right), len(right))].mean() for _ in range(ROUNDS)] if len(right) else [0.0]
    return [round(float(q), 3) for q in np.quantile(means, [0.025, 0.975])]


def category(found):
    """4 folds of human-prompts.csv, in all and by source; and each public set by a model that did not see it."""
    vectors = data.vectors()
    prompts, categories = train.human()
    matrix = train.category_matrix(data.features(prompts), vectors)
    texts, more_categories, more_weights = train.added()
    more_matrix = train.category_matrix(data.features(texts), vectors)
    more = (more_matrix, more_categories, more_weights)
    scores = train.out_of_fold(matrix, categories, more)
    heat = train.temperature(scores, categories)
    found["category"] = category_measures(scores, categories, heat)
    sources = {row["prompt"]: row["source"] for row in data.rows("human-prompts.csv")}
    by_source = np.array([sources[prompt] for prompt in prompts])
    for source in sorted(set(by_source)):
        rows = by_source == source
        found["category_" + source] = category_measures(scores[rows], categories[rows], heat)
    public = np.array([row["source"] for row in data.rows("public-prompts.csv")])
    for source in sorted(set(public)):
        left = np.zeros(len(texts), dtype=bool)
        left[: len(public)] = public == source
        kept = (more_matrix[~left], more_categories[~left], more_weights[~left])
        model = train.fit_category(matrix, categories, kept)
        unseen = model.decision_function(more_matrix[left])
        found["category_unseen_" + source] = category_measures(unseen, more_categories[left], heat)


def main():
    found = {}
    difficulty(found)
    category(found)
    text = json.dumps(found, indent=2)
    with open(os.path.join(data.HERE, "card-measures.json"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
