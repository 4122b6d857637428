import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { allJobs, offloadJobs, plainJobs, STAGES, slice, TRANSPORTS, WORLDS } from './matrix/jobs.js';
import { faultsOf, NORM_TOLERANCE, runJobs } from './matrix/run.js';

/**
 * Trains models with answers in every layout and compares: `node dist/test/fixture-matrix.js [FOLDER...]`.
 *
 * Stages 0 to 3 × worlds of 1 to 4 × every recompute policy × accumulation 1, 2, 4 of the same global batch ×
 * buckets from one parameter to the whole model: losses and gradient norms of every step within 1e-4; for some buckets with
 * layers in halves too; stages 1 to 3 with the optimizer, half of it, the parameters or everything in files. Then, in the
 * deterministic mode, with overlap and without: the same final weights to the last bit at one world size.
 *
 *   FOLDER        models with `expected.json` and `batches.jsonl`; left out, those of test/fixtures/models
 *   --every N     only every N-th combination
 *   --worlds 1,2  only these world sizes
 *   --offload     only those in files, and one without for each that must come to the same bits
 *   --norm-tolerance T  of gradient norms: where PyTorch with another attention is further than 1e-4 from its own
 *                 answers, no other implementation can be nearer
 *   --transport backend  exchange over Gloo in place of shared memory
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    every: { type: 'string', default: '1' },
    worlds: { type: 'string', default: WORLDS.join() },
    transport: { type: 'string', default: 'auto' },
    'norm-tolerance': { type: 'string', default: String(NORM_TOLERANCE) },
    offload: { type: 'boolean', default: false },
  },
});
const every = Number(values.every);
const worlds = values.worlds.split(',').map(Number);
const normTolerance = Number(values['norm-tolerance']);
const transport = TRANSPORTS.find((each) => each === values.transport);
const MODELS = join(import.meta.dirname, '../../test/fixtures/models');
const folders =
  positionals.length > 0
    ? positionals.map((folder) => resolve(folder))
    : readdirSync(MODELS).map((name) => join(MODELS, name));

if (transport === undefined) throw new Error(`--transport takes one of ${TRANSPORTS.join()}`);
if (!Number.isSafeInteger(every) || every < 1 || worlds.some((world) => !WORLDS.includes(world as 1))) {
  throw new Error(`--every takes a whole number from 1 on, --worlds some of ${WORLDS.join()}`);
}
const missing = folders.filter((each) => !existsSync(join(each, 'expected.json')));
if (positionals.length > 0 && missing.length > 0)
  throw new Error(`no expected.json in ${missing.join(', ')}`);

let faults = 0;
let runs = 0;
for (const folder of folders.filter((each) => existsSync(join(each, 'expected.json')))) {
  for (const world of worlds) {
    const jobs = values.offload ? [...plainJobs(folder), ...offloadJobs(folder)] : allJobs(folder);
    const outcomes = await runJobs(world, slice(jobs, every, world), transport);
    const found = faultsOf(outcomes, normTolerance);
    runs += outcomes.length;
    faults += found.length;
    for (const stage of STAGES) {
      const ofStage = outcomes.filter(({ job }) => job.stage === stage);
      const worst = (error: 'lossError' | 'normError') =>
        Math.max(0, ...ofStage.map((outcome) => outcome[error])).toExponential(1);
      const count = String(ofStage.length / world).padStart(4);
      const errors = `loss ${worst('lossError')}  norm ${worst('normError')}`;
      process.stdout.write(
        `${basename(folder).padEnd(22)}  world ${world}  stage ${stage}  ${count} runs  ${errors}\n`,
      );
    }
    for (const fault of found) process.stdout.write(`FAULT ${fault}\n`);
  }
}
process.stdout.write(
  faults === 0 && runs > 0 ? 'all as they should be\n' : `${faults} faults in ${runs} runs\n`,
);
process.exitCode = faults === 0 && runs > 0 ? 0 : 1;
