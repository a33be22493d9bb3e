# Time R's inference on one case, as measure.py times the Python packages:
#   Rscript inference.R DATA.csv FACTORS BUDGET ACTION FORMULA NULL REML NSIM TERM
# FACTORS is a comma-separated list. Prints one line of JSON after each stage.
arguments <- commandArgs(TRUE)
budget <- as.numeric(arguments[3])
action <- arguments[4]
model <- as.formula(arguments[5])
reml <- arguments[7] == "True"
nsim <- as.numeric(arguments[8])
term <- arguments[9]
max_repeats <- 30
quietly <- function(expression) suppressWarnings(suppressMessages(expression))
packages <- c(
  "lme4", bootstrap_test = "pbkrtest", kenward_roger = "pbkrtest", satterthwaite = "lmerTest",
  exact_lrt = "RLRsim", exact_rlrt = "RLRsim"
)
needed <- unname(packages[names(packages) %in% c("", action)])
for (package in needed) suppressPackageStartupMessages(library(package, character.only = TRUE))
lmer <- lme4::lmer

# One warm-up, then repeats within the budget; a first run longer than it is the measurement.
timed <- function(run) {
  wall <- cpu <- numeric(0)
  while (length(wall) < max_repeats && (length(wall) < 2 || sum(wall) < budget)) {
    cpu_started <- sum(proc.time()[c(1, 2, 4, 5)], na.rm = TRUE)
    started <- as.numeric(Sys.time())
    answer <- quietly(run())
    wall <- c(wall, as.numeric(Sys.time()) - started)
    cpu <- c(cpu, sum(proc.time()[c(1, 2, 4, 5)], na.rm = TRUE) - cpu_started)
    if (length(wall) == 1 && wall > budget) break
  }
  kept <- if (length(wall) > 1) -1 else 1
  cat(sprintf(
    '{"run": {"seconds": %.9f, "best": %.9f, "cpu": %.9f, "repeats": %d}, "answer": {%s}}\n',
    median(wall[kept]), min(wall[kept]), mean(cpu[kept]), length(wall[kept]),
    paste(sprintf('"%s": %.10g', names(answer), unlist(answer)), collapse = ", ")
  ))
}

# The lecture's loop: PBmodcomp takes no null model without random effects.
bootstrap_by_refits <- function(fit, null, observed) {
  simulated <- replicate(nsim, {
    y <- unlist(simulate(null))
    as.numeric(2 * (logLik(refit(fit, y)) - logLik(lm(y ~ 1))))
  })
  list(p = (1 + sum(simulated >= observed)) / (nsim + 1))
}

versions <- paste(sapply(needed, function(name) paste(name, packageVersion(name))), collapse = ", ")
cat(sprintf('{"version": "%s, R %s"}\n', versions, getRversion()))
factors <- strsplit(arguments[2], ",")[[1]]
data <- read.csv(arguments[1], colClasses = setNames(rep("factor", length(factors)), factors))
fit <- quietly(lmer(model, data, REML = reml))
has_null <- nchar(arguments[6]) > 0
if (has_null) {
  null_formula <- as.formula(arguments[6])
  null_is_mixed <- grepl("|", arguments[6], fixed = TRUE)
  null <- if (null_is_mixed) lmer(null_formula, data, REML = reml) else lm(null_formula, data)
}

timed(switch(action,
  bootstrap_test = if (null_is_mixed) {
    function() {
      table <- PBmodcomp(fit, null, nsim = nsim, cl = 1)$test
      list(p = table["PBtest", "p.value"])
    }
  } else {
    function() bootstrap_by_refits(fit, null, as.numeric(2 * (logLik(fit) - logLik(null))))
  },
  bootstrap_refits = function() {
    draws <- bootMer(fit, function(m) c(fixef(m), getME(m, "theta"), sigma(m)), nsim = nsim)
    list(se = sd(draws$t[, term]))
  },
  exact_rlrt = function() list(p = exactRLRT(fit, nsim = nsim)$p.value[[1]]),
  exact_lrt = function() list(p = exactLRT(fit, null, nsim = nsim)$p.value[[1]]),
  kenward_roger = function() {
    row <- KRmodcomp(fit, null)$test["Ftest", ]
    list(F = row$stat, df = row$ddf)
  },
  satterthwaite = function() {
    row <- anova(as_lmerModLmerTest(fit))[term, ]
    list(F = row$`F value`, df = row$DenDF)
  },
  profile_intervals = function() {
    limits <- confint(fit, oldNames = FALSE)
    list(
      "sigma lower" = limits["sigma", 1], "sigma upper" = limits["sigma", 2],
      "Days lower" = limits["Days", 1], "Days upper" = limits["Days", 2]
    )
  }
))
