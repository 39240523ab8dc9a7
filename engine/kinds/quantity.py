"""Kubernetes quantities in their canonical form, as the provider's typed conversion writes them."""

from __future__ import annotations

import re
from decimal import Decimal

from engine.wire import Value

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_LISTS = frozenset({"limits", "requests", "capacity", "hard", "overhead"})


def canonical(value: Value) -> Value:
    """`1024Mi` becomes `1Gi`, `0.5` becomes `500m`, `1` becomes `"1"`; anything else stays as it is."""
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if match is None:
        return value
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY[1:]:
        amount = number * 1024 ** _BINARY.index(suffix)
        if amount == amount.to_integral_value() and abs(amount) >= 1024:  # below that Kubernetes itself turns to decimal
            power = 0
            while amount % 1024 == 0 and power < len(_BINARY) - 1:
                amount, power = amount / 1024, power + 1
            return f"{int(amount)}{_BINARY[power]}"
        suffix, number = "", amount
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return value
    amount = number.scaleb(_DECIMAL[suffix])
    for name, exponent in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        scaled = amount.scaleb(-exponent)
        if scaled == scaled.to_integral_value() and (amount or not exponent):
            return f"{int(scaled)}{name}"
    return value


def canonicalize(value: Value) -> Value:
    """The same object with every quantity in the places where Kubernetes has them canonical."""
    if isinstance(value, list):
        return [canonicalize(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: canonical(amount) for name, amount in item.items()}
        if key in _LISTS and isinstance(item, dict)
        else canonical(item)
        if key == "sizeLimit"
        else canonicalize(item)
        for key, item in value.items()
    }
