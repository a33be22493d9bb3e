library(faraway)
options(contrasts = c("contr.sum", "contr.poly"))
lmod <- lm(bright ~ operator, data = pulp)
coef(lmod)
summary(lmod)$sigma
summary(lmod)$r.squared
anova(lmod)
coef(summary(lmod))["(Intercept)", ]
