"""The Python of a page: it runs cells as a notebook does and hands on each output as it comes.

It runs in Pyodide. `page.send` takes one output, in the notebook format, as JSON.
"""

import json
import os
import sys
from contextlib import contextmanager
from types import ModuleType

os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

# What every page needs, before anything listens to what it says while it starts.
import matplotlib.pyplot
import pandas
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from page import send
from traitlets import Type
from traitlets.config import Config

import mmlib  # noqa: F401


def emit(output_type, **content):
    """Hand on one output."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    send(json.dumps({"output_type": output_type, **content}))


class Stream:
    """What is printed, handed on line by line."""

    encoding = "utf-8"

    def __init__(self, name):
        self.name, self.waiting = name, ""

    def write(self, text):
        self.waiting += text
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self):
        text, self.waiting = self.waiting, ""
        if text:
            send(json.dumps({"output_type": "stream", "name": self.name, "text": text}))

    def isatty(self):
        return False


class Hook(DisplayHook):
    """The value of a cell's last line."""

    def write_output_prompt(self):
        """The page writes no prompt."""

    def write_format_data(self, format_dict, md_dict=None):
        emit("execute_result", data=format_dict, metadata=md_dict or {})


class Publisher(DisplayPublisher):
    """What `display` shows, figures among it."""

    def publish(self, data, metadata=None, **_):
        emit("display_data", data=data, metadata=metadata or {})


class Shell(InteractiveShell):
    """IPython, whose outputs go to the page."""

    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)

    def _showtraceback(self, etype, evalue, stb):
        emit("error", ename=etype.__name__, evalue=str(evalue), traceback=stb)


class Names:
    """The names of a page, and a copy of them in which solutions run.

    What a solution defines must not look like an answer of the reader. So solutions work in a
    copy, which follows whatever the page's names become.
    """

    def __init__(self, shell):
        self.shell = shell
        self.aside, self.followed = ModuleType("__main__"), {}

    @contextmanager
    def chosen(self, *, aside):
        """Let the shell work with the page's names, or with the copy."""
        own = self.shell.user_module, self.shell.user_ns
        if aside:
            names = self.aside.__dict__
            names.update({k: v for k, v in own[1].items() if self.followed.get(k, names) is not v})
            self.followed = dict(own[1])
            self.shell.user_module, self.shell.user_ns = self.aside, names
        try:
            yield
        finally:
            self.shell.user_module, self.shell.user_ns = own


def settings():
    """Errors as plain Python shows them, no colours, and no history on a disk that is not there."""
    config = Config()
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.xmode = "Plain"
    config.HistoryManager.enabled = False
    return config


def widen():
    """Let pandas show as many columns as in a notebook, which it does not take this Python for."""
    pandas.options.display.max_columns = 20


def fresh():
    """Forget all names, figures and settings, as a new Python would."""
    global names
    shell.reset(new_session=True)
    names = Names(shell)
    matplotlib.pyplot.close("all")
    matplotlib.rcdefaults()
    pandas.reset_option("^display")
    widen()


def run(source, aside=False):
    """Run one cell; return whether it went well."""
    with names.chosen(aside=aside):
        result = shell.run_cell(source, store_history=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return result.success


sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
shell = Shell.instance(config=settings())
names = Names(shell)
widen()
