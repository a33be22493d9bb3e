library(lme4)
library(pbkrtest)
data(Hsb82, package = "mlmRev")
Oats <- transform(nlme::Oats, N = factor(nitro))
oats <- lmer(yield ~ Variety + N + (1 | Block/Variety), Oats)
KRmodcomp(oats, update(oats, . ~ . - Variety))$test["Ftest", 1:5]
nested <- lmer(strength ~ 1 + (1 | batch/cask), Pastes)
VarCorr(nested)
crossed <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
VarCorr(crossed)
pupils <- lmer(mAch ~ meanses * cses + sector * cses + (cses | school), Hsb82)
fixef(pupils)["cses:sectorCatholic"]
jaws <- lmer(distance ~ age * Sex + (age | Subject), nlme::Orthodont)
KRmodcomp(jaws, update(jaws, . ~ . - age:Sex))$test["Ftest", 1:5]
