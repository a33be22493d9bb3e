library(faraway)
library(lme4)
mmod <- lmer(bright ~ 1 + (1 | operator), data = pulp)
dim(getME(mmod, "X"))
dim(getME(mmod, "Z"))

lines <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
REMLcrit(lines)
VarCorr(lines)

nested <- lmer(strength ~ 1 + (1 | batch/cask), Pastes)
REMLcrit(nested)
VarCorr(nested)

crossed <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
REMLcrit(crossed)
VarCorr(crossed)
