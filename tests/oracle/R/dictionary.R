# The rows of the dictionary, book/10-coming-from-r.md, by R: on the complete data and where rows are
# lost, so that no design is balanced. ./dictionary_rows.json has R's side of each row as the chapter
# prints it. Output: ./dictionary.json
source("./common.R")
suppressPackageStartupMessages({
  library(lmerTest); library(pbkrtest); library(RLRsim); library(emmeans); library(nlme)
  library(performance); library(clubSandwich); library(glmmTMB); library(splines) })
ROWS <- jsonlite::fromJSON("./dictionary_rows.json")
options(contrasts = c("contr.treatment", "contr.poly"), warn = 1)
emm_options(lmerTest.limit = 0)
all_data <- readRDS("./data.rds")
# as `incomplete` of tests/helpers/dictionary.py: rows whose numbers, from 0, are squares
without_squares <- function(d) d[sqrt(seq_len(nrow(d)) - 1) %% 1 != 0, ]

# lmer as in the chapter, but to the very optimum
TIGHT <- lmerControl("bobyqa", calc.derivs = FALSE, optCtrl = list(rhobeg = 0.02, rhoend = 1e-10, maxfun = 1e6))
lmer <- function(...) {
  call <- sys.call(); call[[1]] <- quote(lmerTest::lmer); call$control <- quote(TIGHT)
  suppressMessages(eval(call, parent.frame())) }

# What the rows use, in the order of the chapter.
session <- quote({
  lmod <- lm(bright ~ operator, pulp, contrasts = list(operator = "contr.sum"))
  fit <- lmer(yield ~ treat + (1 | blend), penicillin)
  other <- data.frame(treat = c("A", "B", "C"), blend = "Blend9")
  small <- lmer(yield ~ 1 + (1 | blend), penicillin, REML = FALSE)
  large <- lmer(yield ~ treat + (1 | blend), penicillin, REML = FALSE)
  m0 <- lm(bright ~ 1, pulp)
  m1 <- as(lmer(bright ~ 1 + (1 | operator), pulp, REML = FALSE), "lmerMod")
  reml <- as(lmer(bright ~ 1 + (1 | operator), pulp), "lmerMod")
  grass <- lmer(drywt ~ Inoc * Cult + (1 | Block) + (1 | Block:Cult), trial)
  inoc <- emmeans(grass, ~ Inoc)
  both <- emmeans(grass, ~ Inoc * Cult)
  X <- inoc@linfct
  L <- X[-1, ] - X[c(1, 1), ]
  growth <- fm <- lmer(distance ~ age * Sex + (age | Subject), orthodont)
  slopes <- emtrends(growth, ~ Sex, var = "age")
  pigs <- lmer(adg ~ Treatment * InitWt + (1 | Block), gains)
  by_treatment <- emtrends(pigs, ~ Treatment, var = "InitWt")
  ri <- lmer(distance ~ age * Sex + (1 | Subject), orthodont)
  a <- lmer(distance ~ age + (1 | Subject), orthodont, REML = FALSE)
  b <- lmer(distance ~ age * Sex + (1 | Subject), orthodont, REML = FALSE)
  c <- lmer(distance ~ age * Sex + (age | Subject), orthodont, REML = FALSE)
})

# The table of structures: its fragments of calls, in a whole call each.
gls_of <- function(...) as.numeric(-2 * logLik(gls(distance ~ age * Sex, visits, ..., control = glsControl(tolerance = 1e-10, msTol = 1e-12, returnObject = TRUE))))
tmb_of <- function(term) as.numeric(-2 * logLik(glmmTMB(as.formula(paste("distance ~ age * Sex +", term)), visits, REML = TRUE)))
structures <- alist(
  "`weights = varIdent(form = ~1 | Sex)`, `dispformula = ~Sex`" = c(
    gls_of(weights = varIdent(form = ~1 | Sex)),
    as.numeric(-2 * logLik(glmmTMB(distance ~ age * Sex, dispformula = ~Sex, visits, REML = TRUE)))),
  "`correlation = corAR1(form = ~visit | id)`" = gls_of(correlation = corAR1(form = ~visit | id)),
  "`corCAR1(form = ~time | id)`, `corExp` without a nugget" = c(
    gls_of(correlation = corCAR1(form = ~time | id)), gls_of(correlation = corExp(form = ~time | id))),
  "`corCompSymm(form = ~1 | id)`" = gls_of(correlation = corCompSymm(form = ~1 | id)),
  "`corSymm(form = ~visit | id)`" = gls_of(correlation = corSymm(form = ~visit | id)),
  "`corSymm` with `varIdent(form = ~1 | visit)`, an MMRM" =
    gls_of(correlation = corSymm(form = ~visit | id), weights = varIdent(form = ~1 | visit)),
  "`ar1(0 + visit | id)`, `cs(...)`, `diag(...)`, `us(...)` of glmmTMB" = sapply(
    c("ar1(0 + factor(visit) | id)", "cs(1 + age | id)", "diag(1 + age | id)", "us(1 + age | id)"), tmb_of),
  "`intervals(fit, which = \"var-cov\")`" = {
    fit <- lme(distance ~ age * Sex, random = ~ 1 | Subject, weights = varIdent(form = ~1 | Sex), data = visits,
      control = lmeControl(tolerance = 1e-10, msTol = 1e-12))
    found <- intervals(fit, which = "var-cov")
    rbind(found$reStruct$Subject, found$sigma, found$varStruct[1, , drop = FALSE])[, c(1, 3)] |> as.matrix() })

# The numbers of a result, as the row means them: `said` is the comment behind the code.
numbers <- function(x, said) {
  if (inherits(x, c("emmGrid", "summary_emm"))) {
    table <- as.data.frame(summary(x, infer = TRUE))
    known <- c("emmean", "df", "lower.CL", "p.value")
    column <- if (said %in% known) said else grep("^estimate$|^emmean$|\\.trend$", names(table), value = TRUE)
    return(table[[column]])
  }
  if (inherits(x, "KRmodcomp")) return(unlist(x$test["Ftest", c("stat", "ndf", "ddf", "p.value")]))
  if (inherits(x, "SATmodcomp")) return(unlist(x$test[c("statistic", "ndf", "ddf", "p.value")]))
  if (inherits(x, "summary.aov")) return(na.omit(x[[1]][["F value"]]))
  if (inherits(x, "tables_aov")) return(x$tables$operator)
  if (inherits(x, "r2_nakagawa")) return(c(x$R2_marginal, x$R2_conditional))
  if (inherits(x, "icc")) return(c(x$ICC_adjusted, x$ICC_unadjusted))
  if (is.matrix(x)) return(c(t(x)))
  unlist(x)
}

# The data of a bare formula: the only ones that have all its variables.
data_for <- function(formula) Find(function(d) all(all.vars(formula) %in% names(d)),
  list(pulp, sleepstudy, pastes, assay, oxboys, oats, penicillin))
value_of <- function(row) {
  if (row %in% names(structures)) return(numbers(eval(structures[[row]], new.env(parent = globalenv())), ""))
  if (grepl("^\\w+ ~ ", row)) {
    parts <- parse(text = paste0("alist(", row, ")"))[[1]]
    call <- as.call(c(quote(lmer), as.list(parts)[-1], list(data = quote(DATA))))
    assign("DATA", data_for(as.formula(parts[[2]])), globalenv())
    model <- eval(call, globalenv())
    return(if (isREML(model)) REMLcrit(model) else deviance(model))
  }
  said <- if (grepl("#", row)) trimws(sub(".*#", "", row)) else ""
  numbers(suppressMessages(suppressWarnings(eval(parse(text = row), globalenv()))), said)
}

run <- function(kept) {
  take <- function(name) kept(all_data[[name]])
  named <- c(pulp = "pulp", penicillin = "penicillin", sleepstudy = "sleepstudy", pastes = "Pastes", assay = "PenicillinAssay",
    oats = "Oats", oxboys = "Oxboys", orthodont = "Orthodont", gains = "AvgDailyGain")
  for (name in names(named)) assign(name, take(named[[name]]), globalenv())
  assign("trial", all_data$Cultivation[-c(1, 5, 6, 14, 20), ], globalenv())  # the chapter takes rows away itself
  assign("visits", transform(orthodont, id = Subject, time = age, visit = as.integer((age - 6) / 2)), globalenv())
  suppressMessages(eval(session, globalenv()))
  lapply(setNames(ROWS, ROWS), function(row) I(as.vector(unname(value_of(row)))))
}
OUT <- list(complete = run(identity), incomplete = run(without_squares))
write_js(c(OUT, list(versions = versions())), "./dictionary.json")
