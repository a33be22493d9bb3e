"""The files that describe the project agree with each other and with what is in it.

Each rule is a function that lists what breaks it; it is tried on the project, where it must find
nothing, and on a broken example, where it must find the break.
"""

import doctest
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import mmlib

ROOT = Path(__file__).resolve().parents[1]
CHECK, PUBLISH = ".github/workflows/check.yml", ".github/workflows/publish.yml"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked_files() -> list[Path]:
    """Files under version control that still exist."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# Pins -------------------------------------------------------------------------------------------


def declared_requirements(pyproject: str) -> list[Requirement]:
    """Every dependency of pyproject.toml: of the package, its extras and its build."""
    declared = tomllib.loads(pyproject)
    project = declared["project"]
    extras = project.get("optional-dependencies", {}).values()
    lists = [declared["build-system"]["requires"], project["dependencies"], *extras]
    return [Requirement(line) for lines in lists for line in lines]


def unpinned(pyproject: str, requirements: str) -> list[str]:
    """Dependencies that requirements.txt leaves open, leaves out or pins to a wrong version."""
    lines = requirements.replace("\\\n", "").splitlines()
    found = [(line, Requirement(line.partition("--hash")[0])) for line in lines]
    pins = {canonicalize_name(pin.name): pin for _, pin in found}
    problems = [f"{pin} has no checksum" for line, pin in found if "--hash=sha256:" not in line]
    versions = {name: re.fullmatch(r"==([^*,]+)", str(pin.specifier)) for name, pin in pins.items()}
    problems += [
        f"{pins[name]} is not pinned to one version" for name in pins if not versions[name]
    ]
    for wanted in declared_requirements(pyproject):
        name = canonicalize_name(wanted.name)
        if name not in pins:
            problems.append(f"{wanted.name} has no pin")
        elif (to := versions[name]) and not wanted.specifier.contains(to[1], prereleases=True):
            problems.append(f"{pins[name]} does not satisfy {wanted}")
    return problems


def conda_disagreements(environment: str, pyproject: str) -> list[str]:
    """Where environment.yml does not give the Python and the pins of the project."""
    dependencies = yaml.safe_load(environment)["dependencies"]
    plain = [Requirement(line) for line in dependencies if isinstance(line, str)]
    pip_lines = [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]
    allowed = SpecifierSet(tomllib.loads(pyproject)["project"]["requires-python"])
    oldest = f"{min(spec.version for spec in allowed)}"
    python = next((line.specifier for line in plain if line.name == "python"), None)
    problems = []
    if python is None:
        problems.append("no python")
    elif not python.contains(oldest) or any(
        python.contains(f"3.{minor}") and not allowed.contains(f"3.{minor}") for minor in range(30)
    ):
        problems.append(f"python {python} is not within {allowed}")
    if extra := [line.name for line in plain if line.name not in ("python", "pip")]:
        problems.append(f"{extra} come from elsewhere than the pins")
    if pip_lines != ["--requirement requirements.txt"]:
        problems.append(f"pip installs {pip_lines}, not the pins")
    return problems


PYPROJECT_EXAMPLE = """
[build-system]
requires = []
[project]
requires-python = ">=3.11"
dependencies = ["numpy>=2.0"]
[project.optional-dependencies]
book = ["jupyter-book<2"]
"""


def test_every_dependency_is_pinned_to_a_version_that_fits() -> None:
    assert unpinned(read("pyproject.toml"), read("requirements.txt")) == []


@pytest.mark.parametrize(
    ("requirements", "problem"),
    [
        ("numpy==2.4.6", "jupyter-book has no pin"),
        ("numpy==1.26.4\njupyter-book==1.0.4", "numpy==1.26.4 does not satisfy numpy>=2.0"),
        ("numpy==2.4.6\njupyter_book==2.0", "jupyter_book==2.0 does not satisfy jupyter-book<2"),
        ("numpy>=2.4\njupyter-book==1.0.4", "numpy>=2.4 is not pinned to one version"),
        ("numpy==2.*\njupyter-book==1.0.4", "numpy==2.* is not pinned to one version"),
        ("numpy==2.1 \\\n    --hash=sha256:1\njupyter-book==1", "jupyter-book==1 has no checksum"),
    ],
)
def test_a_wrong_pin_is_found(requirements: str, problem: str) -> None:
    assert problem in unpinned(PYPROJECT_EXAMPLE, requirements)


def test_conda_environment_is_the_same_pins() -> None:
    assert conda_disagreements(read("environment.yml"), read("pyproject.toml")) == []


@pytest.mark.parametrize(
    ("correct", "broken", "problem"),
    [
        ("python >=3.11,<3.15", "python >=3.10", "python >=3.10 is not within >=3.11"),
        ("python >=3.11,<3.15", "python >=3.12", "python >=3.12 is not within >=3.11"),
        ("- python >=3.11,<3.15", "- pip", "no python"),
        ("  - pip\n", "  - pip\n  - numpy >=1\n", "['numpy'] come from elsewhere than the pins"),
        (
            "--requirement requirements.txt",
            "--editable .",
            "pip installs ['--editable .'], not the pins",
        ),
    ],
)
def test_a_conda_environment_that_drifts_is_found(correct: str, broken: str, problem: str) -> None:
    environment = read("environment.yml")
    assert correct in environment
    found = conda_disagreements(environment.replace(correct, broken), read("pyproject.toml"))
    assert [line for line in found if line.startswith(problem)]


# Pythons ----------------------------------------------------------------------------------------


def pythons(pyproject: str, environment: str, makefile: str, workflow: str) -> dict[str, set[str]]:
    """Versions of Python that each file names."""
    classifiers = tomllib.loads(pyproject)["project"]["classifiers"]
    matrix = yaml.safe_load(workflow)["jobs"]["check"]["strategy"]["matrix"]["python"]
    conda = SpecifierSet(re.search(r"- python (\S+)", environment)[1])
    return {
        "pyproject.toml": {name[-4:] for name in classifiers if re.search(r":: 3\.\d", name)},
        "environment.yml": {f"3.{minor}" for minor in range(50) if f"3.{minor}" in conda},
        "Makefile": set(re.findall(r"python(3\.\d+)", re.search("PYTHON .=.*", makefile)[0])),
        "check.yml": set(matrix),
    }


def test_every_file_names_the_same_pythons() -> None:
    found = pythons(*map(read, ("pyproject.toml", "environment.yml", "Makefile", CHECK)))
    assert found["check.yml"] == {"3.11", "3.12", "3.13", "3.14"}
    assert [name for name, named in found.items() if named != found["check.yml"]] == []
    oldest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert f"sys.version_info < (3, {oldest.removeprefix('>=3.')})" in read("Makefile")


def test_a_python_that_one_file_forgot_is_found() -> None:
    found = pythons(
        '[project]\nclassifiers = ["Python :: 3", "Python :: 3.11"]',
        "- python >=3.12,<3.14",
        "PYTHON ?= python3 python3.11\n",
        "jobs: {check: {strategy: {matrix: {python: ['3.13']}}}}",
    )
    assert [sorted(named) for named in found.values()] == [
        ["3.11"],
        ["3.12", "3.13"],
        ["3.11"],
        ["3.13"],
    ]


# Versions ---------------------------------------------------------------------------------------


def versions(pyproject: str, citation: str, changelog: str) -> dict[str, str]:
    """Version that each file gives."""
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    return {
        "pyproject.toml": tomllib.loads(pyproject)["project"]["version"],
        "CITATION.cff": str(yaml.safe_load(citation)["version"]),
        "CHANGELOG.md": newest.group(1) if newest else "none",
    }


def test_one_version_everywhere() -> None:
    found = versions(read("pyproject.toml"), read("CITATION.cff"), read("CHANGELOG.md"))
    assert set(found.values()) == {mmlib.__version__}, found


def test_a_forgotten_version_is_found() -> None:
    found = versions(
        '[project]\nversion = "0.2.0"', "version: 0.1.0", "## [Unreleased]\n## [0.3.0]\n## [0.1.0]"
    )
    assert list(found.values()) == ["0.2.0", "0.1.0", "0.3.0"]


def test_citation_has_what_its_format_requires() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


# What no file may hold --------------------------------------------------------------------------

INDEX_HOST = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|registry\.yarnpkg|conda\.anaconda"
    r"|(?:index-url|find-links|trusted-host|registry)\s*[=\s]\s*\S*://"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.~/:$})-])/(?:work|root|tmp|Users|home/\w+|opt|private|mnt)/[\w.]"
)
FOREIGN = ("book/_static/vendor/", "tests/site/vendor/")
# These hold such paths as examples of what a check must find.
EXAMPLES = {"tests/test_house.py", "tests/book/test_checks.py"}


def ties_to_a_machine(text: str) -> list[str]:
    """Package hosts and absolute paths in a text."""
    return [found.group() for rule in (INDEX_HOST, MACHINE_PATH) for found in rule.finditer(text)]


def text_of(path: Path) -> str:
    """Text of a file, empty if it is binary."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8")


def test_no_file_is_tied_to_a_machine_or_a_package_host() -> None:
    own = {
        name: path
        for path in tracked_files()
        if not (name := path.relative_to(ROOT).as_posix()).startswith(FOREIGN)
        and name not in EXAMPLES
    }
    assert "requirements.txt" in own
    found = {name: ties for name, path in own.items() if (ties := ties_to_a_machine(text_of(path)))}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "--index-url https://packages.example.org/simple",
        "see https://pypi.org/project/x",
        'index-url = "https://mirror.example"',
        "File '/root/thing.py', line 2",
        "open('/tmp/data.csv')",
        "cd /home/someone/book",
        "(/work/book)",
    ],
)
def test_a_tie_to_a_machine_is_found(text: str) -> None:
    assert ties_to_a_machine(text)


@pytest.mark.parametrize(
    "text", ["book/work/x", "https://example.org/home/page", "a /b/c", "and/or"]
)
def test_innocent_text_is_left_alone(text: str) -> None:
    assert ties_to_a_machine(text) == []


PATH_TRICK = re.compile(r"sys\.path\b|sys\.modules\.pop|spec_from_file_location|run_path")


def test_every_module_is_imported_by_its_one_name() -> None:
    sources = [path for path in tracked_files() if path.suffix == ".py"]
    tricks = [path.name for path in sources if PATH_TRICK.search(text_of(path))]
    assert tricks == [Path(__file__).name]  # the examples below


@pytest.mark.parametrize("trick", ["sys.path.insert(0, here)", "sys.modules.pop('run')"])
def test_a_trick_with_the_path_is_found(trick: str) -> None:
    assert PATH_TRICK.search(trick)


# Commands ---------------------------------------------------------------------------------------


def targets(makefile: str) -> dict[str, str]:
    """Documented targets of the Makefile, with what they say they do."""
    return dict(re.findall(r"^([a-z]+):.*?## (.+)$", makefile, flags=re.MULTILINE))


def unknown_targets(text: str, makefile: str) -> set[str]:
    """Targets of ``make`` that a text's code names and the Makefile does not have."""
    named = set(re.findall(r"(?:^|`|run: )make ([a-z]+)", text, flags=re.MULTILINE))
    return named - targets(makefile).keys()


def the_two_commands(readme: str) -> list[str]:
    """Commands of the README's first block of code, without their comments."""
    block = re.search(r"```\w*\n(.*?)```", readme, flags=re.DOTALL)
    assert block, "the README has no block of code"
    return [line.split("#")[0].strip() for line in block.group(1).splitlines()]


def test_readme_starts_with_the_two_commands() -> None:
    assert the_two_commands(read("README.md")) == ["make book", "make test"]


def test_readme_example_gives_what_it_shows() -> None:
    options = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=options)
    assert result.failed == 0
    assert result.attempted > 3


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", CHECK, PUBLISH])
def test_documents_and_workflows_name_targets_that_exist(name: str) -> None:
    assert unknown_targets(read(name), read("Makefile")) == set()


@pytest.mark.parametrize("text", ["run `make tea`", "make tea", "- run: make tea"])
def test_an_unknown_target_is_found(text: str) -> None:
    assert unknown_targets(text, "book: ## Build") == {"tea"}


def test_make_help_lists_every_target() -> None:
    makefile = read("Makefile")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    assert phony
    assert set(phony.group(1).split()) == targets(makefile).keys()
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name, purpose in targets(makefile).items():
        assert re.search(rf"^  make {name} +{re.escape(purpose)}$", shown, flags=re.MULTILINE), name


def test_ci_runs_the_commands_of_the_readme() -> None:
    assert "run: bash .ci/run\n" in read(CHECK)
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = re.findall(r"(?m)(?:^|&& |\{ )(?:\w+=\S+ )?make ([\w ]+)", script.read_text())
    run = {word for line in lines for word in line.split()}
    commands = ["make lint", "make typecheck", *the_two_commands(read("README.md"))]
    assert {command.removeprefix("make ") for command in commands} <= run


def test_what_is_published_is_the_built_site() -> None:
    steps = yaml.safe_load(read(PUBLISH))["jobs"]["publish"]["steps"]
    (upload,) = (step for step in steps if "upload-pages" in step.get("uses", ""))
    assert upload["with"]["path"] == "_build/html"


# The guide --------------------------------------------------------------------------------------


def undescribed(files: list[str], guide: str) -> list[str]:
    """Modules and scripts that a guide does not name."""
    return [name for name in files if f"{name}`" not in guide and f"{name} " not in guide]


def test_guide_names_every_module_of_the_library() -> None:
    modules = [path.name for path in tracked_files() if path.is_relative_to(ROOT / "mmlib")]
    public = [name for name in modules if name.endswith(".py") and not name.startswith("_")]
    assert "formula.py" in public
    assert undescribed(public, read("CONTRIBUTING.md")) == []


def test_a_module_that_the_guide_forgot_is_found() -> None:
    assert undescribed(["a.py", "b.py"], "| `a.py` | does this |") == ["b.py"]


# The package ------------------------------------------------------------------------------------


def test_wheel_carries_data_style_and_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if path.is_relative_to(ROOT / "mmlib")
    }
    assert {"mmlib/py.typed", "mmlib/data/pulp.csv"} <= ours
    assert ours <= shipped
