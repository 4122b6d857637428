import type { EndEvent } from '../../launch/events.js';
import { formatBytes } from '../format.js';

/**
 * What the tensors of the rank with most of them were expected to consist of when they were most, one line for
 * each account that holds any, and beside their sum what was measured.
 */
export function ledgerLines({
  predicted_peak_bytes: predicted = [],
  measured_peak_bytes: measured = [],
  memory_ledger: ledgers = [],
}: EndEvent): readonly string[] {
  const rank = predicted.indexOf(Math.max(...predicted));
  const [expected, found, ledger] = [predicted[rank], measured[rank], ledgers[rank]];
  if (expected === undefined || found === undefined || ledger === undefined) return [];
  const rows = Object.entries(ledger).filter(([, bytes]) => bytes > 0);
  return [
    ...rows.map(([account, bytes]) => row(account, bytes, '')),
    row('together', expected, `, measured ${formatBytes(found)} (${differenceText(found / expected - 1)})`),
  ];
}

function row(account: string, bytes: number, remark: string): string {
  return `  ${account.padEnd(12)}${formatBytes(bytes).padStart(9)}${remark}`;
}

function differenceText(share: number): string {
  return `${share < 0 ? '−' : '+'}${(100 * Math.abs(share)).toFixed(1)} %`;
}
