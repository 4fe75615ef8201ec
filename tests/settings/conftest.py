"""What the settings tests share: a folder with a settings file, and a channel type of another package."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

THIRD_PARTY = """
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from bt_alerts.dispatchers.base import About, Credential, Dispatcher, Env, Receipt, Target


class PagerDispatcher(Dispatcher):
    type = "pager"
    rate = 7

    def __init__(
        self,
        token: Annotated[str, Credential(), Env("PAGER_TOKEN"), About("the token")],
        numbers: Annotated[Sequence[str], Env("PAGER_NUMBERS"), About("who is called")] = (),
        chats: Sequence[int | str] = (),
        keys: Annotated[Sequence[str] | None, Credential()] = None,
        headers: Annotated[Mapping[str, str] | None, Credential()] = None,
        level: Literal["Loud", "quiet"] = "quiet",
        depth: Literal[1, 2] = 1,
        volume: Annotated[float, Env("PAGER_VOLUME")] = 0.5,
        repeat: Annotated[int, Env("PAGER_REPEAT")] = 2,
        vibrate: bool = True,
        copy: str = "",
        api_url: str = "https://pager.test",
        **later: object,
    ) -> None:
        if volume > 11:
            raise ValueError(f"volume must be 11 or less, not {volume}")
        if token == "crash-in-constructor":
            raise RuntimeError(f"{token} crashed")
        if token == "refused-token":
            raise ValueError(f"the token {token} is refused")
        self.given = dict(
            token=token, numbers=numbers, chats=chats, keys=keys, headers=headers, level=level, depth=depth,
            volume=volume, repeat=repeat, vibrate=vibrate, copy=copy, api_url=api_url,
        )
        self.closed = False

    def targets(self):
        return [Target(number, number) for number in self.given["numbers"]]

    def deliver(self, alert, target, context):
        return Receipt()

    def check(self, target):
        return Receipt()

    def missing(self):
        return "" if self.given["numbers"] else "add somebody to call"


class NotADispatcher:
    pass
"""
ENTRY_POINTS = """
[bt_alerts.dispatchers]
pager = thirdparty_pager:PagerDispatcher
broken-pager = thirdparty_pager:NotADispatcher
gone = thirdparty_gone:Gone
"""


@pytest.fixture(autouse=True)
def third_party(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with channel types of its own, as pip would."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "thirdparty_pager.py").write_text(THIRD_PARTY)
    info = folder / "thirdparty_pager-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty-pager\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def alerts_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write ``alerts.yaml`` into the current folder and give its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        path = tmp_path / "alerts.yaml"
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        path.chmod(0o600)
        return "alerts.yaml"

    return write
