import { type Command, Option } from 'commander';
import type { ReplayOptions } from '../commands/replay.js';
import { JSON_HELP } from './option-values.js';

/** `trainyard replay`. */
export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('Compute a step again whose loss or gradients were not finite, and find where it began.')
    .argument('<bundle>', "folder that a run has written, as in output's non-finite/step-12")
    .addOption(new Option('--device <name>', 'instead of the device of the run').choices(['cpu', 'cuda']))
    .option('--json', JSON_HELP)
    .addHelpText('after', '\nExit codes: 0 it is not finite again; 1 everything is finite; 2 no such bundle.')
    .action(async (bundle: string, options: ReplayOptions) => {
      const { replay } = await import('../commands/replay.js');
      replay(bundle, options);
    });
}
