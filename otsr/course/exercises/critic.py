"""The bug hunt of notebook 05: the student's answer is itself a test, and is tested.

`test(rule)` must refuse a wrong rule (raise AssertionError or return False) and let a right one pass. It is run on
several rules of both kinds, some equally right but written otherwise, some with the same mistake in another guise, each
at several seeds. What the test gives them is recorded, to say why it could not see a mistake.

The five mistakes are those of the code that OTSR's authors published, in our own lines, as notebook 05 shows them;
`otsr.transport` holds the right rules, and tests/unit/test_defects.py proves all thirteen mistakes.

Reference: Li, Lei, Shi, Xue, Machine Vision and Applications 2022, doi 10.1007/s00138-022-01299-6.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from otsr.course.exercises.checking import CHECKS, NotAttemptedError, StoppedError, does_something
from otsr.transport import potentials

_SEEDS = (0, 1, 2)
Rule = Callable[..., Any]
Pair = tuple[Tensor, Tensor]


class Hunt(NamedTuple):
    """One suspect; each rule stands behind what it is, in words."""

    right: dict[str, Rule]  # that a test must let pass
    wrong: dict[str, Rule]  # that it must refuse, the published one first
    refusal: str  # what to consider when it refuses a right rule
    symptom: str  # what to consider when it catches the published rule and not the others
    hidden: list[tuple[Rule, str]]  # of a rule's input: why no mistake can be seen there


def judge(hunt: Hunt, test: Any) -> str | None:
    """None if `test` judges every rule rightly, else whom it misjudged and a hint."""
    if not callable(test):
        return f"A function test(rule) is expected, got {type(test).__name__}."
    inputs: list[tuple[Any, ...]] = []  # all that the test gives to rules
    passes = {}
    for words, rule in (hunt.right | hunt.wrong).items():
        verdicts = {_verdict(test, words, rule, seed, inputs) for seed in _SEEDS}
        if len(verdicts) > 1:
            return (
                f"Your test passes {words} at one seed and refuses the same rule at another: chance decides. "
                "Fix its inputs, or take more of them."
            )
        passes[words] = verdicts.pop()
    refused = [words for words in hunt.right if not passes[words]]
    passed = [words for words in hunt.wrong if passes[words]]
    if not refused and not passed:
        return None
    said = f"Your test judges {len(passes) - len(refused) - len(passed)} of {len(passes)} rules rightly."
    if not any(passes.values()):
        return f"{said} It refuses every rule: run it on a right one and print what you compare."
    if refused:
        said += f"\n    It refuses a right rule: {refused[0]}. {hunt.refusal}"
    if passed and passed[0] == next(iter(hunt.wrong)):
        why = (hint for hides, hint in hunt.hidden if all(hides(*one) for one in inputs))
        seen = "Your inputs do show the mistake: compare something that it changes."
        said += f"\n    It lets the published rule pass: {passed[0]}.\n    {next(why, seen)}"
    elif passed:
        said += "\n    It catches the published rule, but lets its mistake pass in another guise: "
        said += f"{passed[0]}. {hunt.symptom}"
    return said


def _verdict(test: Rule, words: str, rule: Rule, seed: int, inputs: list[tuple[Any, ...]]) -> bool:
    """Does the test let the rule pass? Every input that it gives the rule is added to `inputs`."""
    asked = False

    def under_test(*arguments: Any, **named: Any) -> Any:
        nonlocal asked
        asked = True
        result = rule(*arguments, **named)
        inputs.append(tuple(inspect.signature(rule).bind(*arguments, **named).arguments.values()))
        return result

    state = np.random.get_state()  # noqa: NPY002  a test may draw from NumPy's global generator
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            answer = test(under_test)
    except AssertionError:
        answer = False
    except Exception as error:
        stopped = f"On {words} your test stopped with {type(error).__name__}: {error}."
        raise StoppedError(f"{stopped} Let it end in a verdict: an assert, or True or False.") from error
    finally:
        np.random.set_state(state)  # noqa: NPY002
    if not asked:
        if answer is ... or (answer is None and not does_something(test)):
            raise NotAttemptedError
        raise StoppedError("Your test gives a verdict without ever calling the rule.")
    if isinstance(answer, Tensor) and answer.dtype == torch.bool and answer.numel() == 1:
        answer = bool(answer)
    if answer is None:  # no assert complained
        return True
    if isinstance(answer, bool | np.bool_):
        return bool(answer)
    raise StoppedError(f"An assert, or True or False, is expected; your test returned {answer!r}.")


# --- suspect 1: labels


def boxed_labels(cost: Tensor) -> Pair:
    """h (n,) and g (m,): max mean h − mean g subject to h_j − g_i ≤ cost_ji, every one of them kept in [0, 1].

    `cost` is (n, m), reals by fakes.
    """
    n, m = cost.shape
    routes = np.hstack([np.kron(np.eye(n), np.ones((m, 1))), -np.kron(np.ones((n, 1)), np.eye(m))])
    gain = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    solved = linprog(-gain, A_ub=routes, b_ub=cost.detach().double().numpy().ravel(), bounds=(0, 1))
    h, g = np.split(solved.x, [n])
    return torch.from_numpy(h).to(cost.dtype), torch.from_numpy(g).to(cost.dtype)


def _corner(cost: Tensor) -> Pair:
    """Optimal potentials as the network simplex leaves them, centred."""
    import ot  # takes a second

    h, g = ot.solve(cost.detach().double()).potentials
    return _centred(h.to(cost.dtype), -g.to(cost.dtype))


def _centred(h: Tensor, g: Tensor) -> Pair:
    middle = torch.cat([h, g]).mean()
    return h - middle, g - middle


def _central(cost: Tensor) -> Pair:
    solved = potentials(cost)
    return solved.real, solved.fake


def _for_the_plan_alone(cost: Tensor) -> Pair:
    plan = potentials(cost).plan
    return _centred(cost.new_zeros(len(cost)), -(plan * cost).sum(0) * cost.shape[1])


def _box_is_wide(cost: Tensor) -> bool:
    h, g = boxed_labels(cost)
    return abs(float(h.mean() - g.mean() - potentials(cost).value)) < 1e-5


# --- suspects 2 to 5


def spread_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """½ mean (scores − labels)² with scores (m, 1) and labels (m,): every score minus every label."""
    return (scores - labels).square().mean() / 2


def _paired(scores: Tensor, labels: Tensor) -> Tensor:
    return (scores.flatten() - labels).square().mean() / 2


def _penalty(norm: Callable[[Tensor], Tensor]) -> Rule:
    """mean (‖gradient‖ − K ‖step‖)², of (m, channels, height, width) both."""
    return lambda gradient, step, K: (norm(gradient) - K * norm(step)).square().mean()


pixel_penalty = _penalty(lambda part: part.norm(dim=1))  # over the channels of each pixel
_whole = _penalty(lambda part: part.flatten(1).norm(dim=1))


def _pair(cost: float, slope: float) -> Rule:
    """What carrying fake x to real y costs, `cost` K ‖x − y‖², and the critic's slope that is asked for there."""
    return lambda fake, real, K: (cost * K * (fake - real).norm() ** 2, slope * K * (fake - real).norm())


cost_and_slope = _pair(2, 1)


def squared_gap(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """(mean D(y) − mean D(x))², which the generator minimises."""
    return (real_scores.mean() - fake_scores.mean()).square()


def _same(first: Rule, second: Rule) -> Rule:
    """Whether both rules give the same number for an input."""
    return lambda *given: torch.allclose(first(*given).double(), second(*given).double(), rtol=1e-4)


HUNTS = {
    "hunt-labels": Hunt(
        right={
            "potentials from the centre of the optimal face": _central,
            "a corner of the optimal face, as POT returns it": _corner,
            # Of the transposed problem: reals and fakes change places, and with them the signs.
            "another corner of the optimal face": lambda cost: tuple(-part for part in reversed(_corner(cost.T))),
        },
        wrong={
            "potentials boxed into [0, 1]": boxed_labels,
            "potentials boxed into [0, 1], centred afterwards": lambda cost: _centred(*boxed_labels(cost)),
            "half of the optimal potentials": lambda cost: tuple(part / 2 for part in _central(cost)),
            "the right income and prices that pay the plan, but routes beside it overcharged": _for_the_plan_alone,
            "the right income, but one price for all":
                lambda cost: _centred(potentials(cost).value.expand(len(cost)), cost.new_zeros(cost.shape[1])),
        },
        refusal="Optimal potentials are not unique. Demand what they have in common: what they obey, what they earn.",
        symptom="You look for a sign of the box, not for what it destroys. What must optimal potentials earn, and "
                "what must they obey?",
        hidden=[
            (_box_is_wide,
             "For every cost that you gave it, the box is wide enough and the rule is right. How large are the costs "
             "between two images?"),
        ],
    ),
    "hunt-pairs": Hunt(
        right={
            "scores flattened to (m,) first": _paired,
            "labels given the shape of the scores, in float64":
                lambda scores, labels: _paired(scores.double(), labels.double()),
        },
        wrong={"(m, 1) − (m,), every score minus every label": spread_loss},
        refusal="It computes ½ mean (D(x_i) − g_i)², up to rounding in the seventh digit.",
        symptom="",
        hidden=[
            (lambda scores, labels: scores.dim() == 1,
             "You give it scores of shape (m,). A network returns (m, 1): try that shape."),
            (lambda scores, labels: len(scores) == 1 or labels.std() < 1e-6,
             "Where all labels are equal, or the batch holds one sample, it does not matter which label goes where."),
            (_same(spread_loss, _paired),
             "For these scores and labels both rules give the same number by chance: choose others."),
        ],
    ),
    "hunt-norm": Hunt(
        right={
            "norms over the flattened sample": _whole,
            "norms over the flattened sample, with 1e-12 under the root for a derivative at 0":
                _penalty(lambda part: (part.flatten(1).square().sum(1) + 1e-12).sqrt()),
        },
        wrong={
            "norms over the channels, pixel by pixel": pixel_penalty,
            "norms over the pixels, channel by channel": _penalty(lambda part: part[..., None].flatten(2).norm(dim=2)),
            "the mean of ‖gradient‖², whatever the step and K":
                lambda gradient, step, K: gradient.flatten(1).square().sum(1).mean(),
        },
        refusal="It takes the norm over all values of a sample, as it should; mind rounding.",
        symptom="Choose a gradient that differs from pixel to pixel and from channel to channel, a step that is not 0, "
                "and a K that is not 1.",
        hidden=[
            (lambda gradient, *_: gradient[0].numel() == gradient.shape[1],
             "Each of your samples is one pixel: there, its channels are the whole sample."),
            (_same(pixel_penalty, _whole),
             "With these inputs both ways of taking the norm give the same penalty (a slope that is right at every "
             "pixel is right in sum, too). Choose a gradient whose norm you know, and another step."),
        ],
    ),
    "hunt-slope": Hunt(
        right={
            "cost K/2 ‖x − y‖² with slope K ‖x − y‖": _pair(0.5, 1),
            "cost 2K ‖x − y‖² with slope 4K ‖x − y‖": _pair(2, 4),
            "cost K ‖x − y‖² with slope 2K ‖x − y‖": _pair(1, 2),
            "cost K ‖x − y‖ with slope K":
                lambda fake, real, K: (K * (fake - real).norm(), torch.as_tensor(K, dtype=fake.dtype)),
        },
        wrong={
            "cost 2K ‖x − y‖² with slope K ‖x − y‖": cost_and_slope,
            "cost K/2 ‖x − y‖² with slope 4K ‖x − y‖": _pair(0.5, 4),
            "cost K ‖x − y‖² with slope K ‖x − y‖": _pair(1, 1),
        },
        refusal="This cost and this slope belong together. Do not demand one factor; demand that the two agree.",
        symptom="Do not look for one pair of factors; let the cost itself tell you its slope.",
        hidden=[
            (lambda fake, real, *_: torch.equal(fake, real),
             "Where fake and real are the same, cost and slope are both 0, whatever the factor."),
            (lambda *_: True,
             "Do not ask whether the slope is K‖x − y‖; ask whether it is the slope of this cost: at the optimum the "
             "critic rises as fast as the cost falls."),
        ],
    ),
    "hunt-generator": Hunt(
        right={
            "−mean D(x)": lambda real_scores, fake_scores: -fake_scores.mean(),
            "mean D(y) − mean D(x)": lambda real_scores, fake_scores: real_scores.mean() - fake_scores.mean(),
            "100 − mean D(x)": lambda real_scores, fake_scores: 100 - fake_scores.mean(),
        },
        wrong={
            "(mean D(y) − mean D(x))²": squared_gap,
            "|mean D(y) − mean D(x)|":
                lambda real_scores, fake_scores: squared_gap(real_scores, fake_scores).sqrt(),
        },
        refusal="A constant, or the scores of the reals, may be in the term. What the generator feels is its gradient.",
        symptom="The value is not what moves the fakes. Look at where its gradient sends them.",
        hidden=[
            (lambda real, fake: float(fake.detach().mean()) <= float(real.detach().mean()),
             "In all your batches the reals score higher than the fakes. They need not."),
        ],
    ),
}  # fmt: skip

for _name, _hunt in HUNTS.items():
    CHECKS[_name] = partial(judge, _hunt)
