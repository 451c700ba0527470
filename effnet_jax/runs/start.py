"""What the folder of a run remembers of where its encoders come from."""

from typing import Any, NamedTuple


class Start(NamedTuple):
    """Where encoders come from, as the folder of a run remembers it.

    Attributes:
        init_from: as configured.
        run: folder of the run that trained them; "" where that is not known.
        step: of its checkpoint; 0 where that is not known.
        selection: how that was chosen, in words.
        dataset: what they were trained on.
        notes: sentences that a reader of the figures needs.
    """

    init_from: str
    run: str
    step: int
    selection: str
    dataset: str
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Say what was taken."""
        step = f"step {self.step} ({self.selection}) of " if self.step else ""
        trained = f", trained on {self.dataset}" if self.dataset else ""
        return f"starts from {step}{self.run or self.init_from}{trained}: the encoders with their heads"

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Give the sentences of a report."""
        return (f"The run {self.sentence}.", *self.notes)

    @classmethod
    def read(cls, content: dict[str, Any]) -> "Start":
        """Read what `_asdict` gave, from JSON."""
        start = cls(**content)
        return start._replace(notes=tuple(start.notes))
