library(nlme)
fit <- lme(distance ~ age * Sex, data = Orthodont, random = ~ age | Subject,
           weights = varIdent(form = ~ 1 | Sex))
as.numeric(logLik(fit))
intervals(fit, which = "var-cov")$varStruct
same <- lme(distance ~ age * Sex, data = Orthodont, random = ~ age | Subject)
as.data.frame(anova(same, fit))[2, c("L.Ratio", "p-value")]
