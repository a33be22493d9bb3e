# Rscript intervals.R CASES OUT.json DATA_DIR: limits of variances and correlations by nlme's intervals().
# nlme takes each parameter on a scale without bounds and differentiates its criterion numerically there (fdHess),
# so that its limits hold to a few thousandths of their width. CASES is not used ("-").
suppressPackageStartupMessages({ a <- commandArgs(FALSE); source(file.path(dirname(sub("^--file=", "", grep("^--file=", a, value = TRUE))), "lib.R")); library(nlme) })
LC <- lmeControl(tolerance = 1e-10, msTol = 1e-10, niterEM = 50, maxIter = 500, msMaxIter = 1000, msMaxEval = 5000)
GC <- glsControl(tolerance = 1e-10, msTol = 1e-10, maxIter = 500, msMaxIter = 1000)
O <- get_data("orthodont"); O$visit <- (O$age - 6) / 2; S <- get_data("sleepstudy"); M <- get_data("machines"); B <- get_data("body_weight")
FITS <- list(
  cs = quote(gls(distance ~ age * Sex, O, corCompSymm(form = ~ 1 | Subject), control = GC)),
  ar1 = quote(gls(distance ~ age * Sex, O, corAR1(form = ~ visit | Subject), control = GC)),
  ar1_sex = quote(gls(distance ~ age * Sex, O, corAR1(form = ~ visit | Subject), varIdent(form = ~ 1 | Sex), control = GC)),
  us = quote(gls(distance ~ age * Sex, O, corSymm(form = ~ visit | Subject), varIdent(form = ~ 1 | visit), control = GC)),
  us_ml = quote(gls(distance ~ age * Sex, O, corSymm(form = ~ visit | Subject), varIdent(form = ~ 1 | visit), method = "ML", control = GC)),
  sex = quote(lme(distance ~ age * Sex, O, ~ 1 | Subject, weights = varIdent(form = ~ 1 | Sex), control = LC)),
  sleep = quote(lme(Reaction ~ Days, S, ~ Days | Subject, control = LC)),
  sleep_diag = quote(lme(Reaction ~ Days, S, list(Subject = pdDiag(~ Days)), control = LC)),
  sleep_ar1 = quote(lme(Reaction ~ Days, S, ~ 1 | Subject, corAR1(form = ~ Days | Subject), control = LC)),
  machines_homcs = quote(lme(score ~ Machine, M, list(Worker = pdCompSymm(~ Machine - 1)), control = LC)),
  bodyweight_car1 = quote(lme(weight ~ Time * Diet, B, ~ Time | Rat, corCAR1(form = ~ Time | Rat), control = LC)))
limits <- function(x) { x <- as.data.frame(unclass(x)); list(names = CH(rownames(x)), lower = IA(x$lower), est = IA(x$est.), upper = IA(x$upper)) }
OUTL <- lapply(FITS, function(cl) { m <- eval(cl); i <- intervals(m, which = "var-cov")
  list(call = paste(deparse(cl, width.cutoff = 500), collapse = " "), logLik = as.numeric(logLik(m)), random = if (!is.null(i$reStruct)) limits(i$reStruct[[1]]), correlation = if (!is.null(i$corStruct)) limits(i$corStruct),
       ratios = if (!is.null(i$varStruct)) limits(i$varStruct), sigma = IA(unclass(i$sigma)[c("lower", "est.", "upper")])) })
write_js(list(about = "nlme's intervals() of variances and correlations", versions = VERS(), cases = OUTL), OUT)
