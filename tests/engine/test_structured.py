"""Covariances with structure: nlme's and glmmTMB's numbers, dense matrices, identities."""

import numpy as np
import pytest

from tests.helpers.covariances import GLMMTMB, NLME, fit_case, numbers

CASES = [
    (package, case_id, reml)
    for package, ids in (("nlme_structures", NLME), ("glmmtmb", GLMMTMB))
    for case_id in ids
    for reml in (True, False)
    if "logLik" in numbers(package, case_id).get("REML" if reml else "ML", {})
]
IDS = [f"{case_id}-{'REML' if reml else 'ML'}" for _, case_id, reml in CASES]


@pytest.mark.parametrize(("package", "case_id", "reml"), CASES, ids=IDS)
def test_the_optimum_is_that_of_r(package, case_id, reml):
    theirs = numbers(package, case_id)["REML" if reml else "ML"]
    fit = fit_case(package, case_id, reml=reml)
    assert fit.converged
    assert fit.loglik == pytest.approx(theirs["logLik"], abs=1e-6)
    assert fit.n_parameters == theirs["npar"]
    beta = np.asarray(theirs["fixef"]["values"])
    np.testing.assert_allclose(np.sort(fit.beta), np.sort(beta), rtol=1e-5, atol=1e-7)
    if theirs["sigma"] is not None and "nodisp" not in case_id:
        assert fit.sigma == pytest.approx(theirs["sigma"], rel=1e-4)
    np.testing.assert_allclose(
        np.sort(np.diag(fit.vcov())), np.sort(np.diag(theirs["vcov"]["values"])), rtol=1e-4
    )


@pytest.mark.parametrize(("package", "case_id", "reml"), CASES, ids=IDS)
def test_the_parameters_are_those_of_r(package, case_id, reml):
    """Flat directions of the likelihood are as good as R's tight optimum to four digits."""
    theirs = numbers(package, case_id)["REML" if reml else "ML"]
    fit = fit_case(package, case_id, reml=reml)
    residual = fit.design.residual
    if residual is not None and "correlation" in theirs:
        values = np.asarray(theirs["correlation"]["values"], dtype=float)
        if case_id.endswith("corexp"):
            values = np.exp(-1 / values)
        if len(values) > 1:  # nlme's columns are those of the lower triangle, as ours
            np.testing.assert_allclose(
                residual.split(fit.design.phi(fit.theta))[2], values, rtol=2e-4
            )
        else:
            np.testing.assert_allclose(fit.theta[-1], values[0], rtol=1e-4)
    if residual is not None and "variance_function" in theirs:
        known = dict(
            zip(
                theirs["variance_function"]["names"],
                theirs["variance_function"]["values"],
                strict=True,
            )
        )
        phi = fit.design.phi(fit.theta)
        by_level, by_visit, _ = residual.split(phi)
        labels, sds = (
            (residual.levels, by_level) if residual.levels else (residual.visits, by_visit)
        )
        np.testing.assert_allclose(sds, [known[label] for label in labels], rtol=1e-4)
    if theirs.get("random"):
        random = theirs["random"]
        theirs_cov = random["cov"] if "cov" in random else next(iter(random.values()))["cov"]
        if "nodisp" not in case_id:
            ours = fit.varcorr().terms[0].covariance
            np.testing.assert_allclose(ours, theirs_cov, rtol=1e-3, atol=1e-4 * np.max(ours))
