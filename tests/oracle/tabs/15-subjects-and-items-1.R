library(lmerTest)
fit <- lmer(Preference ~ sens1 + sens2 + (sens2 | Consumer) + (1 | Product),
            data = carrots)
coef(summary(fit))
