library(lme4)
data(pulp, package = "faraway")
devf <- lmer(bright ~ 1 + (1 | operator), pulp, REML = FALSE, devFunOnly = TRUE)
devf(0)
devf(0.6561922)
fm <- lmer(bright ~ 1 + (1 | operator), pulp)
getME(fm, "theta")      # exactly: 0.8004900
getME(fm, "L")@x        # the diagonal of a sparse Cholesky factor
REMLcrit(fm)
fm@optinfo$feval        # evaluations
