import { readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { allMeshJobs, type MeshJob, meshJobName, whyImpossible } from './matrix/mesh-jobs.js';
import { type Expected, readJson } from './models-harness.js';
import { trainRanks } from './train-ranks.js';

/**
 * Trains models with answers on every mesh of up to 8 ranks: `node dist/test/mesh-matrix.js [FOLDER...]`.
 *
 * Meshes × stages 0 to 3 × schedules × sequence parallelism: losses of every step within 1e-4 and gradient norms within
 * 1e-3 of `expected.json`. What a model is too small for is counted apart.
 *
 *   FOLDER     models with `expected.json` and `batches.jsonl`; left out, those of test/fixtures/models
 *   --every N  only every N-th combination
 *   --ranks N  only meshes of so many ranks
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { every: { type: 'string', default: '1' }, ranks: { type: 'string' } },
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

const all = allMeshJobs().filter(
  ({ mesh }) =>
    values.ranks === undefined || mesh.pipeline * mesh.data * mesh.tensor === Number(values.ranks),
);
let [runs, faults] = [0, 0];
for (const [index, folder] of folders.entries()) {
  const { batch_size: rows, train: expected } = readJson<Expected>(folder, 'expected.json');
  const chosen = all.filter((_, job) => job % every === index % every);
  const possible = chosen.filter((job) => whyImpossible(job, folder, rows) === undefined);
  const errors = { loss: 0, norm: 0 };
  for (const job of possible) {
    const fault = await runJob(job, folder, rows, expected, errors);
    runs += 1;
    if (fault === undefined) continue;
    faults += 1;
    process.stdout.write(`FAULT ${basename(folder)}, ${meshJobName(job)}: ${fault}\n`);
  }
  const left = chosen.length - possible.length;
  process.stdout.write(
    `${basename(folder).padEnd(22)}  ${String(possible.length).padStart(4)} runs  loss ${errors.loss.toExponential(1)}  ` +
      `norm ${errors.norm.toExponential(1)}  (${left} meshes are too large for it)\n`,
  );
}
process.stdout.write(
  faults === 0 && runs > 0 ? `all ${runs} as they should be\n` : `${faults} faults in ${runs} runs\n`,
);
process.exitCode = faults === 0 && runs > 0 ? 0 : 1;

async function runJob(
  { mesh, stage, schedule, sequenceParallel }: MeshJob,
  folder: string,
  rows: number,
  { losses, grad_norms, lr, betas, eps, weight_decay, clip }: Expected['train'],
  errors: { loss: number; norm: number },
): Promise<string | undefined> {
  const { pipeline, data, tensor } = mesh;
  try {
    const { steps } = await trainRanks(pipeline * data * tensor, {
      model: folder,
      mesh: { pipeline, tensor, ...(sequenceParallel && { sequence_parallel: true }) },
      ...(pipeline > 1 && {
        pipeline: { schedule, ...(schedule === 'interleaved' && { chunks: 2 }), partition: 'uniform' },
      }),
      'data.path': join(folder, 'batches.jsonl'),
      steps: losses.length,
      train_batch_size: rows,
      gradient_accumulation_steps: rows / data,
      gradient_clipping: clip,
      optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
      zero_optimization: { stage, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) },
    });
    const far = (of: 'loss' | 'grad_norm', answers: readonly number[]): number =>
      Math.max(...steps.map((step, index) => Math.abs(step[of] / (answers[index] ?? Number.NaN) - 1)));
    const [loss, norm] = [far('loss', losses), far('grad_norm', grad_norms)];
    errors.loss = Math.max(errors.loss, loss);
    errors.norm = Math.max(errors.norm, norm);
    return loss <= 1e-4 && norm <= 1e-3 ? undefined : `loss ${loss}, norm ${norm}`;
  } catch (error) {
    const lines = String(error).split('\n');
    return lines.find((line) => line.includes('rank')) ?? lines[0];
  }
}
