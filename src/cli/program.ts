import { Command, InvalidArgumentError, Option } from 'commander';
import type { BenchPresetName } from './bench/preset.js';
import { type RanksOption, ranksOption } from './ranks-option.js';
import { addReplay } from './replay-command.js';
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

const SET_HELP = 'override one key of the configuration (repeatable)';
const PEER_HELP =
  'after `--`: a program that measures the same and prints a JSON line, run in turns with ours';
const ROUNDS_HELP = 'turns with the peer';
const JSON_HELP = 'print machine-readable JSON on stdout';

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

const CHECKPOINT_HELP = "a run's output folder, a folder of checkpoints, or one checkpoint";

function addCheckpoint(program: Command): void {
  const checkpoint = program.command('checkpoint').description('Look into checkpoints, and convert them.');
  checkpoint
    .command('ls')
    .description('List checkpoints, the last one that was saved first.')
    .argument('<path>', CHECKPOINT_HELP)
    .option('--json', JSON_HELP)
    .action(async (path: string, options: JsonOption) => {
      const { listCommand } = await import('./commands/checkpoint.js');
      await listCommand(path, options);
    });
  checkpoint
    .command('verify')
    .description('Check every byte of every checkpoint; exit code 2 where one is damaged.')
    .argument('<path>', CHECKPOINT_HELP)
    .option('--json', JSON_HELP)
    .action(async (path: string, options: JsonOption) => {
      const { verifyCommand } = await import('./commands/checkpoint.js');
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
      const { exportCommand } = await import('./commands/checkpoint.js');
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
      const { importCommand } = await import('./commands/checkpoint.js');
      await importCommand(path, options);
    });
  checkpoint
    .command('diff')
    .description('Name the tensors in which two checkpoints differ; exit code 1 where there are any.')
    .argument('<first>', CHECKPOINT_HELP)
    .argument('<second>', CHECKPOINT_HELP)
    .option('--json', JSON_HELP)
    .action(async (first: string, second: string, options: JsonOption) => {
      const { diffCommand } = await import('./commands/checkpoint.js');
      await diffCommand(first, second, options);
    });
}

function addBench(program: Command): void {
  const bench = program.command('bench').description('Measure this machine.');
  bench
    .command('dispatch')
    .description('What one operator call costs.')
    .argument('[peer...]', PEER_HELP)
    .option('--rounds <n>', ROUNDS_HELP, positiveInteger, 5)
    .option('--json', JSON_HELP)
    .action(async (peer: readonly string[], options: BenchComparison) => {
      const { benchDispatchCommand } = await import('./commands/bench-dispatch.js');
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
      const { benchStep } = await import('./commands/bench-step.js');
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
      const { benchComms } = await import('./commands/bench-comms.js');
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
      const { benchSchedules } = await import('./commands/bench-schedules.js');
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
      const { benchAdamCommand } = await import('./commands/bench-adam.js');
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
      const { benchIo } = await import('./commands/bench-io.js');
      await benchIo(options);
    });
  bench
    .command('compression')
    .description('What each compression of gradients costs in accuracy, on a small run on 2 ranks.')
    .option('--steps <n>', 'optimizer steps of each run', positiveInteger, 100)
    .option('--json', JSON_HELP)
    .action(async (options: BenchCompressionOptions) => {
      const { benchCompression } = await import('./commands/bench-compression.js');
      await benchCompression(options);
    });
  bench
    .command('redundancy')
    .description('What training replicas that meet seldom costs in loss, and saves in bytes, on a small run.')
    .argument('[path...]', 'text to train on (default: the declaration files of TypeScript)')
    .option('--ranks <n>', 'processes of a run (repeatable; default: 2 and 4)', collectCounts)
    .option('--steps <n>', 'optimizer steps of each run', positiveInteger, 1000)
    .option('--sync-every <n>', 'steps between synchronisations', positiveInteger, 50)
    .option('--json', JSON_HELP)
    .action(async (paths: readonly string[], options: BenchRedundancyOptions) => {
      const { benchRedundancy } = await import('./commands/bench-redundancy.js');
      await benchRedundancy(paths, options);
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

function addLaunch(program: Command): void {
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
      const { launch } = await import('./commands/launch.js');
      launch(config, options);
    });
}

/** What `train --hostfile` starts on every host; not for people. */
function addHostAgent(program: Command): void {
  program.command('host-agent', { hidden: true }).action(async () => {
    const { hostAgent } = await import('./commands/host-agent.js');
    await hostAgent();
  });
}

export interface JsonOption {
  readonly json?: boolean;
}

interface DoctorOptions extends JsonOption {
  readonly flight?: string;
}

export interface ConfigOptions extends JsonOption {
  /** As they were written: `key.path=value`. */
  readonly set?: readonly string[];
}

export interface ExplainOptions extends ConfigOptions {
  readonly ranks?: number;
}

export interface InspectOptions extends ConfigOptions {
  readonly ranks?: number;
}

export interface TrainOptions extends ConfigOptions {
  readonly ranks?: RanksOption;
  readonly maxRestarts?: number;
  readonly hangTimeout: number;
  readonly hostfile?: string;
  readonly include?: string;
  readonly exclude?: string;
  readonly masterAddr?: string;
  readonly masterPort?: number;
  readonly insecureNetwork?: boolean;
  readonly resume?: boolean;
  readonly timeline?: string;
}

export interface LaunchOptions {
  readonly emit: 'kubernetes' | 'slurm';
  readonly hosts: number;
  readonly ranksPerHost: number;
  readonly gpusPerHost?: number;
  readonly name: string;
  readonly image?: string;
  readonly set?: readonly string[];
  readonly resume?: boolean;
  readonly output?: string;
}

export interface ProgramOptions extends ConfigOptions {
  readonly ranks?: number;
  readonly rank?: number;
}

export interface GenerateOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly seed: number;
}

export interface MergeOptions {
  readonly output: string;
  readonly model?: string;
}

export interface ExportCheckpointOptions {
  readonly output: string;
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
}

export interface ImportCheckpointOptions {
  readonly output: string;
  readonly model?: string;
  readonly step?: number;
}

export interface DemoOptions {
  readonly steps: number;
  readonly output: string;
}

export interface BenchComparison extends JsonOption {
  readonly rounds: number;
}

export interface BenchAdamOptions extends BenchComparison {
  readonly elements: number;
  readonly steps: number;
}

export interface BenchIoOptions extends BenchComparison {
  readonly folder: string;
  readonly bytes: number;
}

export interface BenchStepOptions extends ConfigOptions, BenchComparison {
  readonly preset: BenchPresetName;
  readonly ranks?: number;
  readonly steps: number;
}

export interface BenchCommsOptions extends JsonOption {
  readonly ranks: number;
  readonly rounds: number;
  readonly ranksPerHost?: number;
  readonly bytes?: readonly number[];
}

export interface BenchSchedulesOptions {
  readonly ranks: number;
  readonly microBatches: number;
  readonly rounds: number;
  readonly json?: boolean;
}

export interface BenchCompressionOptions extends JsonOption {
  readonly steps: number;
}

export interface BenchRedundancyOptions extends JsonOption {
  readonly ranks?: readonly number[];
  readonly steps: number;
  readonly syncEvery: number;
}

export interface TokenizerTrainOptions {
  readonly output: string;
  readonly vocabularySize: number;
  readonly minimumFrequency: number;
  readonly specialToken?: readonly string[];
  readonly textField: string;
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}

function positiveInteger(text: string): number {
  const value = wholeNumber(text);
  if (value === 0) throw new InvalidArgumentError('Expected at least 1.');
  return value;
}

function port(text: string): number {
  const value = positiveInteger(text);
  if (value > 65_535) throw new InvalidArgumentError('Expected a port up to 65535.');
  return value;
}

function collectCounts(text: string, before: readonly number[] = []): readonly number[] {
  return [...before, positiveInteger(text)];
}

/** Bytes of fp32 numbers. */
function collectSizes(text: string, before: readonly number[] = []): readonly number[] {
  const bytes = positiveInteger(text);
  if (bytes % 4 !== 0) throw new InvalidArgumentError('Expected a multiple of 4.');
  return [...before, bytes];
}

function temperature(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value < Number.POSITIVE_INFINITY)) {
    throw new InvalidArgumentError('Expected a number, 0 or more.');
  }
  return value;
}
