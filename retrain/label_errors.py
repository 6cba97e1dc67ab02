"""Which labels look wrong, by what probes that had not seen an image say of it: pure. LINE B, train.

They are told to a person, never changed and never left out: half of what looks wrong is right, and a hard image is
worth more than an easy one.
Source: Northcutt et al. 2021, "Confident Learning".
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract.training import Suspect
from retrain.dataset import LabelledImages
from retrain.evaluation import Labels, Probabilities

NAMED = 5  # in a warning
MOST_SHARE, MOST = 0.08, 200  # of the images, and in all: nobody looks through more


def find_suspects(images: LabelledImages, out_of_fold: Probabilities) -> tuple[Suspect, ...]:
    """Images whose label a probe contradicts as surely as it is of images of the other class, the surest first.

    Args:
        images: N of both classes.
        out_of_fold: (N,) P(`classes[1]`) by probes that had seen neither the image nor its group.
    """
    order, suspected = rank(images.labels, out_of_fold)
    most = min(MOST, int(MOST_SHARE * len(images)))
    return tuple(
        Suspect(images.examples[row].id, images.examples[row].file, images.examples[row].label, float(out_of_fold[row]))
        for row in order[:most]
        if suspected[row]
    )


def describe(suspects: Sequence[Suspect]) -> list[str]:
    """What a person should know of them, as warnings."""
    if not suspects:
        return []
    named = ", ".join(f"{one.file or one.example} ({one.label})" for one in suspects[:NAMED])
    return [
        f"{len(suspects)} labels look wrong, the surest first: {named}{', ...' if len(suspects) > NAMED else ''}. "
        "They were trained on as they are; all are in the version's manifest (`suspects`). To change a label, delete "
        "the image and add it again."
    ]


def rank(labels: Labels, out_of_fold: Probabilities) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """All rows by how surely they are contradicted, surest first; and which are suspected, (N,) each."""
    other = np.where(labels == 1, 1 - out_of_fold, out_of_fold)  # the probability of the label that it does not have
    usual = [float(np.mean(np.where(each, out_of_fold, 1 - out_of_fold)[labels == each])) for each in (0, 1)]
    suspected = other >= np.where(labels == 1, usual[0], usual[1])
    return np.argsort(-other, kind="stable"), suspected
