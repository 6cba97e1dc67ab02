"""What the gate says: plain sentences with the figures, for people who decide. LINE B, judge."""

from collections.abc import Iterable

from contract.comparison import Comparison, Difference
from contract.records import Metrics
from retrain.significance import MOST_IMAGES

ALWAYS = "The policy is `always`, so it goes live."
ALONE = "There is no live version to compare it with, so it goes live."
PROMOTED = "So it goes live."
WORSE = "It is worse beyond chance."
BELOW_FLOOR = "It is no better than that. Check the labels or add images."
REJECTED = "So it does not go live."
HELD = "So it is held: `ripen promote` puts it live, with a reason."
DRY_RUN = "This was a dry run, so nothing goes live, whatever the verdict; `ripen promote` puts it live, with a reason."
ON_HOLDOUT = "in the hold-out (`ripen label --holdout`)"


def tell_accuracy(measured: Metrics) -> str:
    """The new version alone."""
    return f"Right on {measured.accuracy:.1%} of {measured.count} hold-out images."


def tell_decisions(whole: Comparison) -> str:
    """Both versions' accuracy, and on how many images they differ."""
    better, worse = whole.only_candidate_right, whole.only_live_right
    found = f"Right on {whole.candidate_accuracy:.1%} of {whole.count} hold-out images, the live version on "
    if not better + worse:
        return f"{found}{whole.live_accuracy:.1%} of them; they decide alike on every image."
    chance = "" if whole.p_value is None else f"; by chance alone, {_chance(whole.p_value)}"
    return (
        f"{found}{whole.live_accuracy:.1%} of them. They differ on {better + worse}: the new one is right on {better} "
        f"of these, the live one on {worse}{chance}."
    )


def tell_scores(measured: Metrics, live: Metrics, whole: Comparison, significance: float) -> str:
    """Both versions' log-loss and AUC, and how far the differences may be chance."""
    assert whole.log_loss is not None, "a judged comparison has it"
    said = f"Log-loss {measured.log_loss:.3f}, the live version's {live.log_loss:.3f}"
    said = f"{said} (less is better; {_interval(whole.log_loss, significance)})."
    if whole.auc is None:
        return said
    return f"{said} AUC {measured.auc:.3f}, the live version's {live.auc:.3f} ({_interval(whole.auc, significance)})."


def name_too_small(slices: Iterable[Comparison], unseen: Iterable[str], least: int) -> str:
    """Which slices say nothing; empty where each says something."""
    named = [f"{one.slice} ({one.count})" for one in slices if not one.judged] + [f"{name} (0)" for name in unseen]
    return f"Too small to judge, below {least} images: {', '.join(named)}." if named else ""


def tell_floor(share: float) -> str:
    """The first floor."""
    return f"Answering the commoner class always would be right on {share:.1%}."


def tell_unmeasured(version: int, why: str) -> str:
    """There is a live version, but it cannot be compared."""
    return f"The live version {version} cannot be measured: {why}"


def below_probe(share: float, chance: float) -> str:
    """The second floor is not passed."""
    return (
        f"A linear probe on the same images is right on {share:.1%}; it is worse than that beyond chance "
        f"({_chance(chance)}). Check the recipe: learning rate, epochs, unfrozen layers."
    )


def too_few(count: int, least: int) -> str:
    """Nothing can be said."""
    return f"{count} hold-out images are too few to judge by; {least} are the least."


def is_better(whole: Comparison) -> str:
    """Superior."""
    assert whole.log_loss is not None, "a judged comparison has it"
    but = " Its probabilities are further off, though: its log-loss is higher beyond chance."
    return f"It is better beyond chance.{but if whole.log_loss.low > 0 else ''}"


def is_better_on_fresh(new: Comparison, low: float) -> str:
    """Not inferior, and better on what is new."""
    return (
        f"It is {_at_most_worse(low)}, and better beyond chance on the {new.count} images that are newer than all that "
        f"the live version was made from: {_both(new)}."
    )


def is_surer(low: float) -> str:
    """Log-loss improved, and accuracy was shown not to be inferior."""
    return f"Its log-loss is lower beyond chance, and it is {_at_most_worse(low)}."


def looks_surer(margin: float, small: int) -> str:
    """Log-loss improved on a small hold-out."""
    return (
        f"Its log-loss is lower beyond chance and its accuracy not lower by more than {_points(margin)}, which is "
        f"enough for `balanced` below {small} hold-out images."
    )


def is_worse(one: Comparison) -> str:
    """Inferior on a protected slice."""
    assert one.p_value is not None, "a judged comparison has it"
    chance = f"{_chance(one.p_value)}, corrected for the number of slices"
    return f"It is worse beyond chance on the protected slice {one.slice}: {_both(one)} ({chance})."


def looks_worse(one: Comparison, chance: float, more: int | None) -> str:
    """Perhaps inferior on a protected slice."""
    looks = f"But it looks worse on the protected slice {one.slice}: {_both(one)} (one-sided {_chance(chance)})."
    return f"{looks} {_ask(more, f'of {one.slice} in the hold-out')}"


def may_be_worse(one: Comparison, low: float, margin: float, more: int | None) -> str:
    """Not shown to be not inferior on a protected slice."""
    may = (
        f"But on the protected slice {one.slice} it may be up to {_points(-low)} worse: {_both(one)}; `cautious` wants"
    )
    return f"{may} less than {_points(margin)}. {_ask(more, f'of {one.slice} in the hold-out')}"


def is_unjudged(name: str, count: int, least: int) -> str:
    """A protected slice that says nothing."""
    return f"But the protected slice {name} has {count} hold-out images; `cautious` wants {least} at least."


def is_unclear(whole: Comparison, low: float, more: int | None) -> str:
    """Neither better nor worse beyond chance."""
    seen = whole.only_candidate_right - whole.only_live_right
    looks = f"It looks {'better' if seen > 0 else 'worse'}, but not beyond chance" if seen else "It is right as often"
    may = f"; it may be up to {_points(-low)} worse" if low < 0 else ""
    return f"{looks}{may}. {_ask(more, ON_HOLDOUT)}"


def _ask(more: int | None, where: str) -> str:
    """What is missing."""
    if more is None:
        return f"No realistic number of labelled images (up to {MOST_IMAGES}) would show so small a difference."
    return f"About {more} more labelled images {where} would show such a difference."


def _interval(difference: Difference, significance: float) -> str:
    return (
        f"difference {difference.value:+.3f}, {1 - significance:.0%} interval {difference.low:+.3f} to "
        f"{difference.high:+.3f}"
    )


def _both(one: Comparison) -> str:
    return f"right on {one.candidate_accuracy:.1%} of {one.count} images, the live version on {one.live_accuracy:.1%}"


def _at_most_worse(low: float) -> str:
    return f"at most {_points(-low)} worse" if low < 0 else f"at least {_points(low)} better"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _chance(p_value: float) -> str:
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"
