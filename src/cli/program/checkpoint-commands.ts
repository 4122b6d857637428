import { type Command, Option } from 'commander';
import type { ExportCheckpointOptions, ImportCheckpointOptions } from '../commands/checkpoint.js';
import { JSON_HELP, type JsonOption, wholeNumber } from './option-values.js';

const CHECKPOINT_HELP = "a run's output folder, a folder of checkpoints, or one checkpoint";

export function addCheckpoint(program: Command): void {
  const checkpoint = program.command('checkpoint').description('Look into checkpoints, and convert them.');
  checkpoint
    .command('ls')
    .description('List checkpoints, the last one that was saved first.')
    .argument('<path>', CHECKPOINT_HELP)
    .option('--json', JSON_HELP)
    .action(async (path: string, options: JsonOption) => {
      const { listCommand } = await import('../commands/checkpoint.js');
      await listCommand(path, options);
    });
  checkpoint
    .command('verify')
    .description('Check every byte of every checkpoint; exit code 2 where one is damaged.')
    .argument('<path>', CHECKPOINT_HELP)
    .option('--json', JSON_HELP)
    .action(async (path: string, options: JsonOption) => {
      const { verifyCommand } = await import('../commands/checkpoint.js');
      await verifyCommand(path, options);
    });
  checkpoint
    .command('export')
    .description('Write the model of a checkpoint as a Hugging Face folder.')
    .argument('<path>', `${CHECKPOINT_HELP}; of several the newest whole one`)
    .requiredOption('--output <folder>', 'folder for the model')
    .addOption(
      new Option('--dtype <type>', 'of the weights in the folder')
        .choices(['float32', 'bfloat16', 'float16'])
        .default('float32'),
    )
    .action(async (path: string, options: ExportCheckpointOptions) => {
      const { exportCommand } = await import('../commands/checkpoint.js');
      await exportCommand(path, options);
    });
  checkpoint
    .command('import')
    .description(
      "Make a checkpoint of a Hugging Face folder, or of DeepSpeed's universal one in safetensors.",
    )
    .argument('<folder>', 'the folder to import')
    .requiredOption('--output <folder>', 'output folder of the run that is to go on from it')
    .option('--model <folder>', "of a universal checkpoint: folder with the model's config.json")
    .option('--step <n>', 'of a universal checkpoint: steps done (default: as its files say)', wholeNumber)
    .action(async (path: string, options: ImportCheckpointOptions) => {
      const { importCommand } = await import('../commands/checkpoint.js');
      await importCommand(path, options);
    });
  checkpoint
    .command('diff')
    .description('Name the tensors in which two checkpoints differ; exit code 1 where there are any.')
    .argument('<first>', CHECKPOINT_HELP)
    .argument('<second>', CHECKPOINT_HELP)
    .option('--json', JSON_HELP)
    .action(async (first: string, second: string, options: JsonOption) => {
      const { diffCommand } = await import('../commands/checkpoint.js');
      await diffCommand(first, second, options);
    });
}
