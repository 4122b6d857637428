import { type Command, Option } from 'commander';
import type { LaunchOptions } from '../commands/launch.js';
import { collect, positiveInteger, SET_HELP } from './option-values.js';

export function addLaunch(program: Command): void {
  program
    .command('launch')
    .description('Write what starts a training on a cluster: a JobSet manifest or an sbatch file.')
    .argument('<config>', 'configuration file, as the hosts of the cluster see it')
    .addOption(
      new Option('--emit <kind>', 'for which scheduler')
        .choices(['kubernetes', 'slurm'])
        .makeOptionMandatory(),
    )
    .requiredOption('--hosts <n>', 'machines', positiveInteger)
    .requiredOption('--ranks-per-host <n>', 'processes on each', positiveInteger)
    .option('--gpus-per-host <n>', 'GPUs to ask for on each', positiveInteger)
    .option('--name <name>', 'of the job', 'trainyard')
    .option('--image <image>', 'container image that has trainyard (kubernetes)')
    .option('--set <key.path=value>', SET_HELP, collect)
    .option('--resume', 'go on from the newest checkpoint in the output folder')
    .option('--output <file>', 'write it there (default: print it)')
    .action(async (config: string, options: LaunchOptions) => {
      const { launch } = await import('../commands/launch.js');
      launch(config, options);
    });
}

/** What `train --hostfile` starts on every host; not for people. */
export function addHostAgent(program: Command): void {
  program.command('host-agent', { hidden: true }).action(async () => {
    const { hostAgent } = await import('../commands/host-agent.js');
    await hostAgent();
  });
}
