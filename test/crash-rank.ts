import { join } from 'node:path';
import { TrainyardError } from '../src/base/errors.js';
import { runTraining } from '../src/engine/train.js';
import { environmentOf, type RankPlace } from './rank-world.js';

const EMPTY = join(import.meta.dirname, '../../test/fixtures/empty-config.json');

/** The exit code of a rank of a run that had come to its end already. */
const DONE = 3;

/** What it says once it can be told. */
const READY = 'ready';

/** What a rank that may be killed is told. */
export interface CrashRankTask {
  readonly place: RankPlace;
  readonly overrides: readonly string[];
}

// One rank in a process of its own, which tells its steps and checkpoints as they come and is killed at any moment. It
// waits for its task with libtorch loaded already, so that a kill costs no start.
process.once('message', ({ place, overrides }: CrashRankTask) => {
  runTraining({
    configPath: EMPTY,
    overrides,
    environment: environmentOf(place),
    sink: (event) => {
      if (event.event === 'step' || event.event === 'checkpoint' || event.event === 'log')
        process.send?.(event);
    },
    signal: new AbortController().signal,
    resume: true,
  }).then(
    () => process.exit(0),
    // Whoever was killed is the cause; the others say so, and that is no news here.
    (error) => process.exit(error instanceof TrainyardError && error.code === 'CONFIG_CONFLICT' ? DONE : 75),
  );
});
process.on('disconnect', () => process.exit(0));
process.send?.(READY);
