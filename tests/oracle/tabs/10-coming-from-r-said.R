# What chapter 10 says of R without showing it.
read <- function(name, ...) {
  data <- read.csv(file.path(shipped, paste0(name, ".csv")))
  for (factor in c(...)) data[[factor]] <- factor(data[[factor]])
  data
}
stored <- function(name) jsonlite::fromJSON(file.path(tabs, "..", paste0(name, ".json")))
library(lme4)
library(pbkrtest)
library(emmeans)
library(RLRsim)
emm_options(lmerTest.limit = 0)
penicillin <- read("penicillin", "treat", "blend")
pulp <- read("pulp", "operator")
sleep <- transform(sleepstudy, w = 1 + Days %% 3)
# Kenward-Roger with prior weights: pbkrtest leaves them out; then rows times root weights
weighted <- lmer(Reaction ~ Days + (Days | Subject), sleep, weights = w)
KRmodcomp(weighted, update(weighted, . ~ . - Days))$test["Ftest", c("stat", "ndf", "ddf")]
sleep <- transform(sleep, y = sqrt(w) * Reaction, one = sqrt(w), day = sqrt(w) * Days)
rows <- lmer(y ~ 0 + one + day + (0 + one + day | Subject), sleep)
KRmodcomp(rows, update(rows, . ~ . - day))$test["Ftest", c("stat", "ndf", "ddf")]
# degrees of freedom by emmeans of a fit by ML
by_ml <- lmer(yield ~ treat + (1 | blend), penicillin, REML = FALSE)
as.data.frame(pairs(emmeans(by_ml, "treat", lmer.df = "kenward-roger")))$df
# the joint test of emmeans
machines <- lmer(score ~ Machine + (Machine | Worker), read("machines", "Machine", "Worker"))
joint <- as.data.frame(joint_tests(machines, lmer.df = "kenward-roger"))
with(joint, sprintf("%.1f on %.0f and %.0f, p = %.4f", F.ratio, df1, df2, p.value))
# a slope by a forward quotient
oxboys <- read("oxboys", "Subject")
curve <- lmer(height ~ poly(age, 2) + (1 | Subject), oxboys)
summary(emtrends(curve, ~ 1, "age", at = list(age = -1)))$age.trend
# refits by REML count one fixed effect
fit <- lmer(yield ~ treat + (1 | blend), penicillin)
c(sigma(fit), sigma(refit(fit)), REMLcrit(fit), REMLcrit(refit(fit)))
# the share of zeros in the null distribution of RLRsim, with Z, and with Z times 0.3
zeros <- function(scale) mean(LRTSim(matrix(1, 20, 1), scale * model.matrix(~ 0 + operator, pulp),
  q = 0, sqrt.Sigma = diag(4), nsim = 3e5, seed = 1) < 1e-8)
sprintf("%.2f", c(zeros(1), zeros(0.3)))
# p-values by simulation: PBmodcomp, 20,000 draws; exactRLRT, a million
sprintf("%.4f", stored("lecture")$penicillin_PBmodcomp_20000$test$p.value[2])
sprintf("%.4f", stored("exact_lrt")$pulp$exactRLRT$p)
# limits by the spline of lme4: of all sheets, and where five are lost; then through more points
reml <- lmer(bright ~ 1 + (1 | operator), pulp)
confint(reml, ".sig01", quiet = TRUE)
lost <- lmer(bright ~ 1 + (1 | operator), pulp[-c(1, 2, 5, 10, 17), ])
sprintf("%.4f", confint(lost, ".sig01", quiet = TRUE)[1])
sprintf("%.4f", confint(profile(lost, ".sig01", delta = 0.02, maxpts = 1000))[1])
# a statistic of zero: p-values of exactRLRT for 200 responses without operators, where the variance is zero
set.seed(1)
at_zero <- replicate(200, {
  null <- suppressMessages(lmer(rnorm(20) ~ 1 + (1 | operator), pulp))
  if (isSingular(null)) round(suppressMessages(exactRLRT(null, nsim = 1e4)$p.value), 1) else NA
})
table(at_zero)
# and exactLRT
pulp$sheet <- factor(ave(pulp$bright, pulp$operator, FUN = seq_along))
zero <- suppressMessages(lmer(bright ~ 1 + (1 | sheet), pulp, REML = FALSE))
inherits(try(exactLRT(zero, lm(bright ~ 1, pulp)), silent = TRUE), "try-error")
# influence searches again for each group, so it agrees with ours in balanced designs only
-dfbeta(influence(fit, "blend"))[, "treatB"]
# two curves by maximum likelihood and by REML
deviance(lmer(Reaction ~ splines::bs(Days, df = 4) + (1 | Subject), sleepstudy, REML = FALSE))
REMLcrit(lmer(Reaction ~ scale(Days) + (1 | Subject), sleepstudy))
