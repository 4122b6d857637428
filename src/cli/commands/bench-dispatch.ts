import type { JsonOption } from '../program.js';

/** Prints what a call of each operator costs, in nanoseconds. */
export async function benchDispatchCommand({ json }: JsonOption): Promise<void> {
  const { benchDispatch } = await import('../../engine/bench/dispatch.js');
  const times = benchDispatch();
  const rows = Object.entries(times);
  const width = Math.max(...rows.map(([name]) => name.length));
  const text =
    json === true
      ? JSON.stringify({ peer: 'trainyard', ...times })
      : rows
          .map(([name, { ns, best_ns }]) => `${name.padEnd(width)}  ${ns} ns  (best ${best_ns} ns)`)
          .join('\n');
  process.stdout.write(`${text}\n`);
}
