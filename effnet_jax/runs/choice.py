"""Which checkpoint of a run: said once for reports, catalogues, exports, figures, comparisons and stage 2."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

LAST, ON_VALIDATION, ON_TEST, STEP = "last", "best_on_validation", "best_on_test", "step"
BEST = "best"  # best on validation; the last where no photos were held out
MEASURED = {ON_VALIDATION: ("validation", "mrr"), ON_TEST: ("test", "acc@1")}  # split and measure; higher wins
RULES = (BEST, LAST, ON_VALIDATION, ON_TEST)
WORDS = {
    LAST: "last",
    ON_VALIDATION: "best on validation (MRR)",
    ON_TEST: "best on test (optimistic)",
    STEP: "given by its step",
}


def scalar_name(split: str, measure: str, *, drawn: bool = False) -> str:
    """Name what was measured on a split while training; figures on drawings never pass for those on sketches."""
    return f"eval/{'drawn_' if drawn else ''}{split}/{measure}"


def measured_by(rule: str, metrics: Mapping[str, float]) -> float | None:
    """Give the measure by which a rule compares checkpoints; None where it was not measured."""
    names = (scalar_name(*MEASURED[rule], drawn=drawn) for drawn in (False, True))
    return next((metrics[name] for name in names if name in metrics), None)


@dataclass(frozen=True)
class Choice:
    """A rule that chooses a checkpoint, or a step.

    Attributes:
        rule: of RULES, or "step".
        step: of the checkpoint, where the rule is "step".
    """

    rule: str
    step: int | None = None

    @classmethod
    def of(cls, value: "Choice | str | int") -> "Choice":
        """Read a choice: of RULES, or a step as a number or as text.

        Raises:
            ValueError: something else.
        """
        if isinstance(value, Choice):
            return value
        if value in RULES:
            return cls(str(value))
        if str(value).isdigit() and not isinstance(value, bool):
            return cls(STEP, int(value))
        raise ValueError(f"there is no checkpoint {value!r}; choose {', '.join(RULES)}, or a step such as 304.")

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it stands for, the first that finds something before the others."""
        return (ON_VALIDATION, LAST) if self.rule == BEST else (self.rule,)

    def candidates(
        self, steps: Collection[int], metrics_of: Callable[[int], Mapping[str, float]]
    ) -> list[tuple[str, int]]:
        """List the checkpoints that it may come to: the first, or, where that one is damaged, the next.

        Args:
            steps: that have a checkpoint.
            metrics_of: what was measured at a step; asked only by rules that compare it.

        Returns:
            Rule and step of each; empty where no checkpoint is of that kind.
        """
        found: dict[int, str] = {}
        for rule in self.rules:
            for step in self._in_order(rule, steps, metrics_of):
                found.setdefault(step, rule)
        return [(rule, step) for step, rule in found.items()]

    def _in_order(
        self, rule: str, steps: Collection[int], metrics_of: Callable[[int], Mapping[str, float]]
    ) -> list[int]:
        if rule == STEP:
            return [step for step in steps if step == self.step]
        if rule == LAST:
            return sorted(steps, reverse=True)
        measured = {step: measured_by(rule, metrics_of(step)) for step in steps}
        scored = sorted(((value, step) for step, value in measured.items() if value is not None), reverse=True)
        return [step for _, step in scored]  # of equal ones the later

    def __str__(self) -> str:
        return str(self.step) if self.rule == STEP else self.rule
