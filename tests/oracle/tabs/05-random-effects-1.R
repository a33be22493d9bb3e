library(faraway)
library(lme4)
mmod <- lmer(bright ~ 1 + (1 | operator), data = pulp)
ranef(mmod)$operator
cc <- model.tables(aov(bright ~ operator, data = pulp))
cc[[1]]$operator
cc[[1]]$operator / ranef(mmod)$operator
re <- ranef(mmod, condVar = TRUE)$operator
sqrt(attr(re, "postVar")[1, 1, ])
