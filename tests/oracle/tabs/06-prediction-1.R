library(faraway)
library(lme4)
mmod <- lmer(bright ~ 1 + (1 | operator), data = pulp)
fixef(mmod) + ranef(mmod)$operator
predict(mmod, newdata = data.frame(operator = "a"))
predict(mmod, newdata = data.frame(operator = "new"),
        allow.new.levels = TRUE)
range(resid(mmod))
