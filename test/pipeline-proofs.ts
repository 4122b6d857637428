import { parseArgs } from 'node:util';
import { allCases, SCHEDULES } from './pipeline/cases.js';
import { faultsOf } from './pipeline/faults.js';

/**
 * Proves every schedule for all pipelines of up to 8 stages, 4 chunks and 32 micro-batches:
 * `node dist/test/pipeline-proofs.js`. Every rank's program passes its check, together with all others; a stage keeps as
 * many micro-batches as the schedule's formula says, and the stages stand still as long.
 *
 *   --every N          only every N-th pipeline
 *   --schedules A,B    only these schedules
 */
const { values } = parseArgs({
  options: {
    every: { type: 'string', default: '1' },
    schedules: { type: 'string', default: SCHEDULES.join() },
  },
});
const every = Number(values.every);
const names = values.schedules.split(',');
if (
  !Number.isSafeInteger(every) ||
  every < 1 ||
  names.some((name) => !SCHEDULES.some((each) => each === name))
) {
  throw new Error(`--every takes a whole number from 1 on, --schedules some of ${SCHEDULES.join()}`);
}

let total = 0;
for (const schedule of SCHEDULES.filter((each) => names.includes(each))) {
  const cases = allCases([schedule]).filter((_, index) => index % every === 0);
  const faults = cases.flatMap(faultsOf);
  total += faults.length;
  process.stdout.write(`${schedule.padEnd(12)}  ${String(cases.length).padStart(4)} pipelines\n`);
  for (const fault of faults) process.stdout.write(`FAULT ${fault}\n`);
}
process.stdout.write(total === 0 ? 'all as they should be\n' : `${total} faults\n`);
process.exitCode = total === 0 ? 0 : 1;
