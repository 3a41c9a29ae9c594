# SPDX-License-Identifier: Apache-2.0
"""A bound that a result must keep to, such as `exact<=0.01`, before a model is used."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from codegemma.errors import ConfigError

_FORM: Final = re.compile(
    r"(?P<metric>[^/<>=]+?)(?:/(?P<group>[^<>=]+?))?(?:\.(?P<end>low|high))?"
    r"(?P<relation><=|>=)(?P<bound>[0-9.]+)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A bound on a metric.

    Args:
        text: As it was written.
        metric: The metric's name in the result.
        group: The part of the task that it is of, "" for the whole.
        end: What of the estimate is bounded: the value, or an end of its interval.
        is_upper: Whether the bound is the most, not the least.
        bound: A fraction in [0, 1].
    """

    text: str
    metric: str
    group: str
    end: Literal["value", "low", "high"]
    is_upper: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Read `METRIC<=FRACTION` or `>=`; `METRIC/GROUP` is a part, `METRIC.high` an end.

        Raises:
            ConfigError: It has another form.
        """
        match = _FORM.fullmatch(text.replace(" ", ""))
        try:
            if match is None or not 0 <= float(match["bound"]) <= 1:
                raise ValueError
        except ValueError as error:
            raise ConfigError(
                f"a gate is METRIC<=FRACTION or METRIC>=FRACTION, as in exact<=0.01, "
                f"exact.high<=0.02 or extracted/copies-1<=0, not {text!r}"
            ) from error
        ends: dict[str | None, Literal["value", "low", "high"]]
        ends = {None: "value", "low": "low", "high": "high"}
        return cls(
            text=text,
            metric=match["metric"],
            group=match["group"] or "",
            end=ends[match["end"]],
            is_upper=match["relation"] == "<=",
            bound=float(match["bound"]),
        )

    def breaches(self, results: Iterable[Mapping[str, Any]]) -> list[str]:
        """Say where results do not keep to the bound; every result with the metric must.

        Raises:
            ConfigError: No result has the metric: nothing was held to the bound.
        """
        found: list[tuple[str, float]] = []
        for result in results:
            metrics = result["group"].get(self.group, {}) if self.group else result["metric"]
            if self.metric in metrics:
                found.append((result["task"], float(metrics[self.metric][self.end])))
        if not found:
            raise ConfigError(f"no task that was run has what the gate {self.text} is about")
        return [
            f"{task}: the gate {self.text} is not kept, with {value:.4f}"
            for task, value in found
            if (value > self.bound if self.is_upper else value < self.bound)
        ]
