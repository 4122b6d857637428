import { Command } from 'commander';
import type { DemoOptions } from './commands/demo.js';
import type { ExplainOptions } from './commands/explain.js';
import type { GenerateOptions } from './commands/generate.js';
import type { InspectOptions } from './commands/inspect.js';
import type { MergeOptions } from './commands/merge.js';
import type { ProgramOptions } from './commands/program.js';
import type { TokenizerTrainOptions } from './commands/tokenizer-train.js';
import type { TrainOptions } from './commands/train-options.js';
import { addBench } from './program/bench-commands.js';
import { addCheckpoint } from './program/checkpoint-commands.js';
import { addHostAgent, addLaunch } from './program/launch-commands.js';
import {
  collect,
  JSON_HELP,
  type JsonOption,
  port,
  positiveInteger,
  SET_HELP,
  temperature,
  wholeNumber,
} from './program/option-values.js';
import { addReplay } from './program/replay-command.js';
import { ranksOption } from './ranks-option.js';
import { version } from './version.js';

/**
 * The commands and their options. What a command does is loaded only when it runs, so that help and
 * mistakes are answered at once, without libtorch.
 */
export function createProgram(): Command {
  const program = new Command('trainyard')
    .description('Trains large language models from one JSON file, on one process or many.')
    .version(version(), '-v, --version')
    .helpOption('-h, --help')
    .showSuggestionAfterError()
    .addHelpText('after', EXIT_CODES)
    .configureOutput({ outputError: () => undefined })
    .exitOverride();
  addTrain(program);
  addInspect(program);
  addProgram(program);
  addExplain(program);
  addGenerate(program);
  addMerge(program);
  addCheckpoint(program);
  addReplay(program);
  addBench(program);
  addTokenizer(program);
  addDoctor(program);
  addSchema(program);
  addDemo(program);
  addLaunch(program);
  addHostAgent(program);
  return program;
}

const EXIT_CODES = `
Exit codes: 0 done; 2 usage or configuration; 75 try again (a rank was lost);
143 stopped by SIGTERM, 130 by Ctrl-C, after saving to the output; 1 anything else.`;

function addTrain(program: Command): void {
  program
    .command('train')
    .description('Train as the configuration says; progress on stderr.')
    .argument('<config>', 'configuration file (JSON, comments allowed)')
    .option(
      '--ranks <n|min:max>',
      'processes to start on this machine (default: 1); of two numbers, as few as it may go on with',
      ranksOption,
    )
    .option(
      '--max-restarts <n>',
      'how often in an hour to start again from the newest checkpoint after a rank was lost (default: 3)',
      wholeNumber,
    )
    .option(
      '--hang-timeout <seconds>',
      'how long a rank may stay at one instruction; 0: for ever',
      wholeNumber,
      600,
    )
    .option('--hostfile <file>', "the machines, over ssh: lines `name slots=N`, as DeepSpeed's")
    .option('--include <hosts>', 'only these of the hostfile, or of their slots: host1@host2:0,2')
    .option('--exclude <hosts>', 'all but these')
    .option(
      '--master-addr <address>',
      'where the ranks of several machines meet (default: a private address)',
    )
    .option('--master-port <port>', 'the port there (default: a free one)', port)
    .option('--insecure-network', 'let them meet at a public address')
    .option('--set <key.path=value>', SET_HELP, collect)
    .option('--resume', 'go on from the newest checkpoint in the output folder')
    .option('--timeline <file>', 'write what every rank did in the last step (for ui.perfetto.dev)')
    .option('--json', 'print one event a line on stdout')
    .action(async (config: string, options: TrainOptions) => {
      const { train } = await import('./commands/train.js');
      await train(config, options);
    });
}

function addInspect(program: Command): void {
  program
    .command('inspect')
    .description('One forward and backward pass on the first batch, without an update.')
    .argument('<config>', 'configuration file')
    .option('--ranks <n>', 'processes to start on this machine (default: 1)', positiveInteger)
    .option('--set <key.path=value>', SET_HELP, collect)
    .option('--json', JSON_HELP)
    .action(async (config: string, options: InspectOptions) => {
      const { inspect } = await import('./commands/inspect.js');
      await inspect(config, options);
    });
}

function addProgram(program: Command): void {
  program
    .command('program')
    .description('Print the step program of a configuration, its checks and its predicted peak memory.')
    .argument('<config>', 'configuration file')
    .option('--ranks <n>', 'number of ranks to compile for (default: 1)', positiveInteger)
    .option('--rank <r>', 'only this rank', wholeNumber)
    .option('--set <key.path=value>', SET_HELP, collect)
    .option('--json', JSON_HELP)
    .action(async (config: string, options: ProgramOptions) => {
      const { printStepProgram } = await import('./commands/program.js');
      await printStepProgram(config, options);
    });
}

function addExplain(program: Command): void {
  program
    .command('explain')
    .description('Print every setting of a configuration with its value and where it came from.')
    .argument('<config>', 'configuration file')
    .option('--ranks <n>', 'number of ranks to resolve for (default: 1)', positiveInteger)
    .option('--set <key.path=value>', SET_HELP, collect)
    .option('--json', JSON_HELP)
    .action(async (config: string, options: ExplainOptions) => {
      const { explain } = await import('./commands/explain.js');
      await explain(config, options);
    });
}

function addGenerate(program: Command): void {
  program
    .command('generate')
    .description('Write text with a trained model.')
    .argument('<model>', 'model folder (Hugging Face layout)')
    .requiredOption('--prompt <text>', 'text to continue')
    .option('--max-tokens <n>', 'tokens to write at most', positiveInteger, 128)
    .option('--temperature <t>', 'how freely to choose; 0 takes the likeliest token', temperature, 0.8)
    .option('--seed <n>', 'start of the random choices', wholeNumber, 0)
    .action(async (model: string, options: GenerateOptions) => {
      const { generate } = await import('./commands/generate.js');
      await generate(model, options);
    });
}

function addMerge(program: Command): void {
  program
    .command('merge')
    .description('Add an adapter to the weights of its model; writes a plain model.')
    .argument('<adapter>', "adapter folder (PEFT's layout)")
    .requiredOption('--output <folder>', 'folder for the model')
    .option('--model <folder>', 'the model it was made for (default: the one that the adapter names)')
    .action(async (adapter: string, options: MergeOptions) => {
      const { merge } = await import('./commands/merge.js');
      await merge(adapter, options);
    });
}

function addTokenizer(program: Command): void {
  program
    .command('tokenizer')
    .description('Make tokenizers.')
    .command('train')
    .description('Learn a byte-level BPE from text; writes a tokenizer.json that Hugging Face loads.')
    .argument('<path...>', 'files, folders or patterns, as in data.path')
    .requiredOption('--output <folder>', 'folder for the tokenizer files')
    .option(
      '--vocabulary-size <n>',
      'entries, special tokens and the 256 bytes included',
      positiveInteger,
      8192,
    )
    .option('--minimum-frequency <n>', 'merge only pairs seen this often', positiveInteger, 2)
    .option('--special-token <text>', 'special token; the first ends a document (repeatable)', collect)
    .option('--text-field <name>', 'field of .jsonl and .parquet rows that holds the text', 'text')
    .action(async (paths: readonly string[], options: TokenizerTrainOptions) => {
      const { tokenizerTrain } = await import('./commands/tokenizer-train.js');
      await tokenizerTrain(paths, options);
    });
}

function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Check what this machine has and lacks.')
    .option('--flight <folder>', 'say instead who ended a run, from the records that its ranks left')
    .option('--json', JSON_HELP)
    .action(async ({ flight, ...options }: DoctorOptions) => {
      if (flight !== undefined) {
        const { doctorFlight } = await import('./commands/doctor-flight.js');
        doctorFlight(flight, options);
        return;
      }
      const { doctor } = await import('./commands/doctor.js');
      await doctor(options);
    });
}

function addSchema(program: Command): void {
  program
    .command('schema')
    .description('Print the JSON Schema of the configuration, for editors.')
    .action(async () => {
      const { printSchema } = await import('./commands/schema.js');
      await printSchema();
    });
}

function addDemo(program: Command): void {
  program
    .command('demo')
    .description('Train a small Llama on two ranks, then let it write (what `npm start` does).')
    .argument('[path...]', 'text to train on (default: the declaration files of TypeScript)')
    .option('--steps <n>', 'optimizer steps', positiveInteger, 700)
    .option('--output <folder>', 'folder for all that it makes', 'runs/demo')
    .action(async (paths: readonly string[], options: DemoOptions) => {
      const { demo } = await import('./commands/demo.js');
      await demo(paths, options);
    });
}

interface DoctorOptions extends JsonOption {
  readonly flight?: string;
}
