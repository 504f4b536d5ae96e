"""Controls the museum's electric sluice gate."""

from dataclasses import dataclass

FULL_STROKE_MM = 620


@dataclass
class Gate:
    """A gate that is driven by a stepper motor."""

    opening_mm: int = 0

    def open_for(self, wheel_rpm: float, wanted_rpm: float) -> int:
        """Nudge the gate towards the wanted speed of the wheel; the new opening."""
        error = wanted_rpm - wheel_rpm
        step = max(-15, min(15, round(error * 4)))
        self.opening_mm = max(0, min(FULL_STROKE_MM, self.opening_mm + step))
        return self.opening_mm

    def slam(self) -> None:
        """Close at once, for instance when the trash rack is clogged by beavers."""
        self.opening_mm = 0
