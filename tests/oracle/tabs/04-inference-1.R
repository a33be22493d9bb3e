library(faraway)
library(lme4)
library(pbkrtest)
large <- lmer(yield ~ treat + (1 | blend), penicillin)
small <- lmer(yield ~ 1 + (1 | blend), penicillin)
anova(refitML(small), refitML(large))[2, c("Chisq", "Df", "Pr(>Chisq)")]
KRmodcomp(large, small)$test["Ftest", 1:5]
set.seed(7)
PBmodcomp(refitML(large), refitML(small), nsim = 20000)$test
