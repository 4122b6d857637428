import { type Command, Option } from 'commander';
import type { BenchComparison } from '../bench/peer.js';
import type { BenchAdamOptions } from '../commands/bench-adam.js';
import type { BenchCommsOptions } from '../commands/bench-comms.js';
import type { BenchCompressionOptions } from '../commands/bench-compression.js';
import type { BenchIoOptions } from '../commands/bench-io.js';
import type { BenchRedundancyOptions } from '../commands/bench-redundancy.js';
import type { BenchSchedulesOptions } from '../commands/bench-schedules.js';
import type { BenchStepOptions } from '../commands/bench-step.js';
import {
  collect,
  collectCounts,
  collectSizes,
  JSON_HELP,
  positiveInteger,
  SET_HELP,
} from './option-values.js';

const PEER_HELP =
  'after `--`: a program that measures the same and prints a JSON line, run in turns with ours';

const ROUNDS_HELP = 'turns with the peer';

export function addBench(program: Command): void {
  const bench = program.command('bench').description('Measure this machine.');
  bench
    .command('dispatch')
    .description('What one operator call costs.')
    .argument('[peer...]', PEER_HELP)
    .option('--rounds <n>', ROUNDS_HELP, positiveInteger, 5)
    .option('--json', JSON_HELP)
    .action(async (peer: readonly string[], options: BenchComparison) => {
      const { benchDispatchCommand } = await import('../commands/bench-dispatch.js');
      await benchDispatchCommand(peer, options);
    });
  bench
    .command('step')
    .description('Tokens per second of whole training steps, on one of three decoders.')
    .argument('[peer...]', PEER_HELP)
    .addOption(
      new Option('--preset <size>', 'S: 5.3 M, M: 30 M, L: 160 M parameters')
        .choices(['S', 'M', 'L'])
        .default('S'),
    )
    .option('--ranks <n>', 'processes to start (default: 1)', positiveInteger)
    .option('--steps <n>', 'steps to measure, after 3 to warm up', positiveInteger, 10)
    .option('--rounds <n>', ROUNDS_HELP, positiveInteger, 5)
    .option('--set <key.path=value>', SET_HELP, collect)
    .option('--json', JSON_HELP)
    .action(async (peer: readonly string[], options: BenchStepOptions) => {
      const { benchStep } = await import('../commands/bench-step.js');
      await benchStep(peer, options);
    });
  bench
    .command('comms')
    .description('What an all-reduce between ranks of this host takes, by each algorithm in turns.')
    .option('--ranks <n>', 'processes to start', positiveInteger, 2)
    .option('--bytes <n>', 'size of the message (repeatable)', collectSizes)
    .option('--rounds <n>', 'turns of each algorithm', positiveInteger, 5)
    .option('--ranks-per-host <n>', 'let this host act as several of so many ranks', positiveInteger)
    .option('--json', JSON_HELP)
    .action(async (options: BenchCommsOptions) => {
      const { benchComms } = await import('../commands/bench-comms.js');
      await benchComms(options);
    });
  bench
    .command('schedules')
    .description(
      'What a step takes by each schedule of a pipeline, beside its simulation from what blocks took.',
    )
    .option('--ranks <n>', 'stages, of one rank each', positiveInteger, 2)
    .option('--micro-batches <n>', 'of a step; a divisor of 16', positiveInteger, 8)
    .option('--rounds <n>', 'turns of each schedule', positiveInteger, 3)
    .option('--json', JSON_HELP)
    .action(async (options: BenchSchedulesOptions) => {
      const { benchSchedules } = await import('../commands/bench-schedules.js');
      await benchSchedules(options);
    });
  bench
    .command('adam')
    .description('What an AdamW update takes, in one tensor and in 200, on one thread and on two.')
    .argument('[peer...]', `${PEER_HELP}; it gets --n, --tensors, --threads and --steps`)
    .option('--elements <n>', 'parameters', positiveInteger, 50_000_000)
    .option('--steps <n>', 'updates to measure, after 2 to warm up', positiveInteger, 15)
    .option('--rounds <n>', ROUNDS_HELP, positiveInteger, 5)
    .option('--json', JSON_HELP)
    .action(async (peer: readonly string[], options: BenchAdamOptions) => {
      const { benchAdamCommand } = await import('../commands/bench-adam.js');
      await benchAdamCommand(peer, options);
    });
  bench
    .command('io')
    .description('How fast offloaded memory is read from a disk and written to it, beside fio or dd.')
    .option('--folder <folder>', 'a folder on that disk', '.')
    .option('--bytes <n>', 'size of the file', positiveInteger, 2 ** 30)
    .option('--rounds <n>', ROUNDS_HELP, positiveInteger, 5)
    .option('--json', JSON_HELP)
    .action(async (options: BenchIoOptions) => {
      const { benchIo } = await import('../commands/bench-io.js');
      await benchIo(options);
    });
  bench
    .command('compression')
    .description('What each compression of gradients costs in accuracy, on a small run on 2 ranks.')
    .option('--steps <n>', 'optimizer steps of each run', positiveInteger, 100)
    .option('--json', JSON_HELP)
    .action(async (options: BenchCompressionOptions) => {
      const { benchCompression } = await import('../commands/bench-compression.js');
      await benchCompression(options);
    });
  bench
    .command('redundancy')
    .description('What training replicas that meet seldom costs in loss, and saves in bytes, on a small run.')
    .argument('[path...]', 'text to train on (default: the declaration files of TypeScript)')
    .option('--ranks <n>', 'processes of a run (repeatable; default: 2 and 4)', collectCounts)
    .option('--steps <n>', 'optimizer steps of each run', positiveInteger, 1000)
    .option(
      '--first <n>',
      'steps before these in which one model is trained, from which each run goes on',
      positiveInteger,
    )
    .option('--sync-every <n>', 'steps between synchronisations', positiveInteger, 50)
    .option('--json', JSON_HELP)
    .action(async (paths: readonly string[], options: BenchRedundancyOptions) => {
      const { benchRedundancy } = await import('../commands/bench-redundancy.js');
      await benchRedundancy(paths, options);
    });
}
