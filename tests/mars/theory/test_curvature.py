"""H is autograd's Hessian, G what a bootstrap over labels finds, both stream; the paper's bound holds and is tight."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mars.theory.bound import mixture_bound
from mars.theory.curvature import Span, godambe, godambe_spectrum, hessian_spectrum, span
from mars.theory.moments import Accumulator, curvature_weight, grouped, joined, moments

untimed = settings(deadline=None)


def rows(seed, count, d, labels):
    """Differences, margins, weights and parents of `count` rows; a tenth of them of weight 0, parents in any order."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(size=(count, d))
    weights = rng.uniform(0.2, 3, count) * (rng.random(count) > 0.1)
    weights[0] = 1.0
    return differences, differences @ rng.normal(size=d), weights, rng.integers(0, labels, count)


def everywhere(d):
    return Span(np.eye(d))


def dense(differences, margins, weights, parents):
    """A, C and the labels, one row after another, as they are defined."""
    d = differences.shape[1]
    hessian, gradients = np.zeros((d, d)), {}
    for delta, margin, weight, parent in zip(differences, margins, weights, parents, strict=True):
        if weight:
            p = 1 / (1 + np.exp(-margin))
            hessian += weight * p * (1 - p) * np.outer(delta, delta)
            gradients[parent] = gradients.get(parent, np.zeros(d)) - weight * (1 - p) * delta
    return hessian, np.cov(list(gradients.values()), rowvar=False, ddof=0) * len(gradients), len(gradients)


@pytest.mark.parametrize("d", [1, 7])
def test_the_average_hessian_is_autograds_of_the_weighted_mean_loss(d):
    differences, _, weights, _ = rows(3, 50, d, 50)
    theta = torch.from_numpy(np.random.default_rng(1).normal(size=d))

    def loss(at):
        each = torch.nn.functional.softplus(-(torch.from_numpy(differences) @ at))
        return (torch.from_numpy(weights) * each).sum() / weights.sum()

    found = moments(differences, differences @ theta.numpy(), weights)
    expected = torch.autograd.functional.hessian(loss, theta).numpy()
    np.testing.assert_allclose(found.hessian / found.weight, expected, rtol=1e-9, atol=1e-12)


@untimed
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 5), st.integers(1, 80), st.integers(2, 30))
def test_any_chunking_gives_the_sums_as_they_are_defined(seed, count, d, chunk, labels):
    drawn = rows(seed, count, d, labels)
    found = moments(*drawn, chunk=chunk)
    hessian, score, distinct = dense(*drawn)
    np.testing.assert_allclose(found.hessian, hessian, atol=1e-10)
    np.testing.assert_allclose(found.score, score, atol=1e-10)
    differences, margins, weights, parents = drawn
    kept = weights > 0
    assert (found.labels, found.rows) == (distinct, kept.sum())
    assert found.weight == pytest.approx(weights.sum())
    assert (found.margin_min, found.margin_max) == (np.abs(margins[kept]).min(), np.abs(margins[kept]).max())
    np.testing.assert_allclose(found.coverage, differences.T @ (weights[:, None] * differences), atol=1e-10)
    np.testing.assert_allclose(grouped(differences, margins, parents, weights).score, score, atol=1e-10)


def test_votes_change_the_gradients_and_no_hessian():
    differences, margins, weights, parents = rows(3, 40, 3, 12)
    votes = np.random.default_rng(0).choice([0.5, 0.7, 1.0], 40)
    plain, voted = (grouped(differences, margins, parents, weights, p) for p in (None, votes))
    np.testing.assert_array_equal(voted.hessian, plain.hessian)
    slopes = weights * (1 / (1 + np.exp(-margins)) - votes)
    for parent, gradient in zip(voted.parents, voted.gradients, strict=True):
        np.testing.assert_allclose(gradient, slopes[parents == parent] @ differences[parents == parent], atol=1e-12)
    assert not np.allclose(voted.score, plain.score)


@untimed
@given(st.integers(0, 10_000), st.lists(st.integers(1, 7), min_size=1, max_size=12))
def test_rows_without_parents_are_labels_of_their_own_over_any_chunks(seed, sizes):
    differences, margins, weights, _ = rows(seed, sum(sizes), 2, 1)
    sums, start = Accumulator(), 0
    for size in sizes:
        part = slice(start, start + size)
        sums.add(differences[part], margins[part], weights[part])
        start += size
    whole = moments(differences, margins, weights)
    assert sums.moments().labels == whole.labels == (weights > 0).sum()
    np.testing.assert_allclose(sums.moments().score, whole.score, atol=1e-10)


def test_a_memory_mapped_file_of_single_precision_is_read_as_it_is(tmp_path):
    differences, margins, weights, parents = rows(5, 300, 6, 40)
    np.save(tmp_path / "differences.npy", differences.astype(np.float32))
    mapped = np.load(tmp_path / "differences.npy", mmap_mode="r")
    found = moments(mapped, margins, weights, parents, chunk=17)
    expected = moments(differences.astype(np.float32).astype(float), margins, weights, parents)
    np.testing.assert_allclose(found.hessian, expected.hessian, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-12, atol=1e-12)


@untimed
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40))
def test_joined_moments_are_those_of_all_rows(seed, first, second):
    a, b = rows(seed, first, 3, 20), rows(seed + 1, second, 3, 30)
    parts = [grouped(d, m, p, w) for d, m, w, p in (a, b)]
    found, expected = joined(*parts), moments(*(np.concatenate(both) for both in zip(a, b, strict=True)))
    assert (found.rows, found.labels) == (expected.rows, expected.labels)
    assert (found.margin_min, found.margin_max) == (expected.margin_min, expected.margin_max)
    for part in ("weight", "hessian", "score", "coverage"):
        np.testing.assert_allclose(getattr(found, part), getattr(expected, part), atol=1e-10)


def test_godambe_information_is_the_dense_product():
    drawn = rows(2, 60, 4, 25)
    found = moments(*drawn)
    hessian, score, labels = dense(*drawn)
    expected = hessian @ np.linalg.inv(score) @ hessian / labels
    np.testing.assert_allclose(godambe(found, everywhere(4)), expected, rtol=1e-9)
    spectrum = godambe_spectrum(found, everywhere(4))
    assert spectrum.logdet == pytest.approx(np.linalg.slogdet(expected)[1])
    assert spectrum.trace == pytest.approx(np.trace(expected))


def test_equal_copies_tell_nothing_new():
    """b copies: A is b times larger and C b² times, so neither H nor G moves. As labels of their own they would make
    all labels together, A C⁻¹ A, b times more informative."""
    differences, margins, _, _ = rows(4, 80, 5, 1)
    once = moments(differences, margins)
    copies = [np.repeat(values, 3, axis=0) for values in (differences, margins)]
    grouped_, independent = moments(*copies, parents=np.repeat(np.arange(80), 3)), moments(*copies)
    at = everywhere(5)
    assert (once.labels, grouped_.labels, independent.labels) == (80, 80, 240)
    np.testing.assert_allclose(grouped_.hessian / grouped_.weight, once.hessian / once.weight)
    np.testing.assert_allclose(godambe(grouped_, at), godambe(once, at))
    np.testing.assert_allclose(240 * godambe(independent, at), 3 * 80 * godambe(once, at))


def newton(differences, weights, theta):
    """[R, d] maximum likelihood estimates for [R, M] weights, from `theta`."""
    for _ in range(8):
        margins = theta @ differences.T
        slope = np.einsum("rm,md->rd", -weights / (1 + np.exp(margins)), differences)
        hessian = np.einsum("rm,mi,mj->rij", weights * curvature_weight(margins), differences, differences)
        theta = theta - np.linalg.solve(hessian, slope[..., None])[..., 0]
    return theta


def test_the_information_is_what_a_bootstrap_over_labels_finds():
    rng = np.random.default_rng(0)
    pairs, d, copies, resamples = 600, 2, 3, 800
    base = rng.normal(size=(pairs, d)) * [1.5, 0.7]
    won = rng.random(pairs) < 1 / (1 + np.exp(-base @ [0.8, -0.5]))
    base[~won] *= -1  # φ(chosen) − φ(rejected)
    parents = np.repeat(np.arange(pairs), copies)
    differences = base[parents] + 0.3 * rng.normal(size=(pairs * copies, d))  # variants inherit the label
    fitted = newton(differences, np.ones((1, len(parents))), np.zeros((1, d)))[0]

    drawn = rng.multinomial(pairs, np.full(pairs, 1 / pairs), resamples).astype(float)
    covariance = np.cov(newton(differences, drawn[:, parents], np.tile(fitted, (resamples, 1))), rowvar=False)
    ours = moments(differences, differences @ fitted, parents=parents)
    independent = moments(differences, differences @ fitted)
    error = 4 * np.sqrt(2 / resamples)  # of an entry of a whitened covariance, 4 standard errors

    def against_the_bootstrap(found):
        """Their covariance in units of ours: the identity where both agree."""
        factor = np.linalg.cholesky(found.labels * godambe(found, everywhere(d)))
        return factor.T @ covariance @ factor

    np.testing.assert_allclose(against_the_bootstrap(ours), np.eye(d), atol=error)
    assert np.diag(against_the_bootstrap(independent)).min() > copies - 1


def test_the_summaries_of_a_spectrum_known_by_hand():
    """δ = (4, 0, 0), (0, 2√2, 0), (0, 0, 2√2) at Δ = 0, where σ′ = ¼: A = diag(4, 2, 2), and H a third of it."""
    found = moments(np.diag([4, 8**0.5, 8**0.5]), np.zeros(3))
    spectrum = hessian_spectrum(found, span(found.coverage))
    np.testing.assert_allclose(spectrum.values, np.array([4, 2, 2]) / 3)
    assert spectrum.trace == pytest.approx(8 / 3)
    assert spectrum.logdet == pytest.approx(np.log(16 / 27))
    assert (spectrum.largest, spectrum.smallest) == (pytest.approx(4 / 3), pytest.approx(2 / 3))
    assert spectrum.condition == pytest.approx(2)
    assert spectrum.effective_rank == pytest.approx(2**1.5)  # shares ½, ¼, ¼


@untimed
@given(st.integers(0, 1000), st.integers(2, 4), st.integers(6, 9))
def test_collinear_features_change_no_summary(seed, k, d):
    """d features that are combinations of k: fewer directions, the same spectra as of orthonormal coordinates."""
    differences, margins, weights, parents = rows(seed, 40, k, 15)
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))[0]
    plain, wide = (moments(x, margins, weights, parents) for x in (differences, differences @ frame.T))
    space = span(wide.coverage)
    assert space.dimension == k
    for spectrum in (hessian_spectrum, godambe_spectrum):
        expected = spectrum(plain, span(plain.coverage)).values
        np.testing.assert_allclose(spectrum(wide, space).values, expected, rtol=1e-6, atol=1e-12)


def test_fewer_pairs_than_features_span_as_many_directions_as_there_are_pairs():
    differences, margins, _, _ = rows(6, 8, 20, 8)
    found = moments(differences, margins)
    space = span(found.coverage)
    assert space.dimension == 8
    assert np.isfinite(hessian_spectrum(found, space).logdet)
    assert godambe_spectrum(found, space) is None  # 8 labels for 8 directions
    part = hessian_spectrum(moments(differences[:5], margins[:5]), space)  # a selection that misses directions
    assert (part.smallest, part.logdet, part.condition) == (0, -np.inf, np.inf)
    assert 1 < part.effective_rank <= 5


def test_no_information_without_more_labels_than_directions():
    differences, margins, _, _ = rows(7, 30, 3, 1)
    few, enough = (moments(differences, margins, parents=np.arange(30) % labels) for labels in (3, 4))
    assert godambe_spectrum(few, everywhere(3)) is None
    assert godambe_spectrum(enough, everywhere(3)) is not None
    with pytest.raises(ValueError, match="3 labels do not determine the information in 3 directions"):
        godambe(few, everywhere(3))
    flat = moments(differences * [1, 1, 0], margins)  # labels enough, but their gradients miss a direction
    assert godambe_spectrum(flat, everywhere(3)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"differences": np.array([[1.0, 0.0], [np.nan, 1.0], [1.0, 2.0]])}, "differences: a row of parent 1"),
        ({"differences": np.full((3, 2), 1e200)}, "differences: squares are not finite"),
        ({"differences": np.ones(3)}, r"differences: must be \[rows, features\], not \[3\]"),
        ({"margins": np.array([0.0, 1.0, np.inf])}, "margins: that of a row of parent 2 is not finite"),
        ({"margins": np.zeros(2)}, r"margins: \[2\] do not match 3 differences"),
        ({"weights": np.ones((3, 1))}, r"weights: \[3, 1\] do not match 3 differences"),
        ({"weights": np.array([1.0, -1.0, 1.0])}, "weights: must be finite and not negative"),
        ({"weights": np.zeros(3)}, "at least one row of positive weight"),
        ({"parents": np.arange(4)}, r"parents: \[4\] do not match 3 differences"),
        ({"differences": np.ones((0, 2)), "margins": np.ones(0)}, "at least one row of positive weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_input_is_one_clear_error(change, message):
    with pytest.raises(ValueError, match=message):
        moments(**{"differences": np.ones((3, 2)), "margins": np.zeros(3)} | change)


def test_chunks_that_split_a_parent_elsewhere_or_change_their_features_are_refused():
    sums = Accumulator()
    sums.add(np.ones((3, 2)), np.zeros(3), parents=np.array([1, 1, 2]))
    with pytest.raises(ValueError, match="3 features after chunks of 2"):
        sums.add(np.ones((1, 3)), np.zeros(1), parents=np.array([3]))
    sums.add(np.ones((1, 2)), np.zeros(1), parents=np.array([1]))
    with pytest.raises(ValueError, match="rows of one parent must follow one another"):
        sums.moments()


def test_no_span_without_a_difference():
    with pytest.raises(ValueError, match="every difference is zero"):
        span(moments(np.zeros((4, 3)), np.zeros(4)).coverage)


@untimed
@given(st.integers(0, 100_000), st.integers(1, 4), st.floats(0.05, 2), st.floats(0, 1), st.floats(0.1, 3))
def test_the_bound_holds_whether_or_not_its_conditions_do(seed, d, scale, share, spread):
    """Including the order of m_L and m_H: σ′ falls in |Δ|, which is all that the inequality needs."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=d)
    data, augmentation = (rng.normal(size=(n, d)) * width for n, width in ((30, spread), (20, scale)))
    found = mixture_bound((data, data @ theta), (augmentation, augmentation @ theta), share)
    assume(found.rounding < 1e-8)
    assert found.truth >= found.factor - 1e-8
    assert found.holds


@untimed
@given(st.integers(0, 100_000), st.integers(1, 4))
def test_kappa_is_the_largest_and_the_truth_too(seed, d):
    rng = np.random.default_rng(seed)
    theta, data, drawn = rng.normal(size=d), rng.normal(size=(30, d)), rng.normal(size=(20, d))
    data, drawn = moments(data, data @ theta), moments(drawn, drawn @ theta)
    found = mixture_bound(data, drawn, 0.6)
    mixture = 0.4 * data.hessian / 30 + 0.6 * drawn.hessian / 20
    pencils = [(drawn.coverage / 20, data.coverage / 30, found.kappa), (mixture, data.hessian / 30, found.truth)]
    for matrix, against, value in pencils:
        assert np.linalg.eigvalsh(matrix - value * against)[0] > -1e-10
        assert np.linalg.eigvalsh(matrix - (value + 1e-6) * against)[0] < 0


def test_the_bound_is_tight_where_every_margin_sits_at_its_extreme():
    """θ = (1, 1); data (2, 0), (0, 2) at Δ = 2, so E_D = 2I and H_D = 2σ′(2)I; variants half as long at Δ = 1, so
    E_aug = ½I, κ = ¼, H_aug = ½σ′(1)I. Mixed evenly H_mix = (σ′(2) + ¼σ′(1))I = [1 + ½(¼σ′(1)/σ′(2) − 1)] H_D."""
    data = np.diag([2.0, 2.0])
    found = mixture_bound((data, np.array([2.0, 2.0])), (data / 2, np.array([1.0, 1.0])), 0.5)
    ratio = 0.19661193324148185 / 0.10499358540350652  # σ′(1) / σ′(2)
    assert (found.low, found.high, found.kappa) == (1, 2, pytest.approx(0.25))
    assert found.factor == pytest.approx(1 + 0.5 * (0.25 * ratio - 1), abs=1e-12)
    assert found.truth == pytest.approx(found.factor, abs=1e-12)
    assert found.separated
    assert not found.gains  # κ·1.87 < 1: shorter differences cost more than ambiguity brings
    assert found.holds


def test_ambiguous_variants_that_cover_as_much_raise_the_hessian():
    data = np.array([[2.0, 1.0], [1.0, 2.0], [2.0, -1.0]])
    found = mixture_bound((data, np.full(3, 3.0)), (data, np.full(3, 0.5)), 2 / 3)
    assert found.separated
    assert found.gains
    assert found.truth == pytest.approx(found.factor)
    assert found.factor > 3


def test_the_bound_promises_nothing_where_its_conditions_fail():
    """Variants along one direction alone, and as easy as the data: κ = 0, and the mixture keeps 1 − λ of H_D."""
    data, margins = np.eye(2), np.array([1.0, 1.0])
    found = mixture_bound((data, margins), (data[:1], margins[:1]), 0.25)
    assert (found.kappa, found.separated, found.gains, found.holds) == (0, False, False, True)
    assert found.factor == found.truth == 0.75


@pytest.mark.filterwarnings("error")
def test_margins_at_which_curvature_vanishes_leave_the_truth_open():
    data = np.array([[1.0, 1.0], [1.0, -1.0]])
    found = mixture_bound((data, np.array([0.0, 200.0])), (data, np.zeros(2)), 0.5)
    assert np.isnan(found.truth)
    assert found.kappa == pytest.approx(1)
    assert found.holds
    assert mixture_bound((data, np.full(2, 900.0)), (data, np.zeros(2)), 0.5).factor == np.inf


def test_a_share_is_between_none_and_all():
    with pytest.raises(ValueError, match="share: must be between 0 and 1"):
        mixture_bound((np.eye(2), np.zeros(2)), (np.eye(2), np.zeros(2)), 1.5)
