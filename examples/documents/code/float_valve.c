/* Firmware of the float valve that tops up the eel ladder. */
#include <stdbool.h>

#define EEL_LADDER_MIN_MM 45

static int last_level_mm;

bool valve_should_open(int level_mm)
{
    /* Two low readings in a row, so that a passing otter does not trigger it. */
    bool low = level_mm < EEL_LADDER_MIN_MM && last_level_mm < EEL_LADDER_MIN_MM;
    last_level_mm = level_mm;
    return low;
}
