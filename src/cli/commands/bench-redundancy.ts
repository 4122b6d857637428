import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listDemoCorpus } from '../../data/demo-corpus.js';
import { type RedundancyBench, redundancyBench } from '../bench/redundancy-run.js';
import { formatBytes } from '../format.js';
import type { JsonOption } from '../program/option-values.js';
import { createDisplay } from '../progress/create-display.js';
import { superviseTraining } from './supervise-training.js';

export interface BenchRedundancyOptions extends JsonOption {
  readonly ranks?: readonly number[];
  readonly steps: number;
  readonly first?: number;
  readonly syncEvery: number;
}

const DEFAULT_RANKS = [2, 4];

/** One run of the table. */
interface Row {
  readonly ranks: number;
  readonly training: string;
  /** Mean loss of the saved model on text that no run has seen. */
  readonly loss: number;
  /** (loss − that of training one model on as many ranks) / that. */
  readonly relative_difference: number;
  /** What rank 0 handed to others in the whole run, as the process group counted it. */
  readonly exchanged_bytes: number;
  /** Of what training one model takes. */
  readonly share: number;
  /** Largest drift at the last synchronisation. */
  readonly drift?: number;
}

/** Trains a small model as one and as replicas, on each number of ranks, and prints what that does to loss and bytes. */
export async function benchRedundancy(
  paths: readonly string[],
  { ranks = DEFAULT_RANKS, steps, first, syncEvery, json }: BenchRedundancyOptions,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-bench-'));
  try {
    const lengths = { steps, ...(first !== undefined && { first }) };
    const bench = redundancyBench(lengths, paths.length === 0 ? listDemoCorpus() : paths, folder);
    const begun = first === undefined ? undefined : await trainFirst(bench, ranks[0] ?? 1, folder);
    const rows: Row[] = [];
    for (const count of ranks) rows.push(...(await compare(bench, count, syncEvery, { folder, begun })));
    process.stdout.write(
      json === true ? `${JSON.stringify({ ...lengths, sync_every: syncEvery, rows })}\n` : table(rows),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Where runs go, and the output of the first part that all of them go on from; undefined: none. */
interface Folders {
  readonly folder: string;
  readonly begun: string | undefined;
}

/** Trains one model for the first part of all runs; returns its output, a checkpoint among it. */
async function trainFirst(bench: RedundancyBench, ranks: number, folder: string): Promise<string> {
  const output = join(folder, 'first');
  const { exitCode } = await superviseTraining({
    config: bench.config,
    ranks,
    overrides: [...bench.firstPart, `output=${output}`],
    display: createDisplay(false),
  });
  process.exitCode = exitCode;
  return output;
}

async function compare(
  bench: RedundancyBench,
  ranks: number,
  every: number,
  { folder, begun }: Folders,
): Promise<readonly Row[]> {
  const local = (outer: string): string =>
    `redundancy={"type":"local","sync_every":${every},"outer":{"type":"${outer}"}}`;
  const trained: Readonly<Record<string, readonly string[]>> = {
    'one model': [],
    'local, average': [local('average')],
    'local, nesterov': [local('nesterov')],
  };
  const rows: Row[] = [];
  for (const [training, settings] of Object.entries(trained)) {
    const output = join(folder, `${ranks} ${training}`);
    if (begun !== undefined) cpSync(begun, output, { recursive: true });
    const found = await train({ bench, ranks, settings, output, resume: begun !== undefined });
    const [one = found] = rows;
    const row = {
      ranks,
      training,
      ...found,
      relative_difference: found.loss / one.loss - 1,
      share: found.exchanged_bytes / one.exchanged_bytes,
    };
    rows.push(row);
    process.stderr.write(`${lineOf(row)}\n`);
  }
  return rows;
}

interface Run {
  readonly bench: RedundancyBench;
  readonly ranks: number;
  readonly settings: readonly string[];
  readonly output: string;
  /** Whether it goes on from a checkpoint there. */
  readonly resume: boolean;
}

async function train({
  bench,
  ranks,
  settings,
  output,
  resume,
}: Run): Promise<Pick<Row, 'loss' | 'exchanged_bytes' | 'drift'>> {
  let [bytes, drift]: [number, number | undefined] = [0, undefined];
  const { exitCode } = await superviseTraining({
    config: bench.config,
    ranks,
    overrides: [...settings, `output=${output}`],
    resume,
    display: createDisplay(false),
    onStep: ({ exchanged_bytes = 0, drift_max }) => {
      bytes += exchanged_bytes;
      drift = drift_max ?? drift;
    },
  });
  process.exitCode = exitCode;
  const { inspectModel } = await import('../../engine/inspect.js');
  const { loss } = await inspectModel({ configPath: bench.config, overrides: bench.heldOut(output) });
  return { loss, exchanged_bytes: bytes, ...(drift !== undefined && { drift }) };
}

/** As Markdown, for docs/redundancy.md. */
function table(rows: readonly Row[]): string {
  const head = ['ranks', 'training', 'loss', 'difference', 'sent by a rank', 'of one model', 'last drift'];
  const lines = [head, head.map(() => '---')].map((line) => `| ${line.join(' | ')} |`);
  return [...lines, ...rows.map(lineOf)].map((line) => `${line}\n`).join('');
}

function lineOf(row: Row): string {
  const cells = [
    String(row.ranks),
    row.training,
    row.loss.toFixed(4),
    `${(row.relative_difference * 100).toFixed(2)} %`,
    formatBytes(row.exchanged_bytes),
    `1/${(1 / row.share).toFixed(1)}`,
    row.drift === undefined ? '' : row.drift.toExponential(1),
  ];
  return `| ${cells.join(' | ')} |`;
}
