/** 12345678 as "12.3M": three digits that matter. */
export function formatCount(value: number): string {
  return withUnit(value, 1000, ['', 'k', 'M', 'B', 'T']);
}

/** Binary units, as memory is sold. */
export function formatBytes(bytes: number): string {
  return withUnit(bytes, 1024, [' B', ' KiB', ' MiB', ' GiB', ' TiB']);
}

/** Seconds as "0:07", "12:34" or "1:02:03". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = String(rest).padStart(2, '0');
  return hours === 0 ? `${minutes}:${tail}` : `${hours}:${String(minutes).padStart(2, '0')}:${tail}`;
}

/** A loss or norm in the same width while it falls. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return 'not finite';
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 100_000)
    ? value.toExponential(2)
    : value.toFixed(size < 10 ? 4 : 2);
}

/** A learning rate such as "3.00e-4". */
export function formatRate(value: number): string {
  return value === 0 ? '0' : value.toExponential(2);
}

function withUnit(value: number, base: number, units: readonly string[]): string {
  let [scaled, unit] = [value, 0];
  while (Math.abs(scaled) >= base && unit < units.length - 1) {
    scaled /= base;
    unit += 1;
  }
  const digits = unit === 0 || scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2;
  return `${scaled.toFixed(digits)}${units[unit] ?? ''}`;
}

/** "1 rank", "4 ranks". */
export function formatRanks(ranks: number): string {
  return ranks === 1 ? '1 rank' : `${ranks} ranks`;
}
