# Time R's inference on one case, as measure.py times the Python packages:
#   Rscript inference.R DATA.csv FACTORS BUDGET ACTION FORMULA NULL REML NSIM TERM EFFECT
# Prints one line of JSON after each stage.
script <- sub("--file=", "", grep("--file=", commandArgs(), value = TRUE), fixed = TRUE)
source(file.path(dirname(gsub("~+~", " ", script, fixed = TRUE)), "timed.R"))
action <- arguments[4]
model <- as.formula(arguments[5])
reml <- arguments[7] == "True"
nsim <- as.numeric(arguments[8])
term <- arguments[9]
effect <- as.numeric(arguments[10])
packages <- c(
  "lme4", bootstrap_test = "pbkrtest", kenward_roger = "pbkrtest", power = "pbkrtest",
  satterthwaite = "lmerTest", exact_lrt = "RLRsim", exact_rlrt = "RLRsim"
)
needed <- unname(packages[names(packages) %in% c("", action)])
for (package in needed) suppressPackageStartupMessages(library(package, character.only = TRUE))
lmer <- lme4::lmer

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
data <- read_data()
fit <- quietly(lmer(model, data, REML = reml))
has_null <- nchar(arguments[6]) > 0
if (has_null) {
  null_formula <- as.formula(arguments[6])
  null_is_mixed <- grepl("|", arguments[6], fixed = TRUE)
  null <- if (null_is_mixed) lmer(null_formula, data, REML = reml) else lm(null_formula, data)
}

run <- timed(switch(action,
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
  power = function() {
    moved <- (effect - fixef(fit)[[term]]) * model.matrix(fit)[, term]
    rejected <- sapply(simulate(fit, nsim, seed = 1), function(y) {
      drawn <- data
      drawn[[all.vars(model)[1]]] <- y + moved
      again <- quietly(lmer(model, drawn))
      quietly(KRmodcomp(again, update(again, null_formula)))$test["Ftest", "p.value"] < 0.05
    })
    list(power = mean(rejected))
  },
  profile_intervals = function() {
    limits <- confint(fit, oldNames = FALSE)
    list(
      "sigma lower" = limits["sigma", 1], "sigma upper" = limits["sigma", 2],
      "Days lower" = limits["Days", 1], "Days upper" = limits["Days", 2]
    )
  }
))
answer <- paste(sprintf('"%s": %.10g', names(run$result), unlist(run$result)), collapse = ", ")
cat(sprintf('{"run": %s, "answer": {%s}}\n', run$numbers, answer))
