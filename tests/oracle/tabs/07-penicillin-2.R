library(faraway)
library(lme4)
library(pbkrtest)
library(RLRsim)
options(contrasts = c("contr.sum", "contr.poly"))
amod <- lmer(yield ~ treat + (1 | blend), data = penicillin)
nmod <- lmer(yield ~ 1 + (1 | blend), data = penicillin)
fixef(amod)
sqrt(diag(vcov(amod)))
VarCorr(amod)
KRmodcomp(amod, nmod)$test["Ftest", 1:5]
anova(nmod, amod)[2, c("Chisq", "Df", "Pr(>Chisq)")]   # refits by ML

small <- refitML(nmod)
large <- refitML(amod)
set.seed(123)
lrstat <- replicate(1000, {
  y <- unlist(simulate(small))
  as.numeric(2 * (logLik(refit(large, y)) - logLik(refit(small, y))))
})
(pval <- mean(lrstat > 4.0474))
sqrt(pval * (1 - pval) / 1000)

set.seed(1)
exactRLRT(amod)
