library(lme4)
laplace <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd),
                 family = binomial, data = cbpp)
exact <- update(laplace, nAGQ = 25)
rbind(laplace = fixef(laplace), exact = fixef(exact))
c(laplace = sqrt(VarCorr(laplace)$herd[1]), exact = sqrt(VarCorr(exact)$herd[1]))
