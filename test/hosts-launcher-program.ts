/** A launcher of several hosts as a process of its own, for the test that kills it. */
import { superviseTestHosts } from './hosts-launcher.js';

const verdict = await superviseTestHosts({ '127.0.0.1': 1, localhost: 1 }, process.argv.slice(2), {
  event: (event) =>
    void process.stdout.write(`${event.event === 'step' ? `step ${event.step}` : event.event}\n`),
  output: async () => undefined,
  stopping: () => undefined,
  failing: () => undefined,
  stalled: () => undefined,
});
process.exit(verdict.exitCode);
