"""Texts that have broken somebody's alerts: what a strategy, a broker or a feed may put into one."""

from __future__ import annotations

from collections.abc import Mapping

#: By name. Each is tried as a message and as a title.
TEXTS: Mapping[str, str] = {
    # Characters
    "nothing": "",
    "only whitespace": " \t \n  \n ",
    "NUL": "before\0after",
    "lone surrogates": "before \ud83d middle \udc00 after",
    "right to left": "השער עלה ל-150 עכשיו, ואז שוב",
    "bidi controls": "price \u202e051\u202c \u2066left\u2069 \u200fend",
    "only emoji": "🚀🔥👨‍👩‍👧‍👦🇩🇪👍🏽",
    "combining marks": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    "one endless cluster": "a" + "\u0301" * 6000,
    "zero-width": "a\u200bb\u200cc\u200dd\u2060e\ufefff",
    "line separators": "one\u2028two\u2029three",
    "noncharacters": "a\ufffeb\uffffc\U0010ffffd",
    "private use": "\ue000\uf8ff\U000f0000",
    "line ends": "one\r\ntwo\nthree",
    "control codes": "bell\x07 backspace\x08 escape\x1b[31mred\x1b[0m delete\x7f next\x85line",
    "typographic quotes": "“it’s” – a «test» … ‚yes‘",
    "another script": "価格は150円です。가격이 올랐습니다. Цена выросла. ราคาขึ้น",
    # Size
    "10 MB": "0123456789" * 1_048_576,
    "10 MB without a space": "🚀" * 2_621_440,
    "ten thousand lines": "\n".join(f"line {number}" for number in range(10_000)),
    # Markup of services
    "HTML": '<b>bold</b> <a href="https://evil.example">x</a> <img src=x onerror=alert(1)> a < b > c',
    "half of an HTML tag": "<b <i>unclosed </u> <!-- --><![CDATA[ x ]]>",
    "HTML entities": "&amp; &lt; &#60; &nbsp; &; & &unknown; AT&T",
    "end of a script": "</script><script>alert(1)</script>",
    "MarkdownV2": r"_*[]()~`>#+-=|{}.!\ *bold _italic* mixed_ ~~x~~ ||y||",
    "Markdown": "# heading\n- list\n1. one\n> quote\n```code``` `a` [x](https://evil.example) ![i](https://evil.example/i)",
    "unclosed Markdown": "*bold _italic `code [link](",
    "backslashes": "\\ \\\\ \\n \\u0041 C:\\Users \\*",
    "Slack": "<!channel> <!here> <@U123> <#C123> <https://evil.example|click> &amp; *bold* ~gone~",
    "Discord": "@everyone @here <@123456789> <@&987> <#555> <:name:1> ||spoiler|| <t:1:R>",
    "Teams": "<at>Everybody</at> {{DATE(2026-01-01)}} ${x} [x](https://evil.example)",
    "Jinja": "{{ 7*7 }} {% raw %} {% endraw %} {# gone #} {{ ''.__class__ }} {% include '/etc/passwd' %}",
    "other templates": "${7*7} #{7*7} <%= 7*7 %> %(name)s %s {0} {name} $(id) `id`",
    "terminal markup": "[bold red]x[/] [/nonsense] :warning: [link=http://a]b[/link] \\[x]",
    # Formats
    "JSON": '"}], "text": "injected", {"a": [1, null, "\\u0000"',
    "header injection": "x\r\nX-Injected: yes\r\nBcc: a@evil.example\r\n\r\nbody",
    "encoded word": "=?utf-8?q?x?= =?utf-8?b?eA==?=",
    "lines of SMTP": "one\n.\ntwo\n..\nQUIT\n--boundary\nFrom me",
    "URL": "a=b&c=d+e%20f%zz?g#h;i",
    "GSM specials": "^{}\\[~]|€ @£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./",
    "SQL": "'; DROP TABLE alerts; -- \" ` %' OR 1=1",
    "commas and semicolons": "a,b;c\td|e",
    "a number": "0",
    "words of programs": "None null undefined NaN true false -1 1e309",
}

#: What a reader takes for one character each: a cut between two of them is fine, a cut inside one is not. They are
#: written down here, so that no library decides whether another one is right.
CLUSTERS: tuple[str, ...] = (
    "a",
    "👨‍👩‍👧‍👦",  # a family of four, with joiners
    "🏳️‍🌈",  # a flag with a variation selector and a joiner
    "🇩🇪",  # two regional indicators
    "🇫🇷",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # Scotland, in tags
    "👍🏽",  # a skin tone
    "👩🏾‍🚀",
    "e\u0301",  # combining marks
    "o\u0308\u0323\u0304",
    "\u1112\u1161\u11ab",  # Hangul from three letters
    "\u1100\u1161",
    "각",
    "1\ufe0f\u20e3",  # a keycap
    "ก\u0e33",  # Thai with a vowel that belongs to it
    "नि",  # Devanagari with a vowel sign
    "क\u094dष",  # two consonants that are written as one
    "z",
)
