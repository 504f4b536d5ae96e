package museum;

import java.time.LocalDate;
import java.util.List;

/** Plans which volunteer works as miller on which day. */
public final class Miller {
    private final String name;
    private final List<LocalDate> daysOff;

    public Miller(String name, List<LocalDate> daysOff) {
        this.name = name;
        this.daysOff = List.copyOf(daysOff);
    }

    /** A miller must have rested one day after dressing the stones with the bush hammer. */
    public boolean mayWork(LocalDate day, LocalDate lastDressing) {
        return !daysOff.contains(day) && lastDressing.plusDays(1).isBefore(day);
    }

    @Override
    public String toString() {
        return "Miller " + name;
    }
}
