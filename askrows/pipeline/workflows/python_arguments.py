"""Check the arguments of calls from Python, so that the error of a wrong argument names it."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.setting_parsers import MAX_NUMBER
from askrows.pipeline.provider.responses import make_excerpt

P = ParamSpec("P")
T = TypeVar("T")
# The type that a value must have, and its description, by the annotation of a parameter. Numbers of
# numpy are numbers, too. Arguments with other annotations are not checked.
_EXPECTATIONS: dict[Any, tuple[type, str]] = {
    **dict.fromkeys((int, int | None), (Integral, "a whole number")),
    float | None: (Real, "a number"),
    **dict.fromkeys((str, str | None), (str, "a text")),
    **dict.fromkeys(
        (str | Sequence[str], str | Sequence[str] | None),
        (Iterable, "a text or a list of texts"),
    ),
}


def check_arguments(method: Callable[P, T]) -> Callable[P, T]:
    """Return a method that first checks the types of its arguments, and the bounds of counts.

    The returned method raises InputError if an argument is wrong; then it does nothing. None is
    accepted for every argument.
    """
    signature = inspect.signature(method)

    @wraps(method)
    def checked_method(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if value is not None:
                _check_argument(name, value, signature.parameters[name].annotation)
        return method(*args, **kwargs)

    return checked_method


def _check_argument(name: str, value: Any, annotation: Any) -> None:
    """Raise InputError if an argument does not have the type of its annotation.

    A whole number must also be from 1 to MAX_NUMBER, except a `seed`. Arguments whose annotation is
    not in _EXPECTATIONS are accepted.
    """
    expected_type, description = _EXPECTATIONS.get(annotation, (object, ""))
    has_type = isinstance(value, expected_type)
    # A truth value of Python is a number, too.
    is_truth_value = isinstance(value, bool) and issubclass(expected_type, Real)
    if is_truth_value or not has_type:
        raise InputError(
            f"{name}={make_excerpt(repr(value))} is not {description}; nothing was done",
            hint=f"leave out {name}=, or set it to {description}",
        )

    # A seed may be any number.
    is_count = expected_type is Integral and name != "seed"
    if is_count and not 1 <= value <= MAX_NUMBER:
        raise InputError(
            f"{name} is {value}, but must be from 1 to {MAX_NUMBER:,}; nothing was done",
            hint=f"for example {name}=5",
        )
