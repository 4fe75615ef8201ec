"""A settings file that is changed without losing what people wrote in it.

Promises: comments, order and everything that was not changed stay byte for byte. What is saved passed the same checks
as ``bt-alerts check``. A save is whole or did not happen, wherever the machine stops: the file holds the old text or
the new one, is readable by its owner alone, and the version before stands beside it as ``NAME.previous``. Somebody
else's change to the file is never overwritten. No error quotes a value.

What it does not do: nothing is written before :meth:`SettingsFile.save`, and it does not tell a running process to
read the file again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from bt_alerts.errors import SettingsError
from bt_alerts.settings import yaml_edit
from bt_alerts.settings.layers import KeyPath, Told, find
from bt_alerts.settings.load import inspect
from bt_alerts.settings.models import Settings
from bt_alerts.settings.yaml_places import values
from bt_alerts.settings.yaml_source import MAX_BYTES, as_text, read_content, shown_path

_MODE = 0o600
_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with settings, or may not be meant so.

    Args:
        level: an ``error`` keeps the file from being saved; a ``warning`` does not.
        said: what it is and what to do, without the place.
        path: the key it is about; empty where it is about the whole.
        line: in the text, from 1; 0 where it stands elsewhere (in the environment, say).
        sentence: all of it, with file, line and key in front, as ``bt-alerts check`` shows it.
    """

    level: Literal["error", "warning"]
    said: str
    path: KeyPath = ()
    line: int = 0
    sentence: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, and the settings where it found no error."""

    findings: tuple[Finding, ...]
    settings: Settings | None = dataclasses.field(default=None, repr=False)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "warning"]


class SettingsFile:
    """A settings file, and what is to become of it. Its ``repr`` shows no values.

    Args:
        path: the file; one that does not exist begins empty.

    Raises:
        SettingsError: where it exists and cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.shown = shown_path(path)
        self.path = Path(os.path.abspath(os.path.expanduser(os.fsdecode(path))))
        self._given = path
        content: bytes | None = None
        with contextlib.suppress(FileNotFoundError):
            content = read_content(self.path, self.shown)
        self._bom = content is not None and content.startswith(_BOM)
        self._digest = None if content is None else _digest(content)
        self._read = self._text = as_text(content or b"", self.shown)

    @property
    def text(self) -> str:
        """The YAML as it would be saved."""
        return self._text

    @property
    def overtaken(self) -> bool:
        """Whether the file holds something else now than when it was read."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return self._digest is not None
        except OSError:
            return True
        return _digest(content) != self._digest

    @property
    def changed(self) -> bool:
        """Whether there is anything to save."""
        return self._text != self._read

    def get(self, *keys: str | int, default: Any = None) -> Any:
        """What is written at ``keys``: text, a list or a mapping; ``default`` where nothing is.

        Everything stays text as it is written, references such as ``${NAME}`` too.

        Raises:
            SettingsError: where the text is no YAML.
        """
        found = find(values(self._text, self.shown), keys)
        return default if found is None else found

    def set(self, value: Any, *keys: str | int) -> None:
        """Write ``value`` at ``keys``; blocks on the way are made.

        Args:
            value: text, a number, a truth value, a list or a mapping; None removes what is there. ``${`` in a text
                begins a reference: see :func:`literal` for a text that is to be taken as it is.
            keys: ``set("-2", "alerts", "pushover", "priority")``; numbers lead into lists, and one more than a list
                has adds to it.

        Raises:
            SettingsError: where the text is no YAML, or the value is shared with another place. Nothing is changed.
            TypeError: where the value cannot be written.
        """
        if value is None:
            self.remove(*keys)
        else:
            self._text = yaml_edit.put(self._text, _named(keys), value, self.shown)

    def remove(self, *keys: str | int) -> None:
        """Take out what stands at ``keys``, with the comment on its line; where nothing does, nothing changes.

        Raises:
            SettingsError: as for :meth:`set`.
        """
        self._text = yaml_edit.remove(self._text, _named(keys), self.shown)

    def replace_text(self, text: str) -> None:
        """Take all of ``text``: somebody edited the YAML itself. It may be wrong until it is saved."""
        self._text = text

    def check(self, environ: Mapping[str, str] | None = None) -> Checked:
        """Look for mistakes as ``bt-alerts check`` does, in the text as it would be saved. Nothing is written.

        Args:
            environ: the environment; the process's own unless given.
        """
        try:
            if len(self._text.encode("utf-8")) > MAX_BYTES:
                raise SettingsError([f"{self.shown}: larger than {MAX_BYTES:,} bytes; this is no settings file"])
            settings = inspect(self._given, environ=environ, text=self._text)
        except UnicodeEncodeError as exc:
            line = self._text.count("\n", 0, exc.start) + 1
            said = "a character here is half of one; write it again"
            return Checked((Finding("error", said, (), line, f"{self.shown}:{line}: {said}"),))
        except SettingsError as exc:
            return Checked(tuple(_finding("error", problem) for problem in exc.problems))
        return Checked(tuple(_finding("warning", told) for told in settings.warnings), settings)

    def save(self, environ: Mapping[str, str] | None = None) -> None:
        """Check the text and put it in the file's place.

        Args:
            environ: as for :meth:`check`.

        Raises:
            SettingsError: where the check finds an error, where the file was changed since it was read, and where it
                cannot be written. The file is as it was then.
        """
        errors = self.check(environ).errors
        if errors:
            raise SettingsError([finding.sentence for finding in errors])
        reason = ""
        try:
            self._save()
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        if reason:
            raise SettingsError([f"{self.shown}: cannot be written: {reason}. It is as it was"])
        self._read = self._text

    def _save(self) -> None:
        target = Path(os.path.realpath(self.path))  # a link stays a link
        if not target.parent.is_dir():
            raise SettingsError([f"{self.shown}: there is no folder {shown_path(target.parent)}; make it first"])
        content = (_BOM if self._bom else b"") + self._text.encode("utf-8")
        with _locked(target):
            before = target.read_bytes() if os.path.lexists(target) else None
            if (None if before is None else _digest(before)) != self._digest:
                what = "was changed" if before is not None else "was removed"
                told = f"the file {what} by somebody else since it was read, and stays so; read it again"
                raise SettingsError([f"{self.shown}: {told}, and make your change once more"])
            if before is None:
                _write_new(target, content)
            elif before == content:
                os.chmod(target, _MODE)
            else:
                _remove_torn(target)
                _write_over(target, before, content)
        self._digest = _digest(content)

    def __repr__(self) -> str:
        return f"<SettingsFile {self.shown}{', changed' if self.changed else ''}>"


def literal(text: str) -> str:
    """``text`` as it must be written to be taken as it is, where it has a ``${`` in it."""
    return text.replace("${", "$${")


def _named(keys: tuple[str | int, ...]) -> KeyPath:
    if not keys:
        raise TypeError("name at least one key")
    return tuple(key if isinstance(key, int) else str(key) for key in keys)


def _finding(level: Literal["error", "warning"], told: str) -> Finding:
    if isinstance(told, Told):
        return Finding(level, told.said, told.path, told.line, str(told))
    return Finding(level, told, (), 0, told)


# ----------------------------------------------------------------------------------------------- on disk


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """No other program of ours saves this file meanwhile. The system drops the lock where the process dies."""
    if sys.platform == "win32" or not target.exists():  # a new file is made in one step that fails where one exists
        yield
        return
    import fcntl

    with target.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _torn(target: Path) -> str:
    return f".{target.name}."


def _remove_torn(target: Path) -> None:
    """What saves that were killed left behind: it holds credentials. The lock is ours, so none is in use."""
    for path in target.parent.iterdir():
        if path.name.startswith(_torn(target)) and path.name.endswith(".saving"):
            path.unlink(missing_ok=True)


def _write_new(target: Path, content: bytes) -> None:
    """Make a file in one step, which fails where one exists."""
    with _written(target, content) as temporary:
        _link(temporary, target)
    _settle(target.parent)


def _write_over(target: Path, before: bytes, content: bytes) -> None:
    """Put a file in the place of ``target``, and what stood there beside it; both are on the disk by then."""
    previous = target.with_name(f"{target.name}.previous")
    with _written(previous, before) as older, _written(target, content) as newer:
        kept = older.with_name(f"{older.name}.saving")  # the version before the one before, until this one is in place
        had = os.path.lexists(previous)
        try:
            with contextlib.suppress(OSError, NotImplementedError):  # a file system without links
                os.link(previous, kept)
            os.replace(older, previous)
            try:
                os.replace(newer, target)
            except BaseException:  # a file that is a mount of its own, say, cannot be replaced
                if kept.exists():
                    os.replace(kept, previous)
                elif not had:
                    previous.unlink(missing_ok=True)
                raise
        finally:
            kept.unlink(missing_ok=True)
    _settle(target.parent)


@contextlib.contextmanager
def _written(target: Path, content: bytes) -> Iterator[Path]:
    """A file beside ``target`` with what it is to hold, which the disk has taken. It is gone afterwards, or renamed."""
    descriptor, name = tempfile.mkstemp(prefix=_torn(target), suffix=".saving", dir=target.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _keep_owner(file.fileno(), target)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Have the disk take the names of a folder."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _keep_owner(descriptor: int, target: Path) -> None:
    """An administrator who saves somebody's file leaves it theirs; everyone else is refused."""
    if os.name != "nt" and target.exists() and (status := target.stat()).st_uid != os.geteuid():
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _link(temporary: Path, target: Path) -> None:
    """Give a file its name; unlike a rename this fails where somebody was faster."""
    try:
        os.link(temporary, target)
    except (PermissionError, NotImplementedError):  # a file system without links
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE))
        os.replace(temporary, target)
