library(lme4)
fit <- lmer(y ~ 1 + (1 | d), data = InstEval)
VarCorr(fit)
effects <- ranef(fit)$d
head(effects[order(-effects[, 1]), , drop = FALSE], 3)
