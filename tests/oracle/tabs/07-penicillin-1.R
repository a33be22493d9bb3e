library(faraway)
options(contrasts = c("contr.sum", "contr.poly"))
summary(aov(yield ~ blend + treat, data = penicillin))
