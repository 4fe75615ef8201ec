"""The dashboard's process: who may connect, and how Streamlit is set up.

Without a password it listens on this machine alone. It never calls home, watches no files, and shows no traceback in
the browser, because one could quote a credential.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bt_alerts.dashboard.doorkeeper import Doorkeeper

PASSWORD = "BT_ALERTS_DASHBOARD_PASSWORD"
SHORTEST = 8  # characters of a password

LOOPBACK = ("127.0.0.1", "localhost", "::1")

MISSING = 'The dashboard needs Streamlit: pip install "bt-alerts[dashboard]"'


class CannotServe(Exception):
    """Why the dashboard cannot be started, in a sentence."""


def password() -> str:
    """The password from ``$BT_ALERTS_DASHBOARD_PASSWORD``, or of the file that ``…_FILE`` names; empty for none.

    Raises:
        CannotServe: where the file cannot be read, or the password is too short.
    """
    found = os.environ.get(PASSWORD, "")
    name = os.environ.get(f"{PASSWORD}_FILE", "")
    if not found and name:
        try:
            found = Path(name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise CannotServe(f"{PASSWORD}_FILE cannot be read: {getattr(exc, 'strerror', '') or exc}.") from None
        if not found:
            raise CannotServe(f"{PASSWORD}_FILE names an empty file: write a password into it.")
    if found and len(found) < SHORTEST:
        raise CannotServe(f"{PASSWORD} is too short: a password needs {SHORTEST} characters or more.")
    return found


def check(address: str, port: int, *, guarded: bool) -> None:
    """Whether the dashboard may listen there.

    Args:
        address: an IP address or a name of this machine.
        port: of TCP.
        guarded: whether there is a password.

    Raises:
        CannotServe: where it may not, or cannot.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise CannotServe(f"{address!r} is no address of this machine: leave --address out for 127.0.0.1.") from None
    if not guarded and not all(
        ipaddress.ip_address(str(where[0]).split("%", maxsplit=1)[0]).is_loopback for *_, where in found
    ):
        raise CannotServe(
            f"On {address} others can connect, so the dashboard needs a password there: set {PASSWORD}, or "
            f"{PASSWORD}_FILE to a file with it. Without one it listens on 127.0.0.1 alone."
        )
    family, kind, _, _, where = found[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as exc:
            raise CannotServe(
                f"Port {port} on {address} cannot be used ({exc.strerror}): name another with --port."
            ) from None


def options(address: str, port: int, *, browser: bool) -> dict[str, Any]:
    """How Streamlit is set up, whatever a config file of the user's says."""
    return {
        "server_address": address,
        "server_port": port,
        "server_headless": not browser,
        "server_fileWatcherType": "none",
        "server_runOnSave": False,
        "server_enableCORS": True,  # its name for: refuse what other sites ask
        "server_enableXsrfProtection": True,
        "server_enableStaticServing": False,
        "server_maxUploadSize": 0,
        "browser_serverAddress": address,  # named, so that it asks nobody for the address of this network
        "browser_gatherUsageStats": False,
        "client_showErrorDetails": "none",
        "client_toolbarMode": "minimal",
        "runner_magicEnabled": False,
        "logger_level": "error",
        "theme_light_primaryColor": "#1f5fbf",
        "theme_dark_primaryColor": "#7fb0ff",
    }


def serve(
    config: Path | None,
    address: str,
    port: int,
    *,
    browser: bool = True,
    certificate: Path | None = None,
    key: Path | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        config: the settings file; None for the one that ``$BT_ALERTS_CONFIG`` names, or the environment alone.
        address: where to listen.
        port: of TCP.
        browser: open the page.
        certificate: PEM file; the page is then served by TLS.
        key: of the certificate.
        ready: told the address of the page.

    Raises:
        CannotServe: where Streamlit is missing, or the dashboard may not or cannot listen there.
    """
    try:
        import streamlit as st
        import uvicorn
        from starlette.middleware import Middleware
        from streamlit.web import bootstrap
    except ImportError:
        raise CannotServe(MISSING) from None
    if (certificate is None) != (key is None):
        raise CannotServe("A certificate needs its key, and a key its certificate.")
    for file in filter(None, (certificate, key)):
        if not os.access(file, os.R_OK):
            raise CannotServe(f"{file} cannot be read: name a PEM file.")
    guarded = bool(password())
    check(address, port, guarded=guarded)
    script = Path(__file__).with_name("app.py")
    bootstrap.load_config_options(flag_options=options(address, port, browser=browser))
    sys.argv = [str(script), *([str(config)] if config is not None else [])]
    app = st.App(script, middleware=[Middleware(Doorkeeper, hosts=None if guarded else {address, *LOOPBACK})])
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=address,
            port=port,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ws_per_message_deflate=False,  # on this machine it costs more than it saves
            log_level="error",
            timeout_graceful_shutdown=1,
        )
    )
    url = f"{'https' if certificate else 'http'}://{f'[{address}]' if ':' in address else address}:{port}"
    if browser:
        opening = threading.Timer(1.0, webbrowser.open, (url,))
        opening.daemon = True
        opening.start()
    ready(url)
    server.run()
