library(faraway)
library(lme4)
library(pbkrtest)
small <- lmer(yield ~ 1 + (1 | blend), penicillin)
large <- lmer(yield ~ treat + (1 | blend), penicillin)
anova(refitML(small), refitML(large))[2, c("Chisq", "Df", "Pr(>Chisq)")]
KRmodcomp(large, small)$test["Ftest", 1:5]

set.seed(1)
responses <- simulate(refitML(small), nsim = 1000)
p <- sapply(responses, function(y) {
  d <- transform(penicillin, yield = y)
  s <- update(small, data = d)
  l <- update(large, data = d)
  c(chi2 = anova(refitML(s), refitML(l))[2, "Pr(>Chisq)"],
    KR   = KRmodcomp(l, s)$test["Ftest", "p.value"])
})
rowMeans(p <= 0.05)
