"""From which probability the answer is `classes[1]`, by what its users want. LINE B, calibrate. Pure.

For accuracy and for costs a calibrated probability needs no data: the best threshold is known. For F1, and for recall
at a required precision, it is the median of what resampled images ask for.
Source: Elkan 2001, "The Foundations of Cost-Sensitive Learning".
"""

import numpy as np

from contract.recipe import Goal, Recipe
from contract.training import Operating
from retrain.evaluation import Labels, Probabilities

LEAST = 50  # images of either class
RESAMPLES = 200
USUAL = 0.5
EDGE = 1e-6  # a threshold lies in [EDGE, 1 - EDGE]


def choose(recipe: Recipe, labels: Labels, probabilities: Probabilities) -> Operating:
    """The threshold for an recipe.

    Args:
        recipe: its goal, and what that needs.
        labels: (N,) uint8, 1 for `classes[1]`, of images that nothing was trained on; any N.
        probabilities: (N,) calibrated.
    """
    if recipe.threshold is not None:
        return Operating(recipe.threshold, "The recipe's own.")
    if recipe.goal is Goal.ACCURACY:
        return Operating(USUAL, "Half: of a calibrated probability the most accurate.")
    if recipe.goal is Goal.COST:
        falsely_yes, falsely_no = recipe.false_positive_cost, recipe.false_negative_cost
        threshold = falsely_yes / (falsely_yes + falsely_no)
        said = f"By cost: a false positive costs {falsely_yes:g}, a false negative {falsely_no:g}."
        return Operating(float(np.clip(threshold, EDGE, 1 - EDGE)), said)
    fewest = int(min(np.sum(labels == 0), np.sum(labels == 1)))
    if fewest < LEAST:
        few = f"Half: {fewest} images of the rarer class are too few to choose by {recipe.goal}; {LEAST} are the least."
        return Operating(USUAL, few)
    random = np.random.default_rng(recipe.seed)
    drawn = (random.integers(0, len(labels), len(labels)) for _ in range(RESAMPLES))
    found = [_best(recipe, labels[rows], probabilities[rows]) for rows in drawn if labels[rows].any()]
    threshold = float(np.clip(np.median(found), EDGE, 1 - EDGE))
    return Operating(threshold, f"By {recipe.goal}, of {len(labels)} images: the median of {len(found)} resamplings.")


def _best(recipe: Recipe, labels: Labels, probabilities: Probabilities) -> float:
    """The best threshold for these images: the middle between two neighbouring answers."""
    order = np.argsort(-probabilities, kind="stable")
    answers = probabilities[order].astype(np.float64)
    hits = np.cumsum(labels[order] == 1)  # true positives where the first i + 1 images are taken
    taken = np.arange(1, len(labels) + 1)
    precision, recall = hits / taken, hits / max(1, hits[-1])
    if recipe.goal is Goal.F1:
        score = 2 * hits / (taken + hits[-1])
    else:
        score = np.where(precision >= recipe.least_precision, recall, -1.0)
    score[:-1][answers[:-1] == answers[1:]] = -2.0  # equal answers cannot be told apart
    best = int(np.argmax(score))
    if score[best] < 0:
        return 1.0  # no threshold is precise enough: the answer is never `classes[1]`
    following = answers[best + 1] if best + 1 < len(answers) else 0.0
    return float((answers[best] + following) / 2)
