"""A JSON Schema (draft 2020-12) of the settings file, made from the models, so that an editor completes and checks it.

Promises
--------
*What the loader takes, the schema takes.* An editor reads YAML 1.2, where ``5`` is a number; the loader reads text and
gives it a type. So each value may be written either way, as ``${NAME}``, or left empty where it may be left out. A
text that reads ``true`` needs quotes here: else editors would offer ``true`` and ``false`` for every text there is.

*Refused by both:* a key that does not exist, a word that is none of those allowed, a value of a wrong type, a number
out of its limits, a channel of an unknown type.

*No secret.* A credential is marked ``writeOnly`` and has no default.

What several values say together is told by the loader alone: a channel that is not there, two levels in one watch, a
text that only a service or the clock can judge. ``bt-alerts check`` does.
"""

from __future__ import annotations

import enum
import inspect
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from bt_alerts.alert import AlertType
from bt_alerts.dispatchers.registry import UnknownChannelType, channel_types, dispatcher_class
from bt_alerts.kinds import KINDS
from bt_alerts.rules.expiry import ALL
from bt_alerts.settings.block import Block
from bt_alerts.settings.environment import enabled_name
from bt_alerts.settings.fields import UNITS, Also, as_list, choices, duration, is_secret, is_union
from bt_alerts.settings.models import ChannelSettings, EventSetting, Settings, channel_model

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = r"\$\{"  # anywhere in a text: what it will be is known when it is loaded
_INTEGER = r"^\s*[-+]?[0-9][0-9_]*(\.0*)?\s*$"
_NUMBER = r"^\s*[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"
_AMOUNT = r"[0-9]+(\.[0-9]+)?"
_UNIT = "|".join("".join(f"[{char}{char.upper()}]" for char in unit) for unit in UNITS if unit)
# Each amount but the last has a unit: so no text can be read in many ways, and matching is quick.
_DURATION = rf"^(?=.*[0-9])\s*({_AMOUNT}\s*({_UNIT})\s*)*({_AMOUNT}\s*)?$"
_TEXT = ["string", "number"]


def schema(types: Iterable[str] | None = None) -> dict[str, Any]:
    """The schema of a settings file.

    Args:
        types: channel types that may stand in it; every one that is installed unless given.

    Returns:
        It as plain JSON values. A channel type that cannot be loaded is left out.
    """
    return _Made(channel_types() if types is None else sorted(types)).document()


class _Made:
    """The definitions of one schema, each made when it is first referred to."""

    def __init__(self, types: Iterable[str]) -> None:
        self._defs: dict[str, Any] = {}
        self._types = list(types)

    def document(self) -> dict[str, Any]:
        """The whole schema."""
        top = self._object(Settings)
        properties = top["properties"]
        del properties["store"]["default"]  # it depends on the file and the channels
        properties["alerts"] |= self._alerts()
        properties["events"] |= {"properties": self._events(), "additionalProperties": False}
        kinds = {"propertyNames": {"enum": [ALL, *_unique([*AlertType, *KINDS])]}}
        self._defs["Templates"]["properties"]["channels"]["additionalProperties"] |= kinds
        for form in self._defs["Delivery"]["properties"]["time_to_live"]["anyOf"]:
            if form.get("type") == "object":
                form["propertyNames"] = {"enum": [ALL, *AlertType]}
        title = "Settings of bt_alerts"
        return {"$schema": DRAFT, "title": title, **top, "$defs": dict(sorted(self._defs.items()))}

    def _events(self) -> dict[str, Any]:
        self._defs["event"] = _or_nothing(self._form(EventSetting))
        return {
            kind.name: {"description": kind.about, "default": kind.setting.value, **_ref("event")}
            for kind in KINDS.values()
        }

    # Channels --------------------------------------------------------------------------------------------

    def _alerts(self) -> dict[str, Any]:
        """A block's name is its type, unless it says another."""
        loaded = [each for each in self._types if self._define_channel(each)]
        word = {"anyOf": [{"enum": loaded}, {"type": "string", "pattern": _VARIABLE}]}
        self._defs["channel"] = {
            "description": "a channel with a name of its own needs `type`",
            "type": "object",
            "properties": {"type": {"description": _about(ChannelSettings, "type"), **word}},
            "required": ["type"],
            "allOf": [
                {"if": {"properties": {"type": {"const": each}}, "required": ["type"]}, "then": _ref(_channel(each))}
                for each in loaded
            ],
        }
        for each in loaded:
            described = {"description": _about(ChannelSettings, "type"), **_or_nothing(word)}
            self._defs[_channel(each)]["properties"] = {"type": described, **self._defs[_channel(each)]["properties"]}
        untyped = {"properties": {"type": {"type": "null"}}}  # so it is where `type` is left out, too
        named = {each: {"if": untyped, "then": _ref(_channel(each)), "else": _ref("channel")} for each in loaded}
        return {"properties": named, "additionalProperties": _ref("channel")}

    def _define_channel(self, channel_type: str) -> bool:
        try:
            model = channel_model(channel_type)
        except UnknownChannelType:
            return False
        made = self._object(model, without=("name", "type"))
        properties = made["properties"]
        properties["enabled"]["description"] += f" (environment: {enabled_name(channel_type)})"
        for argument in model.arguments:
            if argument.suggested and argument.name in properties:
                form = properties[argument.name]
                rest = {key: form.pop(key) for key in sorted(form.keys() - {"description", "default", "writeOnly"})}
                read = int if "integer" in rest.get("type", ()) else str
                words = [{"const": read(word), "description": about} for word, about in argument.suggested.items()]
                form["anyOf"] = [*words, rest]
        about = (inspect.getdoc(dispatcher_class(channel_type)) or "").partition("\n")[0]
        made.pop("required", None)  # the environment may give it
        self._defs[_channel(channel_type)] = {"description": about, **made} if about else made
        return True

    # Blocks ----------------------------------------------------------------------------------------------

    def _object(self, model: type[Block], without: tuple[str, ...] = ()) -> dict[str, Any]:
        fields = {key: model.model_fields[name] for key, name in model.known_keys().items() if key not in without}
        required = [key for key, field in fields.items() if field.is_required()]
        return {
            "type": ["object", "null"],  # so that no reference needs a choice, which editors explain badly
            "properties": {key: self._property(field) for key, field in fields.items()},
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }

    def _property(self, field: FieldInfo) -> dict[str, Any]:
        extra = field.json_schema_extra
        env = f" (environment: {extra['env']})" if isinstance(extra, dict) and "env" in extra else ""
        shown: dict[str, Any] = {"description": f"{field.description or ''}{env}".strip()}
        form = self._form(field.annotation, field.metadata)
        if is_secret(field.annotation):
            shown["writeOnly"] = True
        elif not field.is_required():
            default = _plain(field.get_default(call_default_factory=True))
            shown |= {} if default in (None, [], {}) else {"default": default}
        if field.is_required():
            return shown | form | ({"type": "object"} if "$ref" in form else {})
        return shown | _or_nothing(form)

    def _block(self, model: type[Block]) -> dict[str, Any]:
        name = model.__name__.removesuffix("Block")
        if name not in self._defs:
            self._defs[name] = {}  # it may refer to itself
            about = (inspect.getdoc(model) or "").partition("\n")[0]
            self._defs[name] = {"description": about, **self._object(model)}
        return _ref(name)

    # Values ----------------------------------------------------------------------------------------------

    def _form(self, annotation: Any, notes: Iterable[Any] = ()) -> dict[str, Any]:
        """What may be written for a type.

        Args:
            annotation: the type as a model has it.
            notes: the metadata of a field, which stand beside its type.
        """
        notes = list(notes)
        while typing.get_origin(annotation) is Annotated:
            notes += annotation.__metadata__
            annotation = annotation.__origin__
        notes = [part for note in notes for part in ([note, *note.metadata] if isinstance(note, FieldInfo) else [note])]
        also = [self._form(note.annotation) for note in notes if isinstance(note, Also)]
        examples = [each for note in notes if isinstance(note, FieldInfo) for each in note.examples or ()]
        form = self._own(annotation, notes)
        return _any_of([form | {"examples": examples} if examples else form, *also])

    def _own(self, annotation: Any, notes: list[Any]) -> dict[str, Any]:
        functions = [getattr(note, "func", None) for note in notes]
        if duration in functions:
            number = {"type": ["number", "string"], **_limits(notes)}
            return number | {"pattern": _or_variable(_DURATION), "examples": ["30s", "15m", "12h", "7d"]}
        if is_union(annotation):
            members = [each for each in typing.get_args(annotation) if each is not type(None)]
            if str in members:  # whatever is written can be text
                members = [each for each in members if each not in (bool, int, float)]
            return _any_of([self._form(each) for each in members])
        if choices(annotation):
            return _words(annotation)
        base, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
        if base is list:
            return self._list(arguments[0], as_list in functions, notes)
        if base is dict:
            return {"type": "object", "additionalProperties": _or_nothing(self._form(arguments[1]))}
        if inspect.isclass(base) and issubclass(base, Block):
            return self._block(base)
        return _scalar(base, notes)

    def _list(self, member: Any, one_line: bool, notes: list[Any]) -> dict[str, Any]:
        items = self._form(member)
        least = next((note.min_length for note in notes if hasattr(note, "min_length")), 0)
        array = {"type": "array", "items": _or_nothing(items), **({"minItems": least} if least else {})}
        if not one_line:  # of blocks
            return array
        words = choices(member)
        if not words:
            examples = {"examples": items["examples"]} if "examples" in items else {}
            return array | {"type": ["array", *_TEXT], **examples}
        one = _caseless(words)[1:-1]
        several = {"type": "string", "pattern": rf"^{one}(,{one})*,?\s*$"}
        return _any_of([items, several, array])


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": "#/$defs/" + quote(name.replace("~", "~0").replace("/", "~1"))}


def _channel(channel_type: str) -> str:
    return f"channel.{channel_type}"


def _about(model: type[Block], name: str) -> str:
    return model.model_fields[name].description or ""


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(word) for word in words))


def _any_of(forms: list[dict[str, Any]]) -> dict[str, Any]:
    """Any of several, flat; one is itself."""
    if len(forms) == 1:
        return forms[0]
    return {"anyOf": [each for form in forms for each in (form["anyOf"] if form.keys() == {"anyOf"} else [form])]}


def _or_nothing(form: dict[str, Any]) -> dict[str, Any]:
    """It, or an empty value, which counts as not given. A definition takes one by itself."""
    if "type" in form:
        given = form["type"]
        return form | {"type": [*([given] if isinstance(given, str) else given), "null"]}
    return form if not form or "$ref" in form else _any_of([form, {"type": "null"}])


def _scalar(base: Any, notes: list[Any]) -> dict[str, Any]:
    """One value, as the type it is of or as text; anything where the type is not known."""
    if base is bool:
        words = _or_variable(_caseless(["true", "false", "yes", "no", "on", "off", "t", "f", "y", "n", "1", "0"]))
        return {"type": ["boolean", "integer", "string"], "minimum": 0, "maximum": 1, "pattern": words}
    if base is int or base is float:
        pattern = _or_variable(_INTEGER if base is int else _NUMBER)
        return {"type": ["integer" if base is int else "number", "string"], **_limits(notes), "pattern": pattern}
    if base is str or base is SecretStr:
        patterns = [_or_variable(note.pattern) for note in notes if getattr(note, "pattern", None)]
        return {"type": _TEXT, **({"pattern": patterns[0]} if patterns else {})}
    return {}


def _or_variable(pattern: str) -> str:
    return f"{pattern}|{_VARIABLE}"


def _caseless(words: Iterable[str]) -> str:
    """A pattern for these words in any case, in the syntax that Python and JavaScript share."""
    letters = [
        "".join(f"[{char.lower()}{char.upper()}]" if char.lower() != char.upper() else _literal(char) for char in word)
        for word in words
    ]
    return rf"^\s*({'|'.join(letters)})\s*$"


def _literal(char: str) -> str:
    return "\\" + char if char in r"\^$.*+?()[]{}|/" else char


def _words(annotation: Any) -> dict[str, Any]:
    """One of some words, in any case. What an editor offers are the words as they are."""
    given = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else choices(annotation)
    pattern = _or_variable(_caseless(choices(annotation)))
    return {"anyOf": [{"enum": list(given)}, {"type": "string", "pattern": pattern}]}


def _limits(notes: Iterable[Any]) -> dict[str, Any]:
    names: Mapping[str, str] = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum"}
    return {word: getattr(note, name) for note in notes for name, word in names.items() if hasattr(note, name)}


def _plain(value: Any) -> Any:
    """A default as JSON; None where it says nothing."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value == int(value) else value
    return None
