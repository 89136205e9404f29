"""The letters, colours and words of the course, and what they mean: `python scripts/notation.py` writes
notebooks/NOTATION.md from them.

A test compares every formula of every notebook with this table: a letter that is not here, or in another colour, fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from otsr.course.plots import COLOURS
from otsr.images import atomic_path

PAGE = Path(__file__).resolve().parents[1] / "notebooks" / "NOTATION.md"


@dataclass(frozen=True)
class Symbol:
    """One letter with one meaning; or several letters, "A, B", with as many meanings, in the same order.

    Args:
        latex: the letter as formulas write it, without dollar signs and colour.
        meaning: in words.
        unit: unit, range or shape; may be empty.
        notebooks: numbers of the notebooks that use it so, "04 05"; the first introduces it.
        role: key of `otsr.course.plots.COLOURS` if the letter has a colour, else empty.
    """

    latex: str
    meaning: str
    unit: str
    notebooks: str
    role: str = ""

    @property
    def coloured(self) -> str:
        """Each letter between dollar signs of its own, in its colour."""
        colour = f"\\color{{{COLOURS[self.role]}}}" if self.role else ""
        return ", ".join(f"${colour}{{{letter}}}$" if colour else f"${letter}$" for letter in self.latex.split(", "))


COLOUR_WORDS = {
    "real": ("green", "real pictures, high resolution (HR), the target of a transport"),
    "LR": ("grey", "low resolution (LR): what the camera gives"),
    "generated": ("orange-red", "generated, super-resolved (SR), fake: the source of a transport"),
    "map": ("blue", "transport: the plan, the map, the place where they send a point"),
    "potential": ("reddish purple", "potentials: prices, and the critics that learn them"),
    "other": ("yellow-orange", "anything else"),
}

WORDS = {
    "HR, LR, SR": "high resolution; low resolution; super-resolved, the LR picture enlarged by a method",
    "kernel": "the spot that the camera makes of a point; it sums to 1 and lives on the HR grid",
    "grey level": "1/255 of the range from black to white",
    "plan, coupling": "how much goes from each source to each target",
    "potential, price": "one number a sample; together they prove that a plan is optimal",
    "critic": "a network that learned the potentials; the adversary of the generator",
    "generator": "a network that makes SR of LR (in notebook 02: that shrinks a photo)",
    "fidelity, distortion": "how near each picture is to its own truth: PSNR, mean squared error",
    "perception": "how near the population of pictures is to that of real ones",
    "OT weight": "0: fidelity alone; 1: transport as trained; between: a mixture",
}

GROUPS: dict[str, tuple[Symbol, ...]] = {
    "Pictures and the camera": (
        Symbol("x", "the sharp large picture (HR), or a patch of it", "(3, H, W), 0 to 1", "00 01 02 06 10 11", "real"),
        Symbol("y", "the small picture (LR) that the camera gives", "(3, H/s, W/s), 0 to 1", "00 01 02 03 06 10 11",
               "LR"),
        Symbol(r"\hat x", "an enlarged picture or patch (SR): a guess of $x$", "as $x$", "00 06"),
        Symbol("k", "blur kernel", "(k, k), sums to 1", "00 01 02"),
        Symbol("s", "scale: every $s$-th pixel is kept", "2 or 4", "00 01 02"),
        Symbol("n", "noise", "as $y$", "00 01 03 11"),
        Symbol(r"\bar n", "mean of a noise patch", "a number a channel", "03"),
        Symbol(r"\sigma", "standard deviation: of a blur, or of noise", "HR pixels, or grey levels",
               "01 06 08 09 10 11"),
        Symbol("v_k", "variance of the camera's blur", "HR pixels²", "02"),
        Symbol("v_b", "variance of the blur that the scene has of its own", "HR pixels²", "02"),
        Symbol("v'", "variance with which the photo is shrunk again", "pixels² of the photo", "02"),
        Symbol("C_i", "covariance of a kernel", "(2, 2), HR pixels²", "02"),
        Symbol("S", "covariance of the barycentre of kernels", "(2, 2), HR pixels²", "02"),
        Symbol("p", "a place in the picture", "pixels", "01 03"),
        Symbol("f", "frequency", "cycles per pixel", "01"),
        Symbol("Y", "brightness (luma, BT.601)", "16/255 to 235/255", "09"),
    ),
    "Noise": (
        Symbol("m", "mean brightness of a patch; $m_w$ of a window", "grey levels", "03"),
        Symbol("v", "variance of the brightness of a patch; $v_w$ of a window", "grey levels²", "03"),
        Symbol("w", "a window in a patch", "", "03"),
        Symbol("T", "integral image: sums of all pixels above and left", "", "03"),
        Symbol("t, b, l, r", "top, bottom, left, right of a box", "pixels", "03"),
        Symbol(r"\lambda_1, \lambda_2", "mean squared slope along, mean squared slope across", "", "03"),
        Symbol(r"\rho", "autocorrelation", "−1 to 1", "03"),
        Symbol("d", "a distance in the picture", "pixels", "03"),
        Symbol("N", "number of photons", "", "03"),
    ),
    "Transport": (
        Symbol("x", "a source: a place, or a generated sample", "(d,)", "04 05 10", "generated"),
        Symbol("y", "a target: a place, or a real sample", "(d,)", "04 05 10", "real"),
        Symbol("b", "mass at the sources", "sums to 1", "04", "generated"),
        Symbol("a", "mass wanted at the targets", "sums to 1", "04", "real"),
        Symbol("c", "cost of one unit from source $i$ to target $j$", "(n, m)", "04 05"),
        Symbol("P", "plan: mass from source $i$ (column) to target $j$ (row)", "(n, m)", "04", "map"),
        Symbol("T", "transport map: where each source goes", "", "04 05 06 10", "map"),
        Symbol(r"\hat y", "where the plan sends a source", "as $y$", "04 05", "map"),
        Symbol("u", "price of delivering at a target", "(n,), as cost", "04 05", "potential"),
        Symbol("v", "price of fetching at a source", "(m,), as cost", "04 05", "potential"),
        Symbol("h", "potential of a real sample, $h = u$", "(n,), as cost", "04 05", "potential"),
        Symbol("g", "potential of a generated sample, $g = -v$", "(m,), as cost", "04 05", "potential"),
        Symbol("f", "potential, a network of the max–min game", "as cost", "10", "potential"),
        Symbol(r"\varphi", "Brenier's convex function; the map is its gradient", "", "04"),
        Symbol("W_1", "Wasserstein distance for the cost distance", "unit of the samples", "03 06"),
        Symbol("W_2", "Wasserstein distance for the cost squared distance", "unit of the samples", "04 05 06 10 11"),
        Symbol(r"\varepsilon", "weight of entropy in Sinkhorn's problem", "as cost", "04"),
        Symbol(r"S_\varepsilon", "Sinkhorn divergence: 0 for equal histograms", "as cost", "04"),
        Symbol("p, q", "the population of guesses, the population of real pictures", "distributions", "06"),
    ),
    "Gaussians": (
        Symbol("A, B", "covariance of the source, covariance of the target", "(d, d)", "04 06 10 11"),
        Symbol("m_1, m_2", "mean of the source, mean of the target", "(d,)", "04"),
        Symbol("M", "matrix of a linear map between Gaussians", "(d, d)", "04"),
        Symbol("N", "covariance of the noise that the map needs besides", "(d, d)", "06"),
        Symbol(r"\mathcal N", "normal distribution", "", "04"),
        Symbol("N, I", "normal distribution, unit matrix", "", "05"),
        Symbol(r"\mu, \Sigma", r"mean, covariance; $\Sigma_{xy}$: of $x$ with $y$", "", "10"),
        Symbol(r"\mathbb E", "mean over a population", "", "06 10 11"),
    ),
    "Networks and their weighing": (
        Symbol("G", "generator; in KernelGAN it shrinks", "", "02", "generated"),
        Symbol("D", "critic", "one number a sample", "02 05 10"),
        Symbol("K", "factor of the cost in WGAN-QC, one over the size of a sample", "", "04 05 10"),
        Symbol(r"\gamma", "weight of the critic's slope in WGAN-QC", "", "05"),
        Symbol(r"\nabla", "gradient", "", "04 05 10"),
        Symbol("D", r"distortion: mean squared error; $D^*$ of the best guess", "squared brightness", "06 10 11"),
        Symbol("P", r"perception: distance $W_2$ to real patches; $P^*$ of the best guess", "brightness", "06 11"),
        Symbol("x^*", "the best guess of $x$ from $y$: the one with the least error", "as $x$", "06 10 11",
               "generated"),
        Symbol("x_0", "the best guess, carried to real patches", "as $x$", "06", "generated"),
        Symbol("t", "OT weight: the share of the way from fidelity to transport", "0 to 1", "06 08 10"),
        Symbol(r"\lambda", "weight of fidelity in a sum with transport", "", "06"),
        Symbol(r"\theta", "the weights of a network", "", "06 08"),
        Symbol("t", "time along a flow", "0 to 1", "10 11"),
        Symbol("z", "a place on the way of a flow", "as $x$", "11"),
        Symbol("r", "residual: what the best guess does not explain of $y$", "as $y$", "11"),
        Symbol("v", "velocity of a flow, a network", "unit of $x$", "10 11"),
        Symbol("B, C, h, w", "batch, channels, height, width of features", "", "07"),
        Symbol("y", "features of the real picture", "(B, C, h, w)", "07"),
        Symbol("h, w", "height, width of a window of the LR picture", "pixels", "08"),
    ),
    "Counting, statistics": (
        Symbol("i", "which one: a pixel, a value, a source", "", "00 01 02 04 05"),
        Symbol("j", "which one: a target, a real sample", "", "04 05"),
        Symbol("k", "which one: a real sample", "", "05"),
        Symbol("r", "the real sample where the roads start", "", "05"),
        Symbol("n", "how many; kernels (02), numbers (03), reals (05), throws (06), steps (07)", "", "02 03 05 06 07"),
        Symbol("m", "how many generated samples, or sources", "", "04 05"),
        Symbol("N", "how many values a picture has", "", "00"),
        Symbol("d", "how many values a sample has", "", "05 10"),
        Symbol("d", "a loss that is accepted", "decibels", "06"),
        Symbol("k", "how many; partners (03), heads (06); side of a window (07)", "", "03 06 07"),
        Symbol("x, y", "column, row", "pixels", "03"),
        Symbol(r"\tau", "Kendall's rank correlation", "−1 to 1", "09"),
        Symbol("t", "Student's $t$", "", "09"),
        Symbol("e", "2.718…", "", "04"),
        Symbol(r"\pi", "3.141…", "", "01"),
    ),
}  # fmt: skip


def page() -> str:
    """The notation page, Markdown that Jupyter and GitHub show."""
    lines = [
        "# Notation of the course",
        "",
        "Colours and words mean the same in every notebook, figure and formula. Letters are too few for that: the",
        "tables say which means what in which notebook. The first notebook named introduces the letter.",
        "",
        "## Colours",
        "",
        "| colour | means | code |",
        "|---|---|---|",
        *(f"| {word} | {meaning} | `{COLOURS[role]}` |" for role, (word, meaning) in COLOUR_WORDS.items()),
        "",
        "Chosen to differ for the colour-blind and in grey print (Okabe and Ito). Formulas use them too.",
        "",
        "## Letters",
    ]
    for group, symbols in GROUPS.items():
        lines += [
            "",
            f"### {group}",
            "",
            "| letter | means | unit, shape | colour | notebooks |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(symbol) for symbol in symbols]
    lines += ["", "### One letter, several meanings", "", *_several(), ""]
    lines += ["## Words", "", "| word | means |", "|---|---|"]
    lines += [f"| {word} | {meaning} |" for word, meaning in WORDS.items()]
    lines += ["", "Written by `scripts/notation.py`: change it there.", ""]
    return "\n".join(lines)


def _row(symbol: Symbol) -> str:
    colour = COLOUR_WORDS[symbol.role][0] if symbol.role else ""
    books = ", ".join(symbol.notebooks.split())
    return f"| {symbol.coloured} | {symbol.meaning} | {symbol.unit} | {colour} | {books} |"


def _several() -> list[str]:
    """A line for each letter that stands for more than one thing, its meanings in the order of the course."""
    meanings: dict[str, list[tuple[str, str]]] = {}
    for symbol in (symbol for symbols in GROUPS.values() for symbol in symbols):
        for letter, short in zip(symbol.latex.split(", "), re.split("[,:;] ?", symbol.meaning), strict=False):
            meanings.setdefault(letter, []).append((symbol.notebooks, short))
    return [
        f"- ${letter}$: " + "; ".join(f"{short} ({', '.join(books.split())})" for books, short in sorted(several))
        for letter, several in sorted(meanings.items())
        if len(several) > 1
    ]


if __name__ == "__main__":
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parents[1]))
