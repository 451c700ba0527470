"""Which checkpoint of a run: said once for reports, catalogues, exports, figures, comparisons and stage 2."""

from collections.abc import Mapping
from dataclasses import dataclass

LAST, ON_VALIDATION, ON_TEST, STEP = "last", "best_on_validation", "best_on_test", "step"
BEST = "best"  # best on validation; the last where no photos were held out
METRICS = {ON_VALIDATION: "eval/validation/mrr", ON_TEST: "eval/test/acc@1"}  # saved with each checkpoint; higher wins
RULES = (BEST, LAST, ON_VALIDATION, ON_TEST)
WORDS = {
    LAST: "last",
    ON_VALIDATION: "best on validation (MRR)",
    ON_TEST: "best on test (optimistic)",
    STEP: "given by its step",
}


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

    def resolve(self, metrics: Mapping[int, Mapping[str, float]]) -> tuple["Choice", list[int]]:
        """Find the checkpoint among those of a run.

        Args:
            metrics: what was measured at each step that has a checkpoint.

        Returns:
            The choice with "best" decided, and the steps that it takes: the first, or, where that one is damaged, the
            next. Empty where no checkpoint is of that kind.
        """
        if self.rule == BEST:
            found = Choice(ON_VALIDATION).resolve(metrics)
            return found if found[1] else Choice(LAST).resolve(metrics)
        if self.rule == STEP:
            return self, [step for step in metrics if step == self.step]
        if self.rule == LAST:
            return self, sorted(metrics, reverse=True)
        name = METRICS[self.rule]
        scored = sorted(((values[name], step) for step, values in metrics.items() if name in values), reverse=True)
        return self, [step for _, step in scored]  # of equal ones the later

    def __str__(self) -> str:
        return str(self.step) if self.rule == STEP else self.rule
