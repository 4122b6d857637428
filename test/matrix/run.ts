import { runRanks } from '../run-ranks.js';
import type { Job, Outcome, Transport } from './jobs.js';

/** How far a run may be from the answers, relative. */
const LOSS_TOLERANCE = 1e-4;
export const NORM_TOLERANCE = 1e-4;

/** Jobs that one set of processes trains: their memory and their command line stay small. */
const JOBS_TOGETHER = 60;

/** Trains the jobs on a world of ranks. */
export async function runJobs(
  worldSize: number,
  jobs: readonly Job[],
  transport: Transport,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  for (let start = 0; start < jobs.length; start += JOBS_TOGETHER) {
    const part = JSON.stringify(jobs.slice(start, start + JOBS_TOGETHER));
    const results = await runRanks<{ readonly outcomes: readonly Outcome[] }>('matrix/rank.js', worldSize, [
      part,
      transport,
    ]);
    outcomes.push(...results.flatMap(({ outcomes: ofRank }) => ofRank));
  }
  return outcomes;
}

/** What is wrong with the outcomes of one world size, a line each. */
export function faultsOf(
  outcomes: readonly Outcome[],
  normTolerance: number = NORM_TOLERANCE,
): readonly string[] {
  const far = outcomes.filter(
    ({ lossError, normError }) => !(lossError <= LOSS_TOLERANCE && normError <= normTolerance),
  );
  const first = new Map<string, Outcome>();
  const unequal = outcomes.filter((outcome) => {
    if (!outcome.job.deterministic) return false;
    const key = `${outcome.job.folder} ${outcome.job.accumulation}`;
    const known = first.get(key);
    if (known === undefined) first.set(key, outcome);
    return known !== undefined && known.weights !== outcome.weights;
  });
  return [
    ...far.map(
      ({ job, lossError, normError }) => `${JSON.stringify(job)}: loss ${lossError}, norm ${normError}`,
    ),
    ...unequal.map(({ job }) => `${JSON.stringify(job)}: other bits than the first of its kind`),
  ];
}
