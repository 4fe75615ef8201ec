"""The questions of ``bt-alerts init --interactive``.

What is asked is made from the channel types themselves: their arguments are the fields, their model says what is wrong
with an answer. Credentials are typed without echo. Until the last answer everything is in memory alone: whoever stops
half-way leaves no file, and no entry in the keyring.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bt_alerts.cli.shell import FAILED, WRONG_USE, Stop, complain, errors, output, say, shown
from bt_alerts.dispatchers.base import Argument, DeliveryFailed
from bt_alerts.dispatchers.registry import UnknownChannelType, channel_types, dispatcher_class
from bt_alerts.errors import SettingsError
from bt_alerts.redact import register_secret
from bt_alerts.settings import Settings, keyring
from bt_alerts.settings.file import Finding, SettingsFile, literal
from bt_alerts.settings.models import ChannelSettings, channel_model
from bt_alerts.settings.yaml_source import reference

#: Where credentials can be kept.
KEYRING, FILE, ENVIRONMENT = "keyring", "file", "environment"


# ------------------------------------------------------------------------------------------------------- asking


def ask(question: str, default: str = "") -> str:
    """An answer, stripped; ``default`` where it is empty. Raises ``EOFError`` where there will be none."""
    output().print(shown(f"{question} [{default}] " if default else f"{question} "), end="", soft_wrap=True)
    sys.stdout.flush()
    return input().strip() or default


def ask_secret(question: str) -> str:
    """An answer that the terminal does not show, nor keeps, nor any error or log of this process from now on."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            answer = getpass.getpass(f"{question} ").strip()
        except getpass.GetPassWarning:
            answer = None
    if answer is None:
        raise Stop(WRONG_USE, "This terminal shows what is typed: run it in another, or fill in the file by hand.")
    register_secret(answer)
    return answer


def yes(question: str, default: bool = True) -> bool:
    """Yes or no."""
    while True:
        answer = ask(f"{question} [{'Y/n' if default else 'y/N'}]").lower()
        if answer in {"", "y", "yes", "n", "no"}:
            return answer.startswith("y") if answer else default
        say("Answer y or n.", "yellow")


def chosen(question: str, words: Sequence[str], default: str = "") -> list[str]:
    """Some of ``words``, by their numbers (from 1) or as they are, in the order of the answer."""
    while True:
        answers = re.split(r"[,\s]+", ask(question, default).strip(", "))
        numbered = [
            words[int(each) - 1] if each.isdecimal() and 0 < int(each) <= len(words) else each for each in answers
        ]
        unknown = [each for each in numbered if each not in words]
        if not unknown:
            return list(dict.fromkeys(numbered))
        if answers != [""]:
            say(f"There is no {unknown[0]!r}.", "yellow")
        say(f"Answer with numbers from 1 to {len(words)}, or with names, separated by commas.", "yellow")


# ---------------------------------------------------------------------------------------------------- the questions


class _SoFar(NamedTuple):
    """What was answered until a question; it holds credentials."""

    text: str
    to_keep: Mapping[str, str]
    environ: Mapping[str, str]
    variables: Sequence[str]


class Interview:
    """Asks for channels and puts them into a settings file.

    Args:
        file: the file; nothing is written into it before the last answer.
        environ: the environment in which the settings will be loaded.
    """

    def __init__(self, file: SettingsFile, environ: Mapping[str, str]) -> None:
        self.file = file
        #: The environment, and what was typed under the name by which the file refers to it.
        self.environ = dict(environ)
        #: Variables that the file refers to and that are still to be set.
        self.variables: list[str] = []
        self._set = set(environ)
        self._to_keep: dict[str, str] = {}
        self._place = ""

    def run(self) -> list[str]:
        """Ask everything and save. The names of the channels; none where the answer was not to save.

        Raises:
            SettingsError: where the file has mistakes of its own, or cannot be written. Nothing was.
        """
        mistakes = self.file.check(self.environ).errors
        if mistakes:
            raise SettingsError([finding.sentence for finding in mistakes])
        types = channel_types()
        for number, each in enumerate(types, 1):
            say(f"{number:>3}  {each:<10} {about(each)}")
        names = [self._channel(each) for each in chosen("Which channels? Several are separated by commas:", types)]
        if not yes(f"Write {', '.join(names)} into {self.file.shown}?"):
            return []
        self._save()
        return names

    def _save(self) -> None:
        before: dict[str, str | None] = {}
        try:
            for name, secret in self._to_keep.items():
                before[name] = keyring.kept(name)
                keyring.keep(name, secret)
            self.file.save(self.environ)
        except BaseException:  # Ctrl-C too: no credential stays behind of what was not finished
            for name, secret_before in before.items():
                with contextlib.suppress(SettingsError):
                    keyring.forget(name) if secret_before is None else keyring.keep(name, secret_before)
            raise

    # One channel ---------------------------------------------------------------------------------------------

    def _channel(self, channel_type: str) -> str:
        try:
            model = channel_model(channel_type)
        except UnknownChannelType as exc:
            told = str(exc)
        else:
            say("")
            say(f"{channel_type}: {about(channel_type)}", "bold")
            return self._filled(channel_type, model)
        raise Stop(FAILED, f"{told}.")

    def _filled(self, channel_type: str, model: type[ChannelSettings]) -> str:
        name = self._name(channel_type)
        main = [argument for argument in model.arguments if argument.required or argument.env]
        more = [argument for argument in model.arguments if argument not in main and _is_simple(argument)]
        while True:
            if name != channel_type:
                self.file.set(channel_type, "alerts", name, "type")
            self.file.set(True, "alerts", name, "enabled")
            for argument in main:
                self._answer(name, channel_type, argument)
            settings = self._mended(name, channel_type, main)
            if more and yes(f"Set more of {len(more)} settings that have defaults?", default=False):
                self._more(name, channel_type, more)
                settings = self._mended(name, channel_type, [*main, *more])
            # What was answered stands until it is answered anew: a forgotten address would mean the default one.
            if settings is not None and (self._works(name, settings) or not yes("Change your answers?")):
                return name

    def _so_far(self) -> _SoFar:
        return _SoFar(self.file.text, dict(self._to_keep), dict(self.environ), tuple(self.variables))

    def _back_to(self, before: _SoFar) -> None:
        """Forget what was answered since, credentials too: an answer that is then left out was never given."""
        self.file.replace_text(before.text)
        self._to_keep = dict(before.to_keep)
        self.environ = dict(before.environ)
        self.variables = list(before.variables)

    def _mended(self, name: str, channel_type: str, arguments: Sequence[Argument]) -> Settings | None:
        """What the file means now; None where it is wrong. An answer that turns out to be wrong is asked for again."""
        named = {argument.name: argument for argument in arguments}
        while True:
            checked = self.file.check(self.environ)
            wrong = None
            for finding in checked.errors:
                about = str(finding.path[2]) if len(finding.path) > 2 else ""
                complain(f"{about}: {finding.said}." if about else f"{finding.said}.")
                wrong = wrong or named.get(about)
            if wrong is None:
                return checked.settings
            self._answer(name, channel_type, wrong)

    def _more(self, name: str, channel_type: str, arguments: Sequence[Argument]) -> None:
        for number, argument in enumerate(arguments, 1):
            say(f"{number:>3}  {argument.name:<24} {argument.about} [{_default(argument)}]")
        named = {argument.name: argument for argument in arguments}
        for each in chosen("Which?", list(named)):
            self._answer(name, channel_type, named[each])

    def _name(self, channel_type: str) -> str:
        blocks = self.file.get("alerts", default={})
        taken = {n: b if isinstance(b, dict) else {} for n, b in blocks.items()} if isinstance(blocks, dict) else {}
        free = channel_type
        number = 2
        while free in taken and taken[free].get("enabled", "true").lower() in {"true", "on", "yes", "1"}:
            free, number = f"{channel_type}-{number}", number + 1
        while True:
            name = ask("Name of this channel:", free)
            theirs = str(taken.get(name, {}).get("type", name)) if name in taken else channel_type
            if not name.isprintable():
                say("Use characters that can be seen.", "yellow")
            elif theirs != channel_type:
                say(f"There is a channel {name} of type {theirs} already: name this one otherwise.", "yellow")
            else:
                return name

    def _answer(self, name: str, channel_type: str, argument: Argument) -> None:
        """Ask for one argument until its model takes it, and put it into the file."""
        if self._comes_from_environment(name, channel_type, argument):
            say(f"  {argument.name}: taken from the variable {argument.env}, which is set.")
            return
        if argument.credential:
            self._choose_place()
        about = f" ({argument.about})" if argument.about else ""
        stands = self.file.get("alerts", name, argument.name) is not None
        can_go = stands and not argument.required
        left_out = ", Enter keeps what is there" if stands else "" if argument.required else ", Enter leaves it out"
        left_out += ", - takes it out" if can_go else ""
        key = ("alerts", name, argument.name)
        question = f"  {argument.name}{about}{', not shown' if argument.credential else ''}{left_out}:"
        while True:
            answer = ask_secret(question) if argument.credential else ask(question)
            if not answer and (stands or not argument.required):
                return
            if answer == "-" and can_go:
                self._take_out(*key)
                return
            before = self._so_far()
            if answer:
                self.file.set(self._written(name, channel_type, argument, answer), *key)
                wrong = [finding for finding in self.file.check(self.environ).errors if finding.path[:3] == key]
                if not wrong:
                    return
            else:
                wrong = [Finding("error", "must be given")]
            for finding in wrong:
                complain(f"  {argument.name}: {finding.said}.")
            self._back_to(before)

    def _take_out(self, *key: str) -> None:
        """Take a value out of the file, and what was to be kept elsewhere for it: it was never given then."""
        named, _ = reference(str(self.file.get(*key, default=""))) or ("", "")
        if named.startswith(keyring.PREFIX):
            self._to_keep.pop(named.removeprefix(keyring.PREFIX), None)
            self.environ.pop(named, None)
        elif named in self.variables:
            self.variables.remove(named)
            self.environ.pop(named, None)
        self.file.remove(*key)

    def _works(self, name: str, settings: Settings) -> bool:
        """Whether the service takes the credentials; it is asked without sending where it can be."""
        dispatcher = settings.dispatcher(name)
        works = True
        try:
            for target in dispatcher.targets():
                try:
                    with errors().status(shown(f"Asking {name} …")):
                        note = dispatcher.check(target).note
                except DeliveryFailed as failed:
                    works = False
                    complain(f"{target.label}: {failed.reason}")
                else:
                    say(f"{target.label}: {note or 'works'}", "green")
        finally:
            dispatcher.close()
        return works

    # Credentials ---------------------------------------------------------------------------------------------

    def _choose_place(self) -> None:
        if self._place:
            return
        problem = keyring.problem()
        say("Credentials can be kept")
        say("  1  keyring      in the keyring of this system" + (" (not usable now)" if problem else ""))
        say(f"  2  file         in {self.file.shown}, which only you can read")
        say("  3  environment  in variables that you set wherever your program runs")
        places = [KEYRING, FILE, ENVIRONMENT]
        while not self._place:
            place = chosen("Where?", places, default=FILE if problem else KEYRING)[0]
            if place == KEYRING and problem:
                complain(f"{problem}.")
            else:
                self._place = place

    def _written(self, name: str, channel_type: str, argument: Argument, answer: str) -> str:
        """What stands in the file for this answer."""
        if not argument.credential:
            return answer
        if self._place == KEYRING:
            entry = self._entry(name, argument, answer)
            self._to_keep[entry] = self.environ[keyring.PREFIX + entry] = answer
            return f"${{{keyring.PREFIX}{entry}}}"
        if self._place == ENVIRONMENT:
            variable = argument.env if name == channel_type else ""
            variable = variable or re.sub(r"\W", "_", f"{name}_{argument.name}", flags=re.ASCII).upper()
            variable = variable if not variable[0].isdigit() else f"_{variable}"
            self.environ[variable] = answer
            if variable not in self.variables:
                self.variables.append(variable)
            return f"${{{variable}}}"
        return literal(answer)

    def _entry(self, name: str, argument: Argument, answer: str) -> str:
        """The keyring's name for it: that which the file has already, else one that no other file uses."""
        named, _ = reference(str(self.file.get("alerts", name, argument.name, default=""))) or ("", "")
        if named.startswith(keyring.PREFIX):
            return named.removeprefix(keyring.PREFIX)
        first = entry = re.sub(r"[^\w.-]", "-", f"{name}.{argument.name}")
        number = 2
        while entry not in self._to_keep and keyring.kept(entry) not in {None, answer}:
            entry, number = f"{first}-{number}", number + 1
        return entry

    def _comes_from_environment(self, name: str, channel_type: str, argument: Argument) -> bool:
        """The environment comes before the file, so an answer would have no effect."""
        if not (argument.env and {argument.env, f"{argument.env}_FILE"} & self._set):
            return False
        blocks = self.file.get("alerts", default={})
        others = [
            n for n, b in blocks.items() if n != name and isinstance(b, dict) and b.get("type", n) == channel_type
        ]
        return name == channel_type or not others


def about(channel_type: str) -> str:
    """A channel type in one line."""
    try:
        found = dispatcher_class(channel_type)
    except UnknownChannelType as exc:
        return str(exc)
    package = found.__module__
    if found.__module__.startswith("bt_alerts.dispatchers."):
        package = ".".join(found.__module__.split(".")[:3])
    said = sys.modules[package].__doc__ or found.__doc__ or ""
    first = said.strip().split("\n", 1)[0]
    return re.sub(r"\s*\(https?://[^)]*\)|\.$", "", first.partition(": ")[2] or first)


def _is_simple(argument: Argument) -> bool:
    """Whether one line can hold it; ``enabled`` is decided already."""
    return argument.name != "enabled" and "Mapping" not in str(argument.annotation)


def _default(argument: Argument) -> str:
    return "not given" if argument.default in (None, "", ()) else str(argument.default)
