import { groupBy } from '../../src/base/group-by.js';
import { runRanks } from '../run-ranks.js';
import type { MeshJob, MeshOutcome } from './mesh-jobs.js';

/** A job and what came out: how far it was off, or why it did not run. */
export interface MeshResult {
  readonly job: MeshJob;
  readonly outcome: MeshOutcome | string;
}

/** Jobs that one set of ranks trains, once they have met: what a set that fails has to do again stays small. */
const JOBS_TOGETHER = 40;

/** Of a rank that did not say: near to nothing. */
const UNKNOWN: MeshOutcome = { lossError: Number.NaN, normError: Number.NaN };

/** Trains the jobs mesh by mesh, and tells of each as soon as those around it are through. */
export async function* runMeshJobs(jobs: readonly MeshJob[]): AsyncGenerator<readonly MeshResult[]> {
  for (const ofMesh of groupBy(jobs, ({ mesh }) => JSON.stringify(mesh)).values()) {
    for (let start = 0; start < ofMesh.length; start += JOBS_TOGETHER) {
      yield await runTogether(ofMesh.slice(start, start + JOBS_TOGETHER));
    }
  }
}

/** Jobs of one mesh. Where a rank fails each is run by itself, to find out which it was. */
async function runTogether(jobs: readonly MeshJob[]): Promise<readonly MeshResult[]> {
  const [first] = jobs;
  if (first === undefined) return [];
  const { pipeline, data, tensor } = first.mesh;
  try {
    const ranks = pipeline * data * tensor;
    const outcomes = await runRanks<readonly MeshOutcome[]>('matrix/mesh-rank.js', ranks, [
      JSON.stringify(jobs),
    ]);
    return jobs.map((job, index) => ({
      job,
      outcome: worstOf(outcomes.map((each) => each[index] ?? UNKNOWN)),
    }));
  } catch (error) {
    if (jobs.length === 1) return [{ job: first, outcome: reasonOf(error) }];
    const results: MeshResult[] = [];
    for (const job of jobs) results.push(...(await runTogether([job])));
    if (results.some(({ outcome }) => typeof outcome === 'string')) return results;
    // None fails alone: what went wrong between them is a fault all the same.
    return [
      { job: first, outcome: `beside ${jobs.length - 1} others: ${reasonOf(error)}` },
      ...results.slice(1),
    ];
  }
}

function worstOf(outcomes: readonly MeshOutcome[]): MeshOutcome {
  return {
    lossError: Math.max(...outcomes.map(({ lossError }) => lossError)),
    normError: Math.max(...outcomes.map(({ normError }) => normError)),
  };
}

function reasonOf(error: unknown): string {
  const lines = String(error).split('\n');
  return lines.find((line) => line.includes('rank')) ?? lines[0] ?? '';
}
