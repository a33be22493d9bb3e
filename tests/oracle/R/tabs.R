## Run the R code that the book prints, tests/oracle/tabs/NAME.R, and write what R answers into
## NAME.txt beside it: the code itself, and below each expression its output behind "#> ".
##
##   Rscript tests/oracle/R/tabs.R [NAME ...]      all of them, or those named
##
## Each script runs in a process of its own. A script that stops is named, keeps its old answer, and
## makes the command fail. versions.txt says which R and which packages gave the answers.
arguments <- commandArgs(trailingOnly = TRUE)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1]))
tabs <- normalizePath(file.path(here, "..", "tabs"))
shipped <- normalizePath(file.path(here, "..", "..", "..", "mmlib", "data"))
packages <- c("lme4", "lmerTest", "pbkrtest", "RLRsim", "emmeans", "nlme", "mgcv", "faraway", "mlmRev")
options(width = 80, digits = 7, warn = 1, show.signif.stars = FALSE)
Sys.setenv(LANGUAGE = "en")

## Two packages are needed for their data only. Where they are not installed, their data are those
## of mmlib/data, which were exported from them.
data_of <- function(package) switch(package,
  faraway = list(
    pulp = read.csv(file.path(shipped, "pulp.csv"), stringsAsFactors = TRUE),
    penicillin = read.csv(file.path(shipped, "penicillin.csv"), stringsAsFactors = TRUE)),
  mlmRev = list(Hsb82 = transform(read.csv(file.path(shipped, "hsb82.csv.gz")),
    school = factor(school), sector = factor(sector, c("Public", "Catholic")))))
installed <- function(package) requireNamespace(package, quietly = TRUE)

library <- function(package, ...) {
  name <- as.character(substitute(package))
  if (!installed(name) && !is.null(data_of(name))) attach(data_of(name), name = name)
  else suppressPackageStartupMessages(base::library(name, character.only = TRUE))
  invisible()
}
data <- function(..., package) {
  name <- as.character(substitute(list(...)))[2]
  if (installed(package)) utils::data(list = name, package = package, envir = globalenv())
  else assign(name, data_of(package)[[name]], envir = globalenv())
}

answer <- function(script) {
  text <- readLines(script)
  parsed <- parse(text = text, keep.source = TRUE)
  last <- 0
  lines <- character()
  for (place in seq_along(parsed)) {
    source <- attr(parsed, "srcref")[[place]]
    lines <- c(lines, text[seq_len(source[3] - last) + last])
    last <- source[3]
    output <- capture.output({
      value <- withVisible(eval(parsed[[place]], globalenv()))
      if (value$visible) print(value$value)
    })
    output <- sub("\\s+$", "", output)
    lines <- c(lines, paste0("#> ", output[nzchar(output)])[seq_along(output[nzchar(output)])])
  }
  lines
}

if (length(arguments) == 2 && arguments[1] == "--one") {
  script <- file.path(tabs, paste0(arguments[2], ".R"))
  lines <- answer(script)
  writeLines(lines, sub("R$", "txt", script))
} else {
  names <- if (length(arguments)) arguments else sub("\\.R$", "", sort(list.files(tabs, "\\.R$")))
  file <- file.path(here, "tabs.R")
  failed <- vapply(names, function(name) {
    cat(name, "\n")
    system2(file.path(R.home("bin"), "Rscript"), c(file, "--one", name)) != 0
  }, logical(1))
  version_of <- function(name) if (installed(name)) as.character(packageDescription(name)$Version) else
    "not installed: its data are those of mmlib/data"
  writeLines(c(paste("R", getRversion()), paste(packages, vapply(packages, version_of, ""))),
    file.path(tabs, "versions.txt"))
  if (any(failed)) {
    cat("These scripts stopped:", names[failed], "\n")
    quit(status = 1)
  }
}
