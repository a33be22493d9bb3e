# Rows of book/10-coming-from-r.md whose values are in none of the files here:
#   Rscript tests/oracle/R/dictionary.R            (prints them; from the root of the repository)
suppressPackageStartupMessages({library(lme4); library(RLRsim); library(splines)})
options(digits = 9)
read <- function(name, ...) {
  data <- read.csv(file.path("mmlib/data", paste0(name, ".csv")))
  for (factor in c(...)) data[[factor]] <- factor(data[[factor]])
  data
}
penicillin <- read("penicillin", "treat", "blend")
pulp <- read("pulp", "operator")
fit <- lmer(yield ~ treat + (1 | blend), penicillin)
print(summary(fit))
print(resid(fit, scaled = TRUE)[1:3])
print(rstudent(fit)[1:3])
print(hatvalues(fit)[1])
print(cooks.distance(fit)[1:3])
print(-dfbeta(influence(fit, "blend"))[, "treatB"])
print(sigma(refit(refitML(fit), 2 * penicillin$yield)))
# lme4 counts one fixed effect when it refits by REML: the same data give another fit
again <- refit(fit)
print(c(sigma(fit), sigma(again), REMLcrit(fit), REMLcrit(again), getME(again, "theta")))
print(coef(lmList(Reaction ~ Days | Subject, sleepstudy))[1, ])
ml <- function(formula) deviance(lmer(formula, sleepstudy, REML = FALSE))
print(ml(Reaction ~ ns(Days, 3) + (1 | Subject)), digits = 10)
print(ml(Reaction ~ bs(Days, df = 4) + (1 | Subject)), digits = 10)
print(REMLcrit(lmer(Reaction ~ poly(Days, 2) + (1 | Subject), sleepstudy)), digits = 10)
print(REMLcrit(lmer(Reaction ~ scale(Days) + (1 | Subject), sleepstudy)), digits = 10)
# contrasts of contrasts, on unbalanced data
suppressPackageStartupMessages(library(emmeans))
trial <- read("cultivation", "Block", "Cult", "Inoc")[-c(1, 5, 6, 14, 20), ]
grass <- lmer(drywt ~ Inoc * Cult + (1 | Block) + (1 | Block:Cult), trial)
both <- contrast(emmeans(grass, ~ Inoc * Cult), interaction = c("trt.vs.ctrl", "consec"))
print(as.data.frame(both)$estimate, digits = 11)
# RLRsim: the share of zeros should not depend on the scale of Z
Z <- model.matrix(~ 0 + operator, pulp)
for (scale in c(1, 0.3))
  print(mean(LRTSim(matrix(1, 20, 1), scale * Z, q = 0, sqrt.Sigma = diag(4), nsim = 3e5, seed = 1) < 1e-8))
# RLRsim at a variance of zero: exactRLRT below 1 where rounding leaves 1e-13, exactLRT stops
set.seed(1)
p <- replicate(200, {
  m <- suppressMessages(lmer(rnorm(20) ~ 1 + (1 | operator), pulp))
  if (isSingular(m)) suppressMessages(exactRLRT(m, nsim = 1e4)$p.value) else NA
})
print(table(at_zero = round(p, 1)))
pulp$sheet <- factor(ave(pulp$bright, pulp$operator, FUN = seq_along))
zero <- lmer(bright ~ 1 + (1 | sheet), pulp, REML = FALSE)
print(try(exactLRT(zero, lm(bright ~ 1, pulp)), silent = TRUE))
