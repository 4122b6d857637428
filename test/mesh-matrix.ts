import { readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { allMeshJobs, type MeshJob, meshJobName, whyImpossible } from './matrix/mesh-jobs.js';
import { type MeshResult, runMeshJobs } from './matrix/mesh-run.js';
import { NORM_TOLERANCE } from './matrix/run.js';

/**
 * Trains models with answers on every mesh of up to 8 ranks: `node dist/test/mesh-matrix.js [FOLDER...]`.
 *
 * Meshes × stages 0 to 3 × schedules × sequence parallelism: losses and gradient norms of every step within 1e-4 of
 * `expected.json`. What a model is too small for is counted apart. Ranks that have met train all models on their
 * mesh.
 *
 *   FOLDER     models with `expected.json` and `batches.jsonl`; left out, those of test/fixtures/models
 *   --every N  only every N-th combination
 *   --ranks N  only meshes of so many ranks
 *   --norm-tolerance T  of gradient norms, for models on which PyTorch itself is further from its own answers
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    every: { type: 'string', default: '1' },
    ranks: { type: 'string' },
    'norm-tolerance': { type: 'string', default: String(NORM_TOLERANCE) },
  },
});
const every = Number(values.every);
if (!Number.isSafeInteger(every) || every < 1) throw new Error('--every takes a whole number from 1 on');
const MODELS = join(import.meta.dirname, '../../test/fixtures/models');
const folders =
  positionals.length > 0
    ? positionals.map((folder) => resolve(folder))
    : readdirSync(MODELS, { withFileTypes: true })
        .filter((each) => each.isDirectory())
        .map(({ name }) => join(MODELS, name));

const LOSS_TOLERANCE = 1e-4;
const normTolerance = Number(values['norm-tolerance']);

const chosen = folders.flatMap((folder, index) =>
  allMeshJobs(folder)
    .filter(({ mesh }) => values.ranks === undefined || ranksOf(mesh) === Number(values.ranks))
    .filter((_, job) => job % every === index % every),
);
const possible = chosen.filter((job) => whyImpossible(job) === undefined);
const began = performance.now();
const results: MeshResult[] = [];
let faults = 0;
for await (const some of runMeshJobs(possible)) {
  results.push(...some);
  const [first] = some;
  if (first !== undefined) tell(meshName(first.job.mesh), some);
  for (const { job, outcome } of some) {
    const fault = faultOf(outcome);
    if (fault === undefined) continue;
    faults += 1;
    process.stdout.write(`FAULT ${basename(job.folder)}, ${meshJobName(job)}: ${fault}\n`);
  }
}
for (const folder of folders) {
  const left = chosen.filter((job) => job.folder === folder && whyImpossible(job) !== undefined).length;
  const ofFolder = results.filter(({ job }) => job.folder === folder);
  tell(basename(folder), ofFolder, `(${left} meshes are too large for it)`);
}
const runs = results.length;
process.stdout.write(
  faults === 0 && runs > 0 ? `all ${runs} as they should be\n` : `${faults} faults in ${runs} runs\n`,
);
process.exitCode = faults === 0 && runs > 0 ? 0 : 1;

function tell(what: string, of: readonly MeshResult[], more = `after ${secondsSince(began)} s`): void {
  const worst = (error: 'lossError' | 'normError'): string =>
    Math.max(0, ...of.map(({ outcome }) => (typeof outcome === 'string' ? 0 : outcome[error]))).toExponential(
      1,
    );
  const count = String(of.length).padStart(4);
  process.stdout.write(
    `${what.padEnd(22)}  ${count} runs  loss ${worst('lossError')}  norm ${worst('normError')}  ${more}\n`,
  );
}

function faultOf(outcome: MeshResult['outcome']): string | undefined {
  if (typeof outcome === 'string') return outcome;
  const { lossError, normError } = outcome;
  const isNear = lossError <= LOSS_TOLERANCE && normError <= normTolerance;
  return isNear ? undefined : `loss ${lossError}, norm ${normError}`;
}

function ranksOf({ pipeline, data, tensor }: MeshJob['mesh']): number {
  return pipeline * data * tensor;
}

function meshName({ pipeline, data, tensor }: MeshJob['mesh']): string {
  return `${pipeline}×${data}×${tensor}`;
}

function secondsSince(start: number): string {
  return ((performance.now() - start) / 1000).toFixed(0);
}
