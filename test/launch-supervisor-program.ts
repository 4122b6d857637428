/** A supervisor as a process of its own, for the tests that kill it or send it signals. */
import { fileURLToPath } from 'node:url';
import { supervise } from '../src/launch/supervisor.js';

const [script = '{}', ranks = '2'] = process.argv.slice(2);

const verdict = await supervise({
  command: {
    executable: process.execPath,
    arguments: [fileURLToPath(new URL('./launch-rank-program.js', import.meta.url)), script],
  },
  ranks: Number(ranks),
  variables: process.env,
  observer: {
    event: (event) => say(event.event === 'step' ? `step ${event.step}` : event.event),
    output: async () => undefined,
    stopping: (signal) => say(`stopping ${signal}`),
    failing: () => undefined,
    stalled: () => undefined,
  },
});
say(JSON.stringify(verdict));
process.exit(verdict.exitCode);

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
