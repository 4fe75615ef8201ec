"""Draws ``docs/images/<channel>.png``: what each channel's real request looks like in its service.

    python docs/images/draw.py [CHANNEL]...

The text, fields and colours are taken from the request that the channel would send (``Dispatcher.preview``); the
frame around them is a drawing in the manner of the service, not a screenshot of it. The mail is its own HTML. Needs
Chromium.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Context, Dispatcher
from bt_alerts.dispatchers.registry import dispatcher_class
from bt_alerts.examples import example

HERE = Path(__file__).parent
WIDTH = 620
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', 'Noto Color Emoji', sans-serif"
NOTHING = "x" * 32

#: Constructor arguments of each channel: no credential of anybody.
CHANNELS: Mapping[str, Mapping[str, Any]] = {
    "telegram": {"bot_token": f"1234567:{NOTHING}", "chat_ids": ["42"]},
    "slack": {"bot_token": f"xoxb-{NOTHING}", "channel_ids": ["C0123456"]},
    "discord": {"webhook_urls": [f"https://discord.com/api/webhooks/123456789/{NOTHING}"]},
    "teams": {"webhook_urls": [f"https://prod-1.westeurope.logic.azure.com/workflows/1/invoke?sig={NOTHING}"]},
    "ntfy": {"topics": ["alerts"]},
    "pushover": {"app_token": NOTHING[:30], "user_key": NOTHING[:30]},
    "sms": {"account_sid": f"AC{'1' * 32}", "auth_token": NOTHING, "from_number": "+15005550006", "to": "+15005550009"},
    "pagerduty": {"routing_key": NOTHING},
    "email": {"host": "mail.example.com", "from_address": "Bot <bot@example.com>", "to": ["you@example.com"]},
}


def lines(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def frame(body: str, background: str, *, dark: bool = False) -> str:
    ink = "#e7e9ec" if dark else "#1c1f23"
    return (
        f"<!doctype html><meta charset=utf-8><style>*{{box-sizing:border-box}}body{{margin:0;padding:22px;"
        f"background:{background};color:{ink};font:15px/1.45 {FONT}}}b{{font-weight:650}}</style>{body}"
    )


def sender(name: str, when: str, colour: str, ink: str, faint: str) -> str:
    return (
        f"<div style='display:flex;gap:12px;align-items:center;margin-bottom:6px'>"
        f"<div style='width:38px;height:38px;border-radius:10px;background:{colour};color:#fff;display:flex;"
        f"align-items:center;justify-content:center;font-weight:700'>bt</div>"
        f"<b style='color:{ink}'>{name}</b><span style='font-size:11px;border-radius:4px;background:{faint};"
        f"color:#fff;padding:0 5px'>APP</span><span style='color:{faint};font-size:12px'>{when}</span></div>"
    )


def telegram(request: Any, alert: Alert) -> str:
    text = json.loads(request.body)["text"].replace("\n", "<br>")
    clock = f"{alert.time:%H:%M}"
    bubble = (
        f"<div style='background:#fff;border-radius:14px 14px 14px 4px;padding:10px 14px;max-width:470px;"
        f"box-shadow:0 1px 2px #0002'>{text}<div style='text-align:right;color:#8a97a5;font-size:12px'>{clock}</div></div>"
    )
    return frame(bubble, "#bcd6b4")


def slack(request: Any, alert: Alert) -> str:
    body = json.loads(request.body)
    blocks = list(body.get("blocks", []))
    (card,) = body["attachments"]
    parts = [slack_block(block) for block in card["blocks"]]
    inside = "".join(parts)
    head = "".join(slack_block(block) for block in blocks)
    return frame(
        sender("bt_alerts", f"{alert.time:%H:%M}", "#4a154b", "#1d1c1d", "#8d8c8e")
        + f"<div style='margin-left:50px'>{head}<div style='border-left:4px solid {card['color']};padding:2px 0 2px 14px'>"
        f"{inside}</div></div>",
        "#ffffff",
    )


def slack_text(thing: Mapping[str, Any]) -> str:
    text = str(thing["text"])
    if thing["type"] == "plain_text":
        return lines(text)
    shown = text.replace("\n", "<br>")
    while shown.count("*") >= 2:
        shown = shown.replace("*", "<b>", 1).replace("*", "</b>", 1)
    return shown


def slack_block(block: Mapping[str, Any]) -> str:
    if block["type"] == "header":
        return f"<div style='font-size:18px;font-weight:800;margin:2px 0 8px'>{slack_text(block['text'])}</div>"
    if block["type"] == "context":
        words = " &nbsp;·&nbsp; ".join(slack_text(element) for element in block["elements"])
        return f"<div style='color:#616061;font-size:12px;margin:6px 0'>{words}</div>"
    if "fields" in block:
        cells = "".join(f"<div>{slack_text(field)}</div>" for field in block["fields"])
        return f"<div style='display:grid;grid-template-columns:1fr 1fr;gap:8px 20px;margin:8px 0'>{cells}</div>"
    if block["type"] == "section":
        return f"<div style='margin:6px 0'>{slack_text(block['text'])}</div>"
    return "<div style='border-top:1px solid #ddd;margin:8px 0'></div>"


def discord(request: Any, alert: Alert) -> str:
    (embed,) = json.loads(request.body)["embeds"]
    fields = "".join(
        f"<div><div style='font-weight:650;font-size:13px'>{lines(field['name'])}</div>"
        f"<div style='color:#dbdee1'>{lines(field['value'])}</div></div>"
        for field in embed.get("fields", [])
    )
    footer = lines(embed.get("footer", {}).get("text", ""))
    return frame(
        sender("bt_alerts", f"{alert.time:%H:%M}", "#5865f2", "#f2f3f5", "#949ba4")
        + f"<div style='margin-left:50px;background:#2b2d31;border-left:4px solid #{embed['color']:06x};border-radius:4px;"
        f"padding:12px 16px;max-width:470px'><b>{lines(embed['title'])}</b>"
        f"<div style='color:#dbdee1;margin:6px 0 10px'>{lines(embed.get('description', ''))}</div>"
        f"<div style='display:flex;gap:40px'>{fields}</div>"
        f"<div style='color:#949ba4;font-size:12px;margin-top:10px'>{footer}</div></div>",
        "#313338",
        dark=True,
    )


def teams(request: Any, alert: Alert) -> str:
    card = json.loads(request.body)["attachments"][0]["content"]
    shown = ""
    for block in card["body"]:
        if block["type"] == "FactSet":
            rows = "".join(
                f"<tr><td style='padding-right:24px;font-weight:600'>{lines(fact['title'])}</td>"
                f"<td>{lines(fact['value'])}</td></tr>"
                for fact in block["facts"]
            )
            shown += f"<table style='margin:6px 0;border-spacing:0 2px'>{rows}</table>"
        else:
            colour = {"attention": "#c4314b", "warning": "#c27803", "good": "#237b4b", "accent": "#3b6fb6"}.get(
                str(block.get("color", "")).lower(), "#242424"
            )
            size = {"Medium": 17, "Large": 20, "Small": 12}.get(block.get("size", ""), 14)
            weight = 650 if block.get("weight") == "Bolder" else 400
            faint = "opacity:.65;" if block.get("isSubtle") else ""
            text = lines(block["text"].replace("\n\n", "\n").replace("\\", ""))
            shown += (
                f"<div style='color:{colour};font-size:{size}px;font-weight:{weight};{faint}margin:4px 0'>{text}</div>"
            )
    return frame(
        sender("Workflows", f"{alert.time:%H:%M}", "#4b53bc", "#242424", "#8a8a8a")
        + f"<div style='margin-left:50px;background:#fff;border-radius:8px;padding:12px 16px;"
        f"box-shadow:0 1px 3px #0003;max-width:470px'>{shown}</div>",
        "#f0f0f4",
    )


def notification(app: str, title: str, text: str, colour: str) -> str:
    return frame(
        f"<div style='background:#ffffffee;border-radius:20px;padding:14px 18px;max-width:520px;box-shadow:0 4px 18px #0003'>"
        f"<div style='display:flex;gap:8px;align-items:center;font-size:13px;color:#5a6270;margin-bottom:4px'>"
        f"<span style='width:18px;height:18px;border-radius:5px;background:{colour};display:inline-block'></span>"
        f"{app}<span style='margin-left:auto'>now</span></div><b>{lines(title)}</b><div>{lines(text)}</div></div>",
        "#51618c",
    )


def ntfy(request: Any, alert: Alert) -> str:
    body = json.loads(request.body)
    sign = alert.priority.style.emoji if body.get("tags") else ""
    return notification("ntfy · alerts", f"{sign} {body['title']}".strip(), body["message"], "#338574")


def form(request: Any) -> dict[str, str]:
    """The fields of a form as a preview shows it: a field a line, and a value of several lines goes on."""
    fields: dict[str, str] = {}
    name = ""
    for line in request.body.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key.replace("_", "").isalpha() and (key.islower() or key[0].isupper()) and " " not in key:
            name, fields[key] = key, value
        else:
            fields[name] += f"\n{line}"
    return fields


def pushover(request: Any, alert: Alert) -> str:
    fields = form(request)
    return notification("Pushover", fields["title"], fields["message"], "#249df1")


def sms(request: Any, alert: Alert) -> str:
    text = form(request)["Body"]
    return frame(
        "<div style='text-align:center;color:#8a8f98;font-size:12px;margin-bottom:8px'>+1 500 555 0006</div>"
        f"<div style='background:#e9e9eb;border-radius:18px 18px 18px 4px;padding:10px 15px;max-width:420px'>"
        f"{lines(text)}</div>",
        "#ffffff",
    )


def pagerduty(request: Any, alert: Alert) -> str:
    event = json.loads(request.body)
    payload = event["payload"]
    rows = "".join(
        f"<tr><td style='color:#5f6b7a;padding-right:22px;vertical-align:top'>{name}</td><td>{lines(str(value))}</td></tr>"
        for name, value in (
            ("Severity", payload["severity"]), ("Component", payload.get("component", "")),
            ("Class", payload.get("class", "")), ("Message", payload["custom_details"]["message"]),
        )
    )  # fmt: skip
    return frame(
        f"<div style='background:#fff;border:1px solid #dfe4ea;border-top:5px solid #06ac38;border-radius:6px;padding:14px 18px'>"
        f"<span style='background:#c4314b;color:#fff;border-radius:4px;font-size:12px;padding:2px 8px'>Triggered</span>"
        f"<div style='font-size:18px;font-weight:650;margin:8px 0'>{lines(payload['summary'])}</div>"
        f"<table style='border-spacing:0 4px'>{rows}</table></div>",
        "#f4f6f8",
    )


DRAWN: Mapping[str, Callable[[Any, Alert], str]] = {
    "telegram": telegram,
    "slack": slack,
    "discord": discord,
    "teams": teams,
    "ntfy": ntfy,
    "pushover": pushover,
    "sms": sms,
    "pagerduty": pagerduty,
}


def page(name: str) -> str:
    """The picture of one channel as HTML."""
    alert = example("trade.closed").replace(time=example().time.replace(2026, 3, 5, 15, 30))
    dispatcher: Dispatcher = dispatcher_class(name)(**CHANNELS[name])
    (target,) = dispatcher.targets()
    context = Context(key="msg_example")
    if name == "email":
        return email_html(dispatcher, alert, context)
    return DRAWN[name](dispatcher.preview(alert, target, context)[0], alert)


def email_html(dispatcher: Any, alert: Alert, context: Context) -> str:
    """The HTML part of the mail as it would arrive."""
    letter, _ = dispatcher._letter(alert, context)
    return str(letter.page())


def shoot(source: str, path: Path) -> None:
    """Have Chromium draw a page, and cut off what is empty below it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if chromium is None:
        sys.exit("These pictures need Chromium: apt-get install chromium")
    from PIL import Image, ImageChops

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.html")
        file.write_text(source, encoding="utf-8")
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},1400",
            "--force-device-scale-factor=2", f"--screenshot={path}", file.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=folder)
    picture = Image.open(path).convert("RGB")
    ground = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    _, _, _, bottom = ImageChops.difference(picture, ground).getbbox() or (0, 0, 0, 100)
    picture = picture.crop((0, 0, picture.width, min(picture.height, bottom + 40)))
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    wanted = sys.argv[1:] or [*DRAWN, "email"]
    for name in wanted:
        shoot(page(name), HERE / f"{name}.png")
        print(f"drew docs/images/{name}.png")


if __name__ == "__main__":
    main()
