# The sizes that R finds in the study of book/09-calibration.md:
#   Rscript tests/oracle/R/block_sizes.R           (prints them after a minute; from the root of the repository)
suppressPackageStartupMessages({library(lme4); library(pbkrtest)})
penicillin <- read.csv("mmlib/data/penicillin.csv", stringsAsFactors = TRUE)
small <- lmer(yield ~ 1 + (1 | blend), penicillin)
large <- lmer(yield ~ treat + (1 | blend), penicillin)
print(anova(refitML(small), refitML(large)))
print(KRmodcomp(large, small))
set.seed(1)
responses <- simulate(refitML(small), nsim = 1000)
p <- suppressMessages(sapply(responses, function(y) {
  d <- transform(penicillin, yield = y)
  s <- update(small, data = d); l <- update(large, data = d)
  c(chi2 = anova(refitML(s), refitML(l))[2, "Pr(>Chisq)"],
    KR   = KRmodcomp(l, s)$test["Ftest", "p.value"])
}))
print(rowMeans(p <= 0.05))
