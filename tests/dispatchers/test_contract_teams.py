"""Microsoft Teams passes the contract of every dispatcher that speaks HTTP. A reader of CommonMark shows the cards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from teams_reader import body, shown

from bt_alerts.dispatchers.base import Failure
from bt_alerts.dispatchers.teams import TeamsDispatcher
from bt_alerts.testing import HttpDispatcherContract, Received

INDENT = re.compile(r"^[ \t]+")


class TestTeamsContract(HttpDispatcherContract):
    answer = b""
    answer_status = 202
    failures = {404: Failure.PERMANENT}
    limit = 28_000
    many_targets = True

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> TeamsDispatcher:
        keys = addresses or [self.secret("signature", length=43)]
        path = "workflows/0123/triggers/manual/paths/invoke?api-version=2016-06-01&sv=1.0&sig="
        return TeamsDispatcher([f"{url}/{path}{key}" for key in keys], **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return ["\n".join(shown(part["text"]) for part in body(request) if "text" in part) for request in requests]

    def as_read(self, text: str) -> str:
        """Indents are spaces, white space at the ends of lines is gone, and so are empty lines."""
        lines = [INDENT.sub(lambda found: " " * len(found[0]), line) for line in re.split(r"\r\n|\r|\n", text)]
        return "\n".join(line.rstrip(" \t") for line in lines if line.strip(" \t"))

    def length(self, text: str) -> int:
        return len(text.encode())

    def refusal(self, status: int) -> Any:
        return {"error": {"code": "WorkflowError", "message": "no"}}

    def assert_markup(self, request: Received) -> None:
        assert len(request.body) <= 28_000
        for part in body(request):
            for text in [part["text"]] if "text" in part else [v for fact in part["facts"] for v in fact.values()]:
                shown(text)
