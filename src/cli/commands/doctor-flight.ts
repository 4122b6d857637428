import { printable } from '../../base/printable.js';
import { type FlightReport, reportFlight } from '../../engine/flight-report.js';
import type { JsonOption } from '../program/option-values.js';

/** Says which rank ended a run, from the records that its ranks left. */
export function doctorFlight(folder: string, { json }: JsonOption): void {
  const report = reportFlight(folder);
  const text = json === true ? JSON.stringify(report, null, 2) : formatReport(report);
  process.stdout.write(`${text}\n`);
}

function formatReport({ verdict, ranks, world_size: worldSize, ignored }: FlightReport): string {
  const known = ranks.length === worldSize ? 'all' : `${ranks.length} of ${worldSize}`;
  return [
    verdict,
    `  records of ${known} ranks:`,
    ...ranks.map(({ doing }) => `  ${doing}`),
    ...ignored.map(({ file, reason }) => `  ${file} does not count: ${reason}`),
  ]
    .map(printable)
    .join('\n');
}
