"""The exercises of notebook 06: the OT weight that a loss in decibels buys, and what a coin would have voted."""

import math

from otsr.course.exercises.checking import ask


def _gain(decibels: float, per: float = 10) -> float:
    """By which share a mean squared error grows."""
    return 10 ** (decibels / per) - 1


def _bought(dB: float, D: float, P: float) -> float:
    """The t with 10·log10((D + (t·P)²) / D) = dB."""
    return math.sqrt(D * _gain(dB)) / P


def _rooted(added: float, P: float) -> float:
    """The weight that adds this to D*, in any loss of sign or brackets."""
    return min(1.0, math.sqrt(max(0.0, added)) / P)


ask(
    "budget",
    cases=lambda: [(1.0, 0.2, 0.9), (0.5, 0.24, 0.41), (0.0, 0.2, 0.3), (3.0, 0.1, 0.2)],  # the first stays below 1
    right=lambda dB, D, P: min(1.0, _bought(dB, D, P)),
    mistakes=lambda dB, D, P: [
        (_bought(dB, D, P), "More than the whole way is not on offer: a weight ends at 1."),
        (_bought(dB, D, P) ** 2, D * _gain(dB) / P, "(t P*)² is what you may add to D*: the root is missing."),
        (1 - min(1.0, _bought(dB, D, P)), "That weighs the best guess; the OT weight is the rest."),
        (math.sqrt(D * _gain(dB, per=20)) / P, "D is a mean square already: 10 dB are a factor of 10, not 20 dB."),
        (math.sqrt(D * (1 + _gain(dB))) / P,
         "That is the whole D that you may have; D* of it is there before you carry anything."),
        (math.sqrt(D * _gain(dB)), "That is a distance; the weight is its share of P*."),
        (math.sqrt(_gain(dB)) / P, "Decibels are a ratio: they multiply D*, whatever its size."),
        (math.sqrt(D * (math.exp(dB / 10) - 1)) / P, "Decibels count in powers of 10, not of e."),
        (math.sqrt(D * -_gain(-dB)) / P, "A loss makes D larger, by 10^(d/10), yours smaller."),
        (math.sqrt(D) * _gain(dB) / P, "The root belongs over the whole product."),
        (_rooted(D * (10**dB / 10 - 1), P), "10 ** d / 10 is (10 ** d) / 10; put d / 10 in brackets."),
        (_rooted(10 ** (-dB / 10) - D, P), "You take the decibels for a PSNR; they are the loss, a factor on D*."),
        (_rooted(dB - D, P), "Decibels are no squared error; make a factor of them first."),
        (*(math.ceil(n * _bought(dB, D, P)) / n for n in (100, 1000)),
         "A search in steps stops at the nearest one beyond; solve D = D* + (t P*)² for t."),
        (100 * _bought(dB, D, P), "A weight runs from 0 to 1; that is percent."),
        (max(1.0, _bought(dB, D, P)),
         "That is the whole way, and it costs more here. Did you write max for min, or turn the fraction over?"),
    ],
    otherwise="Put your weight into D = D* + (t P*)², and compare with D* in decibels.",
    case="With {0:g} dB to spend, D* = {1:g} and P* = {2:g} it should be {right:.4f}, yours is {got:.4f}.",
    stops={
        "math domain": "What you may add to D* came out negative. A loss makes D larger: look at signs and brackets.",
        "must be Tensor": "These are plain numbers: math.sqrt.",
    },
)  # fmt: skip


def _at_least(k: int, n: int) -> float:
    return sum(math.comb(n, j) for j in range(k, n + 1)) / 2**n


ask(
    "coin",
    cases=lambda: [(4, 6), (6, 6), (0, 4), (14, 20), (3, 6)],
    right=_at_least,
    mistakes=lambda k, n: [
        (_at_least(k + 1, n), "A coin with exactly as many is as good as you: count it too."),
        (math.comb(n, k) / 2**n, "That is the chance of exactly so many; more would have impressed you as well."),
        (1 - _at_least(k, n), "That is the chance of fewer. A small number should speak against luck."),
        (1 - _at_least(k + 1, n), "That is the other side, at most so many. Count at least."),
        (min(1.0, 2 * _at_least(k, n)), 2 * _at_least(k, n),
         "You counted both sides. The question here is about one: at least so many."),
        (_at_least(k, n) * 2**n, "That is how many sequences; a chance is a share of all of them."),
        (_at_least(k, n) - 0.5**n, "range(k, n) ends at n − 1: the case of n heads is missing."),
        (_at_least(k, n) * 2 ** (n - k), "All sequences have n throws: there are 2^n of them."),
        (_at_least(k, n) * 2**n / n**2, "Each throw doubles the sequences: there are 2^n, not n²."),
        (100 * _at_least(k, n), "A chance lies between 0 and 1; that is percent."),
        (float(_at_least(k, n) == 1), "Is the range empty? Or does // cut off what follows the point?"),
        (k / n, "That is the share of heads that you saw. How often would a coin do as well?"),
        ((n - k + 1) / (n + 1), "Not all counts are equally likely: n of n comes in one order alone."),
        (sum(math.comb(n, j) / 2**j for j in range(k, n + 1)),
         "Each sequence has n throws, so each has the chance 1/2^n, whatever its number of heads."),
        (sum(math.perm(n, j) for j in range(k, n + 1)) / 2**n,
         "perm counts the same heads in each order; comb counts them once."),
        (0.5**k, "That is one sequence of k throws; k of n can come in many orders."),
        (0.5**n, "That is one single sequence; k of n can come in comb(n, k) orders."),
    ],
    otherwise="Count the sequences of n throws with at least k heads, and divide by all; thrown coins only come near.",
    case="For {0} of {1} it should be {right:.4f}, yours is {got:.4g}.",
)  # fmt: skip
