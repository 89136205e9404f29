"""The exercises of notebook 03: the p-value of a permutation test, and the Wasserstein distance on the line."""

import numpy as np

from otsr.course.exercises.checking import ask

_SHUFFLED = np.array([0.4, 0.9, 0.5, 0.7, 0.6, 0.5, 0.3, 0.2, 0.6])

ask(
    "p-value",
    cases=lambda: [(observed, _SHUFFLED) for observed in (0.6, 1.0, 0.85, 0.1)],  # the first tells mistakes apart
    right=lambda o, s: (1 + np.sum(s >= o)) / (1 + len(s)),
    mistakes=lambda o, s: [
        (np.mean(s >= o), "The order that you observed is a possible one: count it too, above and below."),
        (np.sum(s >= o) / (1 + len(s)), "You counted the observed order below, but not above."),
        ((1 + np.sum(s >= o)) / len(s), "You counted the observed order above, but not below."),
        ((1 + np.sum(s > o)) / (1 + len(s)), "A shuffle exactly as large speaks against you as well."),
        (np.mean(s > o), "Shuffles exactly as large count too, and so does the observed order."),
        ((1 + np.sum(s <= o)) / (1 + len(s)), np.mean(s <= o),
         "You counted the other side: a LARGE distance speaks for a difference."),
        (np.sum(s >= o), 1 + np.sum(s >= o), "That is how many; a p-value is a share of all orders."),
    ],
    otherwise="It is the share of all orders, observed and shuffled, whose distance is at least the observed one.",
    case="Observed {0}, shuffled {1}: yours is {got:.3g}.",
)  # fmt: skip


def _repeated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.repeat(a, len(b) // len(a))


def _gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sort(_repeated(a, b)) - np.sort(b)


ask(
    "line",
    cases=lambda: [
        (np.array([0.0, 4.0]), np.array([6.0, -1.0])),
        (np.array([3.0, -1.0, 0.5]), np.array([0.2, 4.0, -2.0, 1.0, 2.5, -0.5])),
        (np.array([2.0]), np.array([7.0, 1.0, 0.0])),
    ],
    right=lambda a, b: abs(_gaps(a, b)).mean(),
    mistakes=lambda a, b: [
        (abs(_gaps(a, b).mean()), "That is the distance of the means; take absolute values first."),
        (_gaps(a, b).mean(), "Gaps to the left and to the right cancel: a distance has no sign."),
        (abs(_gaps(a, b)).sum(), "That is the sum; each number carries the same share of a mass of 1."),
        ((_gaps(a, b) ** 2).mean(), "You squared the gaps: here the cost is the distance itself."),
        ((_gaps(a, b) ** 2).mean() ** 0.5,
         "You squared the gaps and took the root: that is W2. Here the cost is the distance itself."),
        (abs(_repeated(a, b) - b).mean(), abs(np.sort(np.tile(a, len(b) // len(a))) - b).mean(),
         "Sort both first: smallest to smallest is the cheapest way to pair."),
        (abs(a[:, None] - b).mean(), "That pairs everyone with everyone; each needs one partner only."),
    ],
    otherwise="Give the shorter list as many entries as the longer one, sort both, and pair them in order.",
    case="Between {0} and {1} it is {right:.3f}, yours is {got:.3f}.",
    shape_hint=lambda *_: "Those are the single gaps; the distance is their mean.",
    stops={
        "broadcast": "Give the shorter list as many entries as the longer one.",
        "'list'": "sorted(a) is a list, which cannot be subtracted; np.sort(a) is an array.",
    },
)  # fmt: skip
