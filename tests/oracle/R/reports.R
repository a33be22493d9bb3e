# Situations from public reports: what R says of the data in reports/. Writes reports.json there.
# Run from tests/oracle/reports.
suppressMessages({library(lme4); library(lmerTest); library(splines); library(MASS); library(jsonlite)})
tight <- lmerControl(optCtrl = list(xtol_rel = 1e-10, ftol_abs = 1e-12, maxeval = 1e5))
fit <- function(f, d, ...) suppressMessages(suppressWarnings(lme4::lmer(as.formula(f), d, control = tight, ...)))
out <- list()
d <- read.csv("flags.csv"); d$smoker <- as.logical(d$smoker)
m <- suppressMessages(lmerTest::lmer(y ~ smoker * arm + (1 | site), d))
out$flags <- list(type3 = as.matrix(anova(m)), type2 = as.matrix(anova(m, type = 2)),
  reml = sapply(c("y ~ arm + (0 + smoker | site)", "y ~ arm + (smoker | site)", "y ~ 0 + smoker + arm + (1 | site)"), function(f) REMLcrit(fit(f, d))))
d <- read.csv("three_flags.csv"); for (k in c("diabetes", "smoker", "obese")) d[[k]] <- as.logical(d[[k]])
out$three_flags <- list(sum = unname(fixef(fit("y ~ I(diabetes + smoker + obese) + (1 | clinic)", d))),
  minus = unname(fixef(fit("y ~ I(-smoker) + (1 | clinic)", d))))
d <- read.csv("condition.csv"); X <- model.matrix(~cond, d); d$B <- X[, 2]; d$C <- X[, 3]
m <- fit("rt ~ cond + (1 | subject) + (0 + B | subject) + (0 + C | subject)", d)
out$condition <- list(reml = REMLcrit(m), sd = c(as.data.frame(VarCorr(m))$sdcor))
d <- read.csv("doses.csv"); d$f <- factor(d$dose)
new <- data.frame(dose = c(1, 2, 4, 8)); new$f <- factor(new$dose, levels(d$f))
out$doses <- lapply(c(ns2 = "ns(dose, 2)", ns3 = "ns(dose, 3)", bs5 = "bs(dose, df = 5)", poly2 = "poly(dose, 2)",
  raw2 = "poly(dose, 2, raw = TRUE)", scale = "scale(dose)", factor = "factor(dose)", sdif = "C(f, contr.sdif)",
  sum = "C(f, contr.sum)", helmert = "C(f, contr.helmert)", relevel = "relevel(f, ref = '2')", ifelse = "ifelse(dose > 1, 1, 0)",
  pmin = "pmin(dose, 4)", log2 = "log(dose + 1, 2)"), function(term) {
    m <- fit(paste("y ~", term, "+ (1 | plate)"), d, REML = FALSE)
    list(deviance = -2 * c(logLik(m)), fixef = unname(fixef(m)), fitted = unname(predict(m, re.form = NA))[c(1, 61, 101, 131, 151, 171)])
  })
write_json(out, "reports.json", digits = NA, auto_unbox = TRUE, pretty = TRUE)
