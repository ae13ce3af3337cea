"""docs/theory.md: each statement against numbers, and each number of the document computed again.

Populations are rows with weights, so that one solver, `fit`, does them all: a feature vector with the weight of its
label being +1 and of its being −1. Integrals over a Gaussian margin are Gauss–Legendre
sums over its absolute value.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit, log_expit
from support import ROOT

from mars.method import allocation
from mars.theory.bound import mixture_bound
from mars.theory.curvature import godambe, hessian_spectrum, span
from mars.theory.moments import moments

PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
SEEDS = st.integers(0, 2**32 - 1)

Law = Callable[[np.ndarray], np.ndarray]  # |m| → probability that the label agrees with the sign of m


def curvature_weight(m: np.ndarray | float) -> np.ndarray:
    """σ′"""
    return expit(m) * expit(-np.asarray(m))


def fit(u: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """[R, k] maximisers of Σ up·log σ(θᵀu) + down·log σ(−θᵀu); u: [N, k], up and down: [R, N]. Newton, with halving."""
    theta, total = np.zeros((len(up), u.shape[1])), up + down
    outer = (u[:, :, None] * u[:, None, :]).reshape(len(u), -1)
    m, value = np.zeros_like(up), np.full(len(up), -np.inf)
    for _ in range(60):
        s = expit(m)
        hessian = ((total * s * (1 - s)) @ outer).reshape(len(up), u.shape[1], -1)
        step = np.linalg.solve(hessian, ((up - total * s) @ u)[:, :, None])[:, :, 0]
        while True:
            m = (theta + step) @ u.T
            reached = (total * log_expit(m) - down * m).sum(axis=1)
            if not (worse := reached < value - 1e-9 * np.abs(value)).any():
                break
            step[worse] /= 2
        theta, value = theta + step, reached
        if np.abs(step).max() < 1e-9 * (1 + np.abs(theta).max()):
            return theta
    raise AssertionError("no solution")


def solution(u: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    return fit(u, up[None], down[None])[0]


def rows(seed: int, low: float = 0.1, high: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Differences [N, k] of no particular law, and a θ [k] whose largest margin is between low and high."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 6))
    u = rng.normal(size=(int(rng.integers(3 * k, 40)), k)) ** 3 + rng.normal(size=k)
    theta = rng.normal(size=k)
    return u, theta * rng.uniform(low, high) / np.abs(u @ theta).max(), rng


def least(left: np.ndarray, right: np.ndarray) -> float:
    """The smallest eigenvalue of left − right, relative to the largest of right."""
    return float(np.linalg.eigvalsh(left - right)[0] / np.linalg.eigvalsh(right)[-1])


def information(u: np.ndarray, theta: np.ndarray, w: np.ndarray) -> np.ndarray:
    """G with the expected squared gradients σ′ of T2."""
    a, c = (moments(u, u @ theta, weights).hessian for weights in (w, w**2))
    return a @ np.linalg.solve(c, a) / len(u)


def said(pattern: str) -> tuple[float, ...]:
    """The numbers that the groups of `pattern` find in the document."""
    (found,) = re.findall(pattern, TEXT)
    return tuple(float(number.replace("−", "-")) for number in ([found] if isinstance(found, str) else found))


def table(after: str) -> list[list[str]]:
    """The cells of the first table behind `after`, without its head."""
    lines = PAGE[PAGE.index(after) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    stop = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : stop]]


def test_every_test_the_document_names_is_here_and_named() -> None:
    here = {name for name in globals() if re.match(r"test_t\d", name)}
    assert set(re.findall(r"`(test_\w+)`", PAGE)) == here


# T1


@settings(deadline=None)
@given(SEEDS)
def test_t1_bound_holds_for_any_rows(seed: int) -> None:
    data, theta, rng = rows(seed, high=8)
    drawn = rng.normal(size=(30, len(theta))) * rng.uniform(0.1, 3)
    bound = mixture_bound((data, data @ theta), (drawn, drawn @ theta), share := rng.random())
    ratio = curvature_weight(bound.low) / curvature_weight(bound.high)
    assert bound.factor == pytest.approx(1 + share * (bound.kappa * ratio - 1))
    assert bound.truth >= bound.factor - 1e-8
    assert bound.gains == (bound.factor > 1)


@settings(deadline=None)
@given(SEEDS)
def test_t1_separation_forces_kappa_below_one(seed: int) -> None:
    data, theta, rng = rows(seed, high=8)
    data = data[np.argsort(-np.abs(data @ theta))][: 2 * len(theta)]
    drawn = rng.normal(size=(30, len(theta)))
    drawn *= rng.uniform(0, 1.2) * np.abs(data @ theta).min() / np.abs(drawn @ theta).max()
    bound = mixture_bound((data, data @ theta), (drawn, drawn @ theta), 0.5)
    assert bound.kappa <= np.square(drawn @ theta).mean() / np.square(data @ theta).mean() * (1 + 1e-9)
    if bound.separated:
        assert bound.kappa <= (bound.low / bound.high) ** 2 * (1 + 1e-9) < 1
        if bound.high <= peak():
            assert not bound.gains


def peak() -> float:
    """m°, where m²σ′(m) is largest."""
    return float(brentq(lambda m: m * np.tanh(m / 2) - 2, 1, 4))


@settings(deadline=None)
@given(SEEDS)
def test_t1_copies_certify_no_gain(seed: int) -> None:
    data, theta, rng = rows(seed, high=8)
    margins = data @ theta
    q = allocation.probabilities(margins, rng.uniform(0, 4), "absolute")
    budgets = allocation.largest_remainder(q, int(rng.integers(1, 100)), rng)
    bound = mixture_bound((data, margins), (np.repeat(data, budgets, axis=0), np.repeat(margins, budgets)), 0.5)
    assert not bound.separated
    assert bound.kappa <= 1 + 1e-9
    assert bound.factor <= 1 + 1e-9
    if np.abs(margins).max() <= peak():
        assert bound.truth <= 1 + 1e-9


def test_t1_by_hand() -> None:
    for scale, low, ratio, factor in ((9, 9, 1681 / 900, 2581 / 1800), (3, 3, 25 / 48, 73 / 96)):
        data, drawn = np.array([[2.0, 2], [2, -2]]), np.array([[1.0, 1], [1, -1]])
        theta = np.array([np.log(scale), 0])
        bound = mixture_bound((data, data @ theta), (drawn, drawn @ theta), 0.5)
        assert (bound.low, bound.high, bound.kappa) == pytest.approx((np.log(low), np.log(low**2), 1 / 4))
        assert 2 * bound.factor - 1 == pytest.approx(ratio)
        assert (bound.factor, bound.truth) == pytest.approx((factor, factor))
        assert bound.separated
        assert bound.gains == (scale == 9)
    for fraction in ("9/100", "81/6724", "is 2581/1800", "ratio is 25/48", "factor 73/96", "= 1681/900"):
        assert fraction in TEXT
    m = np.linspace(0, 12, 100_001)
    assert m[np.argmax(m**2 * curvature_weight(m))] == pytest.approx(*said(r"m° ≈ ([\d.]+),"), abs=6e-4)
    data, first = np.array([[1.0], [6.0]]), np.array([[1.0]])
    bound = mixture_bound((data, data[:, 0]), (first, first[:, 0]), 0.5)
    assert (bound.truth, bound.factor) == pytest.approx(
        said(r"H_mix/H_D = ([\d.]+) beside a factor of ([\d.]+)\."), abs=5e-3
    )


# T2


@settings(deadline=None)
@given(SEEDS)
def test_t2_no_weights_beat_equal_ones(seed: int) -> None:
    u, theta, rng = rows(seed)
    for w in (rng.random(len(u)) ** 3 + 1e-3, np.exp(-2 * np.abs(u @ theta)), 1.0 + rng.poisson(2, len(u))):
        assert least(information(u, theta, np.ones(len(u))), information(u, theta, w)) >= -1e-9


@settings(deadline=None)
@given(SEEDS)
def test_t2_equality_needs_separate_subspaces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(5, 5)) + 3 * np.eye(5)  # the subspaces are not orthogonal
    u = np.concatenate([rng.normal(size=(20, 2)) @ basis[:2], rng.normal(size=(20, 3)) @ basis[2:]])
    theta = rng.normal(size=5) / 5
    w, equal = np.repeat([1.0, 4.0], 20), np.ones(40)
    best = information(u, theta, equal)
    assert information(u, theta, w) == pytest.approx(best, rel=1e-8, abs=1e-8 * np.abs(best).max())
    w[0] = 2
    assert np.linalg.eigvalsh(best - information(u, theta, w))[-1] > 1e-7 * np.linalg.eigvalsh(best)[-1]


def test_t2_covariance_of_the_weighted_estimator() -> None:
    """Under a scorer that is fixed and wrong, and under one fitted to the same labels (T2d)."""
    rng = np.random.default_rng(0)
    draws, truth, scorer = 1000, np.array([1.0, -0.7, 0.4]), np.array([0.6, 0.8, -1.0])
    u = rng.exponential(size=(1000, 3)) - 0.7
    up = (rng.random((draws, len(u))) < expit(u @ truth)).astype(float)
    equal = fit(u, up, 1 - up)
    for margins, at in ((u @ scorer, scorer), (equal @ u.T, truth)):
        w = np.exp(-2 * np.abs(margins))
        errors = fit(u, w * up, w * (1 - up)) - truth
        ideal = np.exp(-2 * np.abs(u @ at))
        a, c = (moments(u, u @ truth, weights).hessian for weights in (ideal, ideal**2))
        stated = np.linalg.solve(a, np.linalg.solve(a, c).T)
        assert np.abs(errors.mean(axis=0) / np.sqrt(stated.diagonal() / draws)).max() < 4 + 0.1 * np.sqrt(draws)
        noise = np.sqrt((np.outer(stated.diagonal(), stated.diagonal()) + stated**2) / draws)
        assert (np.abs(np.cov(errors.T) - stated) < 4 * noise + 0.03 * np.abs(stated)).all()
        assert least(stated, np.linalg.inv(moments(u, u @ truth).hessian)) > 0
        assert (np.cov(errors.T).diagonal() > 1.1 * np.cov(equal.T).diagonal()).all()


def test_t2_random_budgets_only_add_variance() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(size=(200, 1))
    up = (rng.random((5000, 200)) < expit(u[:, 0])).astype(float)
    w = 1.0 + rng.multinomial(400, np.full(200, 1 / 200), size=5000)
    assert np.mean(w) ** 2 / np.mean(w**2) == pytest.approx(9 / 11, rel=2e-3)
    random, equal = fit(u, w * up, w * (1 - up)).var(), fit(u, up, 1 - up).var()
    assert equal / random == pytest.approx(9 / 11, rel=0.04)
    assert "= 9/11 of the information" in TEXT


@settings(deadline=None)
@given(SEEDS)
def test_t2_curvature_per_coverage_rises_in_every_direction(seed: int) -> None:
    u, theta, rng = rows(seed, high=8)
    w = np.exp(-rng.uniform(0, 4) * np.abs(u @ theta))
    a = rng.normal(size=(50, len(theta)))
    steered, equal = moments(u, u @ theta, w), moments(u, u @ theta)

    def along(matrix: np.ndarray) -> np.ndarray:
        return np.einsum("ni,ij,nj->n", a, matrix, a)

    assert (
        along(steered.hessian) / along(steered.coverage) >= along(equal.hessian) / along(equal.coverage) - 1e-9
    ).all()
    if np.abs(u @ theta).max() <= peak():  # T1e
        assert theta @ steered.hessian @ theta / w.sum() <= theta @ equal.hessian @ theta / len(u) * (1 + 1e-9)


def test_t2_gaussian_curvature_off_and_along_theta() -> None:
    def gains(sd: float) -> tuple[float, float]:
        m = sd * Z
        w = both(np.exp(-2 * m))
        off, along = curvature_weight(m), m**2 * curvature_weight(m)
        return E(w * off) / E(w) / E(off), E(w * along) / E(w) / E(along)

    assert gains(2.84) == pytest.approx(said(r"B = 2N they are ([\d.]+) and ([\d.]+):"), abs=5e-3)
    assert brentq(lambda sd: gains(sd)[1] - 1, 5, 30) == pytest.approx(
        *said(r"only from an sd of ([\d.]+)\."), abs=0.05
    )
    rng = np.random.default_rng(0)
    off, along = gains(2.84)
    (dimensions,) = said(r"log-determinant rises from (\d) dimensions on")
    assert np.log(off) * (dimensions - 2) + np.log(along) < 0 < np.log(off) * (dimensions - 1) + np.log(along)
    root = rng.normal(size=(3, 3))
    u = rng.normal(size=(400_000, 3)) @ root.T
    theta = rng.normal(size=3)
    theta *= 2.84 / np.sqrt(theta @ root @ root.T @ theta)
    w = both(np.exp(-2 * np.abs(u @ theta)), np.mean)
    equal, steered = moments(u, u @ theta), moments(u, u @ theta, w)
    values = np.linalg.eigvals(np.linalg.solve(equal.hessian / len(u), steered.hessian / w.sum()))
    assert np.sort(values.real) == pytest.approx([along, off, off], rel=0.01)


# T3


def tilted(
    u: np.ndarray, truth: np.ndarray, w: Callable[[np.ndarray], np.ndarray], scorer: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the labels +1 and −1 of a Bradley–Terry population under label-dependent weights."""
    return expit(u @ truth) * w(u @ scorer), expit(-u @ truth) * w(-u @ scorer)


@settings(deadline=None)
@given(SEEDS)
def test_t3_bias_of_the_estimating_equation(seed: int) -> None:
    u, truth, rng = rows(seed)
    scorer, tau = truth * rng.uniform(0.2, 2), rng.uniform(0.1, 2)
    up, down = tilted(u, truth, lambda m: np.exp(-tau * m), scorer)
    m = u @ truth
    b = (up * expit(-m) - down * expit(m)) @ u
    assert b == pytest.approx(-2 * (curvature_weight(m) * np.sinh(tau * (u @ scorer))) @ u)
    assert b @ truth < 0
    moved = solution(u, up, down) - truth
    assert b @ moved > 0
    a = (u.T * ((up + down) * curvature_weight(m))) @ u
    assert np.linalg.solve(a, b) @ a @ truth < 0
    assert solution(m[:, None], up, down)[0] < 1  # the best multiple of θ⋆


@settings(deadline=None)
@given(SEEDS)
def test_t3_exponential_weights_subtract_the_scorer(seed: int) -> None:
    u, truth, rng = rows(seed)
    scorer = rng.normal(size=len(truth))
    scorer *= rng.uniform(0, 2) / np.abs(u @ scorer).max()
    tau = rng.uniform(-2, 2)
    moved = solution(u, *tilted(u, truth, lambda m: np.exp(-tau * m), scorer))
    assert np.abs(u @ (moved - (truth - 2 * tau * scorer))).max() < 1e-6


def test_t3_fitted_estimator_is_displaced() -> None:
    rng = np.random.default_rng(0)
    truth, scorer, tau = np.array([1.0, -0.5]), np.array([0.9, 0.6]), 0.3
    u = rng.exponential(size=(200_000, 2)) - 0.5
    y = np.where(rng.random(len(u)) < expit(u @ truth), 1.0, -1.0)
    delta = u * y[:, None]
    w = np.exp(-tau * delta @ scorer)
    w /= w.sum()  # softmax
    fitted = solution(delta, w, np.zeros_like(w))
    m = moments(delta, delta @ fitted, w)
    se = np.sqrt(np.linalg.inv(godambe(m, span(m.coverage)) * len(u)).diagonal())
    assert np.abs((fitted - (truth - 2 * tau * scorer)) / se).max() < 4
    assert np.abs((fitted - truth) / se).min() > 20


def test_t3_first_order_displacement() -> None:
    """With base rows beside the drawn: the error of A⁻¹b falls with the square of b."""
    u, truth, rng = rows(5)
    scorer = rng.normal(size=len(truth)) / 10
    errors = []
    for tau in (0.4, 0.2, 0.1):
        up, down = tilted(u, truth, lambda m, tau=tau: 1 + 2 * np.exp(-tau * m), scorer)
        m = u @ truth
        b = -2 * 2 * (curvature_weight(m) * np.sinh(tau * (u @ scorer))) @ u
        step = np.linalg.solve((u.T * ((up + down) * curvature_weight(m))) @ u, b)
        moved = solution(u, up, down) - truth
        errors.append(np.linalg.norm(moved - step) / np.linalg.norm(step))
    assert errors[0] < 0.2
    assert errors[1] / errors[0] < 0.7
    assert errors[2] / errors[1] < 0.7


TRUTH = np.array([0.5, 1.0])
SKEW = np.array([[1.5, 0.0], [0.6, 0.5]])


def ellipse(radii: np.ndarray, root: np.ndarray = SKEW, theta: np.ndarray = TRUTH) -> np.ndarray:
    """Elliptical features in the plane, root·z of spherical z: every angle with every radius.

    Angles stand evenly about the line θᵀu = 0, so that labels which jump there are integrated to second order.
    """
    angle = (np.arange(1440) + 0.5) * np.pi / 720 + np.arctan2(*(theta @ root)[::-1])
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (radii[:, None, None] * circle).reshape(-1, 2) @ root.T


def turn(found: np.ndarray, truth: np.ndarray) -> float:
    """Degrees between two vectors of the plane, anticlockwise from `truth`."""
    return float(np.degrees(np.arctan2(truth[0] * found[1] - truth[1] * found[0], truth @ found)))


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_t3_elliptical_features_keep_the_direction(tau: float) -> None:
    u = ellipse(np.linspace(0.2, 2, 10))
    moved = solution(u, *tilted(u, TRUTH, lambda m: 1 + 2 * np.exp(-tau * m), 0.7 * TRUTH))
    assert abs(np.sin(np.radians(turn(moved, TRUTH)))) < 1e-6
    assert moved @ TRUTH < TRUTH @ TRUTH
    assert (moved @ TRUTH < 0) == (tau == 2)


def test_t3_a_case_that_turns() -> None:
    u, truth = np.eye(2), np.array([1.0, 3.0])
    up, down = tilted(u, truth, lambda m: np.exp(-2 * m), truth)
    c = 2 / ((up + down).mean())
    moved = solution(u, *tilted(u, truth, lambda m: 1 + c * np.exp(-2 * m), truth))
    assert moved == pytest.approx(said(r"solution is \(([\d.]+), (−[\d.]+)\);"), abs=5e-3)
    assert moved[0] > 0 > moved[1]


@pytest.mark.parametrize(("tau", "settles"), [(0.3, True), (-0.3, True), (0.6, False)])
def test_t3_the_loop(tau: float, settles: bool) -> None:
    u, truth, _ = rows(7, low=0.5, high=0.6)
    scorer, far = np.zeros_like(truth), []
    for _ in range(14):
        scorer = solution(u, *tilted(u, truth, lambda m, scorer=scorer: np.exp(-tau * m), scorer))
        far.append(np.linalg.norm(scorer - truth / (1 + 2 * tau)))
    assert np.array(far[1:]) / far[:-1] == pytest.approx(2 * abs(tau), rel=1e-3)
    assert (far[-1] < 0.01 * far[0]) == settles


# T4: Z is |m| / ς of a Gaussian margin, E its mean

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)
Z = 9 * ((_NODES + 1) / 2) ** 2  # dense near 0, where steered weights live
_DENSITY = 2 * np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) * 9 * (_NODES + 1) / 2 * _WEIGHTS
TAUS = (0.5, 1, 2, 4, 8)


def E(values: np.ndarray) -> float:
    return float((values * _DENSITY).sum())


def both(w: np.ndarray, mean: Callable[[np.ndarray], float] = E) -> np.ndarray:
    """Weights of base rows with B = 2N copies drawn in proportion to w."""
    return 1 + 2 * w / mean(w)


def alone(w: np.ndarray) -> np.ndarray:
    return w


def law(bradley_terry: float | None, flips: float) -> Law:
    """bradley_terry: sd of βm, None where the label is the sign of m; on top of it a share of flips."""

    def agrees(z: np.ndarray) -> np.ndarray:
        p = np.ones_like(z) if bradley_terry is None else expit(bradley_terry * z)
        return (1 - flips) * p + flips * (1 - p)

    return agrees


def scale(p: np.ndarray, w: np.ndarray) -> float:
    """tς, the root of the one-dimensional population equation."""
    return float(brentq(lambda t: E(w * Z * (p - expit(t * Z))), 0, 500, xtol=1e-12))


def across(p: np.ndarray, w: np.ndarray, extra: float = 0.0) -> float:
    """V⊥ of weights w; extra: the variance of random budgets."""
    t = scale(p, w)
    s = p * expit(-t * Z) ** 2 + (1 - p) * expit(t * Z) ** 2
    return E((w**2 + extra) * s) / E(w * curvature_weight(t * Z)) ** 2


def variance(p: np.ndarray, w: np.ndarray, extra: float = 0.0) -> float:
    """V, N times the mean square tangent of the angle to θ⋆ per direction."""
    return across(p, w, extra) / scale(p, w) ** 2


def ratio(p: np.ndarray, tau: float, kind: Callable[[np.ndarray], np.ndarray], what: Callable = variance) -> float:
    """what(τ) / what(0), the scorer being the solution without steering."""
    equal = np.ones_like(Z)
    return what(p, kind(np.exp(-tau * scale(p, equal) * Z))) / what(p, equal)


def described(labels: str, sd: str) -> np.ndarray:
    """p(|m|) of a row of the document's tables."""
    flips = re.search(r"(\d+) % flips", labels)
    return law(float(sd) if "Bradley–Terry" in labels else None, int(flips[1]) / 100 if flips else 0)(Z)


@pytest.mark.parametrize("tau", [0.1, 0.4, 0.5, 2.0])
def test_t4_influence_redescends(tau: float) -> None:
    m = np.linspace(0, 60, 60_001)
    pull = np.exp(-tau * m) * expit(m)
    top = m[np.argmax(pull)]
    assert top == pytest.approx(max(0.0, np.log((1 - tau) / tau)) if tau < 0.5 else 0, abs=1e-3)
    assert (np.diff(pull[m >= top]) < 0).all()
    assert pull[-1] < 0.01 * pull.max()
    assert (np.diff(expit(m)) >= 0).all()
    assert np.exp(-tau * m) * expit(m) / (np.exp(-tau * m) * expit(-m)) == pytest.approx(np.exp(m))  # flip : correct


@pytest.mark.parametrize("flips", [0.1, 0.25])
def test_t4_solution_is_parallel_for_elliptical_features(flips: float) -> None:
    u = ellipse(np.linspace(0.2, 2, 10))
    agrees = np.where(u @ TRUTH > 0, 1 - flips, flips)
    w = np.exp(-2 * np.abs(u @ TRUTH))
    found = solution(u, w * agrees, w * (1 - agrees))
    assert abs(turn(found, TRUTH)) < 1e-3
    t, m = found @ TRUTH / (TRUTH @ TRUTH), np.abs(u @ TRUTH)
    assert np.mean(w * m * (1 - flips - expit(t * m))) == pytest.approx(0, abs=1e-5)


def test_t4_other_scorers_turn_it() -> None:
    radii = np.arange(0.02, 6, 0.04)
    truth, off = np.array([1.0, 0.0]), np.radians(15)
    u = ellipse(radii, np.eye(2), truth)
    mass = np.repeat(radii * np.exp(-(radii**2) / 2), 1440)
    mass /= mass.sum()
    w = mass * np.exp(-2 * np.abs(u @ [np.cos(off), np.sin(off)]))
    flipped = np.where(u @ truth > 0, 0.75, 0.25)
    angle, side = turn(solution(u, w * flipped, w * (1 - flipped)), truth), -1
    assert angle * side == pytest.approx(*said(r"solution is ([\d.]+)° from θ⋆, on the other side"), abs=0.05)
    modelled = expit(u @ truth)
    assert abs(turn(solution(u, w * modelled, w * (1 - modelled)), truth)) < 1e-6


@pytest.mark.parametrize(("head", "kind"), [("Base rows and B = 2N copies", both), ("Copies alone", alone)])
def test_t4_tables(head: str, kind: Callable[[np.ndarray], np.ndarray]) -> None:
    grid = np.exp(np.linspace(np.log(0.05), np.log(60), 60))
    cells = table(head)
    assert len(cells) == 7
    for labels, sd, sd_scorer, *ratios, below in cells:
        p = described(labels, sd)
        assert float(sd_scorer) == pytest.approx(scale(p, np.ones_like(Z)), abs=5e-3)
        assert [float(r) for r in ratios] == pytest.approx([ratio(p, tau, kind) for tau in TAUS], abs=5.1e-3), labels
        under = np.array([ratio(p, tau, kind) < 1 for tau in grid])
        if below == "no τ":
            assert not under.any()
            assert "flips" not in labels
        elif below == "every τ ≤ 60":
            assert under.all()
        else:
            last = float(below.removeprefix("τ < "))
            clear = np.abs(grid - last) > 0.06
            assert (under == (grid < last))[clear].all()
            assert ratio(p, last - 0.06, kind) < 1 < ratio(p, last + 0.06, kind)


def test_t4_scale_and_variance() -> None:
    p, equal = law(None, 0.25)(Z), np.ones_like(Z)
    steered = both(np.exp(-2 * scale(p, equal) * Z))
    longer = scale(p, steered) / scale(p, equal)
    stated = said(r"it is ([\d.]+) times as large, but t is ([\d.]+) times as large, and [\d./²]+ = ([\d.]+)\)")
    assert (ratio(p, 2, both, across), longer, ratio(p, 2, both)) == pytest.approx(stated, abs=5e-3)
    for labels, sd, *_ in table("Copies alone"):
        p = described(labels, sd)
        for tau in TAUS:
            assert min(ratio(p, tau, kind, across) for kind in (both, alone)) > 1
            if "flips" not in labels:
                assert scale(p, both(np.exp(-tau * Z))) == pytest.approx(float(sd))


@pytest.mark.parametrize(("sd", "flips", "wins"), [(2.84, 0.0, False), (None, 0.25, True)])
def test_t4_both_signs_in_simulation(sd: float | None, flips: float, wins: bool) -> None:
    """The angle to θ⋆ of estimators fitted to drawn labels, features drawn anew each time, against V."""
    rng = np.random.default_rng(1)
    n, k, p = 1500, 4, law(sd, flips)
    own, equal = scale(p(Z), np.ones_like(Z)), np.ones(n)
    squares = np.empty((400, 2))
    for square in squares:
        u = rng.normal(size=(n, k))
        m = np.abs(u[:, 0])
        up = (np.sign(u[:, 0]) * np.where(rng.random(n) < p(m), 1, -1) > 0).astype(float)
        w = np.stack([equal, both(np.exp(-2 * own * m), np.mean)])
        theta = fit(u, w * up, w * (1 - up))
        square[:] = np.square(theta[:, 1:]).sum(axis=1) / theta[:, 0] ** 2
    steered = both(np.exp(-2 * own * Z))
    assert n * squares.mean(axis=0) / (k - 1) == pytest.approx(
        [variance(p(Z), np.ones_like(Z)), variance(p(Z), steered)], rel=0.12
    )
    difference = squares[:, 1] - squares[:, 0]
    t = difference.mean() / (difference.std() / np.sqrt(len(difference)))
    assert (t < -5) if wins else (t > 5)


def test_t4_falls_like_one_over_tau() -> None:
    p = law(None, 0.25)(Z)
    assert ratio(p, 80, alone) / ratio(p, 40, alone) == pytest.approx(0.5, rel=0.03)
    noisy = law(2.84, 0.25)(Z)
    assert ratio(noisy, 80, alone) / ratio(noisy, 40, alone) == pytest.approx(2, rel=0.05)


# T5


@settings(deadline=None)
@given(SEEDS, st.integers(2, 7))
def test_t5_equal_copies_change_nothing(seed: int, copies: int) -> None:
    u, theta, _ = rows(seed)
    parents = np.arange(len(u))
    once, often = (
        moments(*(np.repeat(x, c, axis=0) for x in (u, u @ theta)), parents=np.repeat(parents, c)) for c in (1, copies)
    )
    space = span(once.coverage)
    assert hessian_spectrum(often, space).values == pytest.approx(hessian_spectrum(once, space).values, rel=1e-6)
    kept = godambe(once, space)
    assert godambe(often, space) == pytest.approx(kept, rel=1e-6, abs=1e-9 * np.abs(kept).max())


def test_t5_example() -> None:
    u, theta = np.array([[1.0], [6.0]]), np.array([1.0])

    def summary(*w: float) -> tuple[float, float, float]:
        m = moments(u, u @ theta, np.array(w))
        score = np.square(np.array(w) * expit(-u[:, 0]) * u[:, 0]).sum()
        return m.hessian.item() / m.weight, information(u, theta, np.array(w)).item(), m.hessian.item() ** 2 / score / 2

    (h, g, sample), steered, easy = summary(1, 1), summary(3, 1), summary(1, 3)
    stated = said(r"H rises from ([\d.]+) to ([\d.]+), G falls from ([\d.]+) to ([\d.]+)\.")
    assert (h, steered[0], g, steered[1]) == pytest.approx(stated, abs=5e-4)
    assert (sample, easy[2]) == pytest.approx(said(r"sample G from ([\d.]+) to ([\d.]+),"), abs=5e-3)
    assert easy[1] < g


# Beside a simulation

SDS = np.linspace(1.4, 0.4, 64)


def simulated(p: Law, tau: float = 0, score: allocation.Score = "absolute", seeds: int = 8) -> np.ndarray:
    """[seeds] accuracy against gold of the document's simulation, all seeds at once; tau = 0 draws rows at random."""
    rng, n, (b1, b2) = np.random.default_rng(3), 1000, (0.9, 0.999)
    w = rng.normal(size=(seeds, 64, 1))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    u = rng.normal(size=(seeds, n, 64)) * SDS
    gold = u @ w
    sd = np.sqrt(np.square(SDS[:, None] * w).sum(axis=1, keepdims=True))  # p is a function of |m| / ς
    pairs = u * np.sign(gold) * np.where(rng.random(gold.shape) < p(np.abs(gold) / sd), 1, -1)
    theta = rng.normal(size=(seeds, 64, 1)) * 0.02
    for _ in range(5):
        drawn = []
        for own, margins in zip(pairs, (pairs @ theta)[..., 0], strict=True):
            q = allocation.probabilities(margins, tau, score)
            b = allocation.largest_remainder(q, 2 * n, rng) if tau else rng.multinomial(2 * n, q)
            drawn.append(np.repeat(own, b, axis=0))
        copies = np.stack(drawn) + 0.3 * SDS * rng.normal(size=(seeds, 2 * n, 64))
        rows_ = np.concatenate([pairs, copies], axis=1)[:, rng.permutation(3 * n)]
        first, second = np.zeros_like(theta), np.zeros_like(theta)
        for step in range(1, 48):
            x = rows_[:, 64 * (step - 1) : 64 * step]
            gradient = -(x.transpose(0, 2, 1) @ expit(-(x @ theta))) / x.shape[1]
            first, second = b1 * first + (1 - b1) * gradient, b2 * second + (1 - b2) * gradient**2
            theta = theta - 5e-3 * (first / (1 - b1**step)) / (np.sqrt(second / (1 - b2**step)) + 1e-8)
    test = rng.normal(size=(10_000, 64)) * SDS
    return ((test @ theta > 0) == (test @ w > 0)).mean(axis=(1, 2))


def predicted(p: np.ndarray, w: np.ndarray, extra: float = 0.0) -> float:
    return 1 - np.arctan(np.sqrt(63 * variance(p, w, extra) / 1000)) / np.pi


@pytest.mark.parametrize("cells", table("## Beside a simulation"), ids=lambda cells: cells[0])
def test_the_simulation_beside(cells: list[str]) -> None:
    labels, uniform, uniform_simulated, absolute, absolute_simulated, difference, difference_simulated = cells
    beta = re.search(r"β = ([\d.]+)", labels)
    sd = 3 * np.sqrt(np.square(SDS).mean())
    assert f"{sd:.2f}" == "2.84"
    flips = re.search(r"(\d+) % flips", labels)
    agrees = law(float(beta[1]) * sd if beta else None, int(flips[1]) / 100 if flips else 0)
    p, equal = agrees(Z), np.ones_like(Z)
    stated, once = (float(x) for x in uniform.split(" / "))
    assert (stated, once) == pytest.approx((predicted(p, equal), predicted(p, 3 * equal, extra=2)), abs=6e-4)
    steered = predicted(p, both(np.exp(-2 * scale(p, equal) * Z)))
    assert float(absolute) == pytest.approx(steered, abs=6e-4)
    gaps = [float(x.replace("−", "-")) for x in difference.split(" / ")]
    assert gaps == pytest.approx([steered - predicted(p, equal), steered - once], abs=1.1e-3)
    shown, half = re.fullmatch(r"([−+][\d.]+) \(([\d.]+)\)", difference_simulated).groups()
    gap = float(shown.replace("−", "-"))
    assert gap == pytest.approx(float(absolute_simulated) - float(uniform_simulated), abs=1.1e-3)
    signed = np.exp(-2 * scale(p, equal) * Z)
    mean = E(p * signed + (1 - p) / signed)
    agree, differ = 1 + 2 * signed / mean, 1 + 2 / signed / mean  # weights of the two labels
    assert E(Z * (p * agree - (1 - p) * differ)) < 0  # the score at 0: the ranking is reversed
    assert np.sign(gap) == np.sign(gaps[0]) == np.sign(gaps[1])
    assert min(gaps) - float(half) <= gap <= max(gaps) + float(half)
    runs = [simulated(agrees, tau) for tau in (0, 2)]
    assert runs[0].mean() == pytest.approx(float(uniform_simulated), abs=0.02)
    assert (runs[1] - runs[0]).mean() == pytest.approx(gap, abs=2 * float(half))


def test_the_simulation_beside_signed() -> None:
    sd = 3 * np.sqrt(np.square(SDS).mean())
    laws = (law(0.5 * sd, 0), law(sd, 0), law(None, 0.1), law(None, 0.25), law(None, 0))
    lost = said(r"\(by ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+) here and ([\d.]+) clean\)")
    (most,) = said(r"stays within ([\d.]+) of uniform")
    for agrees, loss in zip(laws, lost, strict=True):
        uniform, signed, easy = (simulated(agrees, tau, "signed", seeds=4).mean() for tau in (0, 2, -2))
        assert uniform - signed == pytest.approx(loss, abs=0.06)
        assert signed < uniform
        assert easy == pytest.approx(uniform, abs=most + 0.02)
