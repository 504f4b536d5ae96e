// Draws the water level of the last day on the visitors' screen.

const PIXELS_PER_CENTIMETRE = 3;

export function levelPath(readings) {
  const points = readings.map(({ minute, centimetres }) => {
    const y = 240 - centimetres * PIXELS_PER_CENTIMETRE;
    return `${minute / 4},${y}`;
  });
  return `M${points.join(" L")}`;
}

export function warnWhenTheFloatSticks(readings) {
  const last = readings.slice(-30).map((reading) => reading.centimetres);
  const moved = Math.max(...last) - Math.min(...last);
  return moved < 0.1 ? "The copper float may be stuck in its tube" : "";
}
