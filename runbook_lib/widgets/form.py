"""The form of a notebook, made from its pydantic model: one field per parameter, checked on every change.

A parameter that was injected into the notebook is shown filled in and locked. A parameter whose reference is `prompt:`
gets a password field. The browser sends what is typed there only when the field is left. The value then moves into
memory and the field is emptied at once, so that a notebook saved with its widgets does not hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import ipywidgets
import traitlets
from markupsafe import escape
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import Parameters
from runbook_lib.procedures.values import is_secret, limits, problems
from runbook_lib.secrets import Prompt, Secret, SecretRef
from runbook_lib.visible import visible
from runbook_lib.words import words_html

w: Any = ipywidgets  # it has no types

WITHOUT_FIELD = frozenset({"mode", "clock", "confirm"})
"""Parameters without a field: a person at the form works interactively, and confirms with the step's button."""

_LOCKED = "set in the parameters cell"
_LABEL, _INPUT = 13.5, 18.5  # rem; two columns fit into a notebook 1,280 pixels wide
_MISSING = "Type the secret into the field above."
_UNTYPED = "never saved"
_TYPED = "in memory, never saved"
_EARLIER = "This form belongs to an earlier run of its cell and no longer works. Use the newest form."


class Form:
    """The form of one notebook.

    Args:
        model: the notebook's parameters.
        given: values from the notebook's parameters cell; those that differ from the default are locked.
        on_start: called without arguments after a press of Start; `values` and `prompt` have the values.
        on_change: called without arguments when the values are unlocked again.

    Attributes:
        widget: what to display.
        start: the button that takes the values; disabled while one of them is wrong, and for good once retired.
        change: the button that unlocks the values.
    """

    def __init__(
        self,
        model: type[Parameters],
        given: Mapping[str, Any],
        *,
        on_start: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._model = model
        self._injected = {
            name: given[name]
            for name, info in model.model_fields.items()
            if name in given and given[name] != info.default
        }
        self._locked = self._retired = False
        self._typed: dict[str, Secret] = {}
        self._on_start, self._on_change = on_start, on_change
        names = [name for name in model.model_fields if name not in WITHOUT_FIELD]
        self._fields = {name: _Field(name, model.model_fields[name], self._injected) for name in names}
        self._general = w.HTML()
        self.start = w.Button(description="Start", button_style="primary")
        self.change = w.Button(description="Change the values", disabled=True)
        self.start.on_click(lambda _: self._press_start())
        self.change.on_click(lambda _: self._press_change())
        for field in self._fields.values():
            field.watch(self._check)
        self.widget = self._lay_out()
        self.widget.add_class("dor-form")
        self._check()

    # --- what a notebook and a test use ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """The widget of a parameter. Raises KeyError."""
        return self._fields[name].input

    def password(self, name: str) -> Any:
        """The password widget of a parameter that names a secret; used if the reference is `prompt:`."""
        return self._fields[name].password

    def message(self, name: str) -> str:
        """What is wrong with a parameter; empty if nothing is."""
        return self._fields[name].problem

    def set(self, name: str, value: Any) -> None:
        """Fill in a field from a program.

        Raises:
            RunbookError: CONFLICTING_PARAMETER if the parameters cell gave another value.
        """
        if name in self._injected and value != self._injected[name]:
            raise RunbookError(
                Reason.CONFLICTING_PARAMETER,
                f"The parameters cell sets {name}, but the form sets another value.",
            )
        self._fields[name].input.value = value

    def values(self) -> dict[str, Any]:
        """The value of every parameter: injected, else typed, else the default. Secrets are references."""
        values = {name: info.default for name, info in self._model.model_fields.items()}
        values.update({name: field.value for name, field in self._fields.items()})
        values.update(self._injected)
        return values | {name: field.named(values[name]) for name, field in self._fields.items()}

    @property
    def typed(self) -> frozenset[str]:
        """The names of the parameters that were changed in the form."""
        return frozenset(
            name
            for name, field in self._fields.items()
            if name not in self._injected and field.value != self._model.model_fields[name].default
        )

    @property
    def prompt(self) -> Prompt:
        """Returns the secrets that were typed into the password fields."""
        typed = dict(self._typed)

        def answer(label: str) -> str:
            if label not in typed:
                raise RunbookError(
                    Reason.SECRET_NOT_FOUND,
                    f"{label} was not typed.",
                    remedy="Press “Change the values” and type it into the form.",
                )
            return typed[label].reveal()

        return answer

    @property
    def secrets(self) -> dict[str, Secret]:
        """The secrets that were typed into the password fields, by their references."""
        return {f"prompt:{name}": secret for name, secret in self._typed.items()}

    def take(self) -> None:
        """Keep the secrets from the password fields for the steps."""
        values = self.values()
        for name, field in self._fields.items():
            if field.asks and field.secret is not None:
                self._typed[SecretRef.parse(values[name]).target] = Secret(field.secret.reveal(), values[name])

    def lock(self) -> None:
        """Lock every field until `unlock`: the values are in use."""
        self._locked = True
        self.start.disabled, self.change.disabled = True, False
        for field in self._fields.values():
            field.disable(True)

    def unlock(self) -> None:
        """Unlock the fields. Secrets must be typed again."""
        self._locked = False
        self._typed.clear()
        self.change.disabled = True
        for field in self._fields.values():
            field.forget()
            field.disable(False)
        self._check()
        self._on_change()

    def hold(self, working: bool) -> None:
        """Keep the values locked while a step runs: a change would discard its result."""
        self.change.disabled = working or not self._locked

    def retire(self) -> None:
        """Disable the form for good: a newer one replaces it."""
        self.lock()
        self.change.disabled = self._retired = True
        self._typed.clear()
        for field in self._fields.values():
            field.forget()
        self._general.value = f'<div role="status"><strong>{escape(_EARLIER)}</strong></div>'
        self.widget.layout.opacity = "0.6"

    # --- inside ----------------------------------------------------------------------------------------------------

    def _check(self, *_: Any) -> None:
        if self._locked:  # a change that arrived after Start: show what the steps use
            for field in self._fields.values():
                field.restore()
            return
        problems = check_parameters(self._model, self.values())
        for name, field in self._fields.items():
            field.show(problems.pop(name, ""))
        self._general.value = "".join(_alert(f"{name}: {words}" if name else words) for name, words in problems.items())
        self.start.disabled = bool(problems) or any(field.wrong for field in self._fields.values())

    def _press_start(self) -> None:
        ready = not (self._locked or self.start.disabled or any(field.problem for field in self._fields.values()))
        if ready:
            self._on_start()

    def _press_change(self) -> None:
        if not (self._retired or self.change.disabled):
            self.unlock()

    def _lay_out(self) -> Any:
        sections: dict[str, list[Any]] = {"Connection": [], "This runbook": []}
        for name, field in self._fields.items():
            sections["Connection" if name in Parameters.model_fields else "This runbook"].append(field.box)
        # what differs between certificates comes first
        columns = [
            w.VBox([w.HTML(f"<b>{heading}</b>"), *rows], layout=w.Layout(margin="0 1rem 0 0"))
            for heading, rows in reversed(sections.items())
            if rows
        ]
        buttons = w.HBox([self.start, self.change], layout=w.Layout(margin="0.5rem 0"))
        return w.VBox([w.HBox(columns, layout=w.Layout(flex_flow="row wrap")), self._general, buttons])


class _Field:
    """One parameter: label, input, help and message."""

    def __init__(self, name: str, info: FieldInfo, injected: Mapping[str, Any]) -> None:
        self.injected = name in injected
        self.secret: Secret | None = None
        self._held: Any = None
        self.problem = ""
        self._label = info.title or name
        self._help = info.description or ""
        self._takes_lines = get_origin(info.annotation) is list
        self.input = _input(info, injected.get(name, info.default), self._label)
        self._below = w.HTML(layout=w.Layout(margin=f"0 0 0.4rem {_LABEL + 0.7}rem", width=f"{_INPUT - 1}rem"))
        self.password: Any = None
        rows = [self.input]
        if is_secret(info) and not self._takes_lines:
            self.password = _Password(description=f"Type the {self._label}", placeholder=_UNTYPED, **_look())
            self.password.observe(self._take, "value")
            rows.append(self.password)
        self.box = w.VBox([*rows, self._below])
        self.disable(False)
        self.show("")

    def _take(self, typed: Any) -> None:
        """Move the typed secret into memory. Once the values are in use it is discarded."""
        if typed["new"]:
            self.secret = self.secret if self.password.disabled else Secret(typed["new"], "prompt:")
            self.password.value = ""
            self.password.placeholder = _UNTYPED if self.secret is None else _TYPED

    def forget(self) -> None:
        """Forget the typed secret."""
        self.secret = None
        if self.password is not None:
            self.password.placeholder = _UNTYPED

    @property
    def wrong(self) -> bool:
        """Whether Start must wait. Not for a missing secret: pressing Start leaves its field, which sends it."""
        return bool(self.problem) and self.problem != _MISSING

    @property
    def value(self) -> Any:
        """The value of the field; a list if the field takes one item per line."""
        text = self.input.value
        return [line for line in text.splitlines() if line.strip()] if self._takes_lines else text

    def named(self, value: Any) -> Any:
        """Add the label to a bare `prompt:`, so that two secrets can be told apart. Other values stay as they are."""
        bare = self.password is not None and str(value).strip() == "prompt:"
        return f"prompt:{self._label}" if bare else value

    @property
    def asks(self) -> bool:
        """Whether the secret must be typed."""
        return self.password is not None and str(self.input.value).strip().startswith("prompt:")

    def watch(self, check: Callable[..., None]) -> None:
        """Call `check` after each change."""
        self.input.observe(check, "value")
        if self.password is not None:
            self.password.observe(check, "value")

    def show(self, problem: str) -> None:
        """Show the problem, or the help if there is none."""
        if self.password is not None:
            self.password.layout.display = None if self.asks else "none"
            if self.asks and not problem and self.secret is None:
                problem = _MISSING
        self.problem = problem
        help_text = f"{self._help} ({_LOCKED})" if self.injected else self._help
        words = f'<span style="opacity:.75">{escape(visible(help_text))}</span>'
        self._below.value = _alert(problem) if problem else f'<div style="line-height:1.3">{words}</div>'

    def restore(self) -> None:
        """Restore the value from before it was locked."""
        if self.input.disabled and self.input.value != self._held:
            self.input.value = self._held

    def disable(self, disabled: bool) -> None:
        """Lock or unlock it. An injected value stays locked."""
        self._held = self.input.value
        self.input.disabled = disabled or self.injected
        if self.password is not None:
            self.password.disabled = disabled


class _Password(w.Password):  # type: ignore[misc]
    """A password field that sends its value once, when it is left, and does not echo it to other pages."""

    value = traitlets.Unicode("").tag(sync=True, echo_update=False)
    continuous_update = traitlets.Bool(False).tag(sync=True)


def check_parameters(model: type[Parameters], values: Mapping[str, Any]) -> dict[str, str]:
    """The messages for wrong parameters, by name. The key "" holds what concerns several parameters."""
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        return problems(error, model)
    return {}


def _input(info: FieldInfo, value: Any, label: str) -> Any:
    """The input widget for a parameter's type."""
    kind = info.annotation
    if kind is bool:
        return w.Checkbox(value=bool(value), description=label, indent=True, **_look())
    if kind is int:
        low, high = limits(info)
        return w.BoundedIntText(value=value, min=low, max=high, description=label, **_look())
    if isinstance(kind, type) and issubclass(kind, Enum):
        options = [member.value for member in kind]
        return w.Dropdown(value=kind(value).value, options=options, description=label, **_look())
    if get_origin(kind) is list:
        return w.Textarea(value="\n".join(map(str, value)), rows=2, description=label, **_look())
    if get_origin(kind) is Literal:
        return w.Dropdown(value=value, options=list(get_args(kind)), description=label, **_look())
    return w.Text(value=str(value), description=label, continuous_update=True, **_look())


def _look() -> dict[str, Any]:
    return {"style": {"description_width": f"{_LABEL}rem"}, "layout": w.Layout(width=f"{_LABEL + _INPUT}rem")}


def _alert(problem: str) -> str:
    colour = "var(--jp-error-color1, #cb3a33)"
    return f'<div role="alert" style="color:{colour};line-height:1.3">✗ {words_html(problem, None)}</div>'
